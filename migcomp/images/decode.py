# SPDX-License-Identifier: LGPL-2.1-or-later
"""Decoding the pages of an image on the threads of a workqueue."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable

from migcomp import _core
from migcomp.codecs import GROUPINGS, Codec
from migcomp.errors import ImageError, PageError, WorkerError
from migcomp.images.file import (
    Copied,
    ImageFile,
    became_shorter,
    no_room_for_copy,
    unwatched,
)
from migcomp.images.image import Image, Run
from migcomp.images.mapped import MappedImage
from migcomp.images.raw import RawImage, spool
from migcomp.workqueue import ThreadedWorkqueue

#: Of the pages that a request holds at most.
REQUEST_BYTES = 512 << 10
_WHOLE, _CLASSIFY, _FRAME = 0, 1, 3


def readable_again(image: Image, copied: Copied = unwatched) -> Image:
    """An image whose pages can be read at any time, and in any order.

    Pipes and encoded pages are brought to an unnamed temporary file, which takes
    as much space in ``$TMPDIR`` as the pages that are not zero.  An image that
    needs none of this is returned as it is.  ``copied`` is told how many pages
    were.  Raises ImageError.
    """
    if isinstance(image, RawImage):
        return spool(image, copied) if image.page_map is None else image
    if image.page_map is None or not image.page_map.encoded:
        return image
    import tempfile

    pages, size = image.page_map.pages, image.page_size
    with tempfile.TemporaryFile(buffering=0) as copy:
        runs = (run for block in range(len(image.blocks)) for run in image.runs(block))
        _decode(image, runs, copy.fileno(), 0, copied=copied)
        try:
            copy.truncate(pages * size)
        except OSError as error:
            raise no_room_for_copy(image.path, error) from error
        file = ImageFile(image.path, os.dup(copy.fileno()))
    try:
        page_map = _core.PageMap(file.map(), [(0, pages, 0)], size, True)
    except BaseException:
        file.close()
        raise
    blocks, facts = image.blocks, image.facts
    return MappedImage(file, image.format, blocks, page_map, size, facts)


def read_page(image: Image, number: int) -> bytes:
    """A page of an image that is no pipe.  Raises ImageError."""
    if image.page_map is None or not image.page_map.encoded:
        return image.read(number, 1)
    import tempfile

    with tempfile.TemporaryFile(buffering=0) as copy:
        _decode(image, [Run(number, 1, hole=False)], copy.fileno(), number, threads=1)
        copy.seek(0)
        return copy.read().ljust(image.page_size, b"\0")


def _decode(
    image: Image,
    runs: Iterable[Run],
    fd: int,
    base: int,
    threads: int | None = None,
    copied: Copied = unwatched,
) -> None:
    """Writes the pages of ``runs`` to ``fd``, where page ``base`` is the first."""

    def take(request: _core.PageRequest) -> None:
        try:
            offset = (request.first_page - base) * image.page_size
            write_pages(image, request, fd, offset)
        except OSError as error:
            raise no_room_for_copy(image.path, error) from error
        copied(request.first_page - base)

    decode(image, runs, take, threads=threads)


def write_pages(image: Image, request: _core.PageRequest, fd: int, offset: int) -> None:
    """Writes all but zero pages.  Raises ImageError and ``fd``'s OSError."""
    try:
        request.write_pages(fd, offset)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise
        raise became_shorter(image.path) from error


def decode(
    image: Image,
    runs: Iterable[Run],
    take: Callable[[_core.PageRequest], None],
    *,
    codec: Codec | None = None,
    frames: bool = False,
    threads: int | None = None,
) -> None:
    """Calls ``take`` with requests that hold the pages of ``runs``, in order.

    Holes are left out.  The requests are classified, and write_pages gives their
    pages; with a codec they are also compressed page by page.  With ``frames`` each
    becomes one block instead, a frame of the codec's own format, and is not
    classified.  A request holds REQUEST_BYTES of a run, and its end the rest.
    Raises ImageError and WorkerError.
    """
    page_map = image.page_map
    assert page_map is not None
    pages_max = REQUEST_BYTES // image.page_size
    handler = _core.compressor(
        codec.library if codec else _core.bind("built in", ""),
        level=codec.level if codec else 0,
        grouping=GROUPINGS.index("packet" if frames else "page"),
        page_size=image.page_size,
        pages_max=pages_max,
        source=page_map,
    )
    stage = _FRAME if frames else _WHOLE if codec else _CLASSIFY

    def collect(queue: ThreadedWorkqueue) -> bool:
        request = queue.collect_request()
        if request is None:
            return False
        take(request)
        queue.release_request(request)
        return True

    try:
        with ThreadedWorkqueue("decode", threads, handler=handler) as queue:
            for run in runs:
                end = run.first_page if run.hole else run.first_page + run.pages
                for page in range(run.first_page, end, pages_max):
                    while (request := queue.get_request()) is None:
                        collect(queue)
                    count = min(pages_max, end - page)
                    request.load(page_map, page, count, stage, 0)
                    queue.submit_request(request)
            while collect(queue):
                pass
    except PageError as error:
        if error.of_input:
            raise page_error(image, error) from error.__cause__
        raise WorkerError(f"{image.path}: {error}") from error.__cause__


def page_error(image: Image, error: PageError) -> ImageError:
    """What a queue raised, said of the image that is to blame."""
    return ImageError(f"{image.path}: page {error.page}: {error.reason}")
