# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our own streams as images: restored to an unnamed temporary file first.

That takes as much space in ``$TMPDIR`` as the pages that are not zero.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from migcomp import _core
from migcomp.errors import ImageError, StreamError
from migcomp.images.file import ImageFile, no_room_for_copy
from migcomp.images.image import pages_in
from migcomp.images.mapped import MappedImage
from migcomp.results import RunResult
from migcomp.stream.reader import open_stream_in

FORMAT = "migcomp"


def open_file(file: ImageFile, page_size: int) -> MappedImage:
    """Raises ImageError and CodecUnavailable; the stream tells its page size."""
    import tempfile

    with tempfile.TemporaryFile(buffering=0) as copy:
        result = _restore(file, copy)
        size = result.settings.page_size
        pages = sum(pages_in(block.length, size) for block in result.blocks)
        copy.truncate(pages * size)
        restored = ImageFile(file.path, os.dup(copy.fileno()))
    try:
        page_map = _core.PageMap(restored.map(), [(0, pages, 0)], size, True)
    except BaseException:
        restored.close()
        raise
    settings, codec = result.settings, result.codec
    facts = {
        "codec": f"{settings.codec} level {settings.level}",
        "grouping": settings.grouping,
        "stream bytes": result.stream_bytes,
        "read by": f"{codec.provider} {codec.version}".rstrip(),
    }
    image = MappedImage(restored, FORMAT, result.blocks, page_map, size, facts)
    file.close()
    return image


def _restore(file: ImageFile, copy: BinaryIO) -> RunResult:
    # It is built on images, and so on this.
    from migcomp.restore import restore

    fd = os.dup(file.fd)
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        with open_stream_in(file.path, fd) as reader:
            result, _ = restore(
                reader, copy, progress=lambda pages, size: file.watch(size)
            )
    except StreamError as error:
        raise ImageError(str(error)) from error
    except OSError as error:
        raise no_room_for_copy(file.path, error) from error
    return result
