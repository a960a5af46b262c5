# SPDX-License-Identifier: LGPL-2.1-or-later
"""Opens an image of any format, which its first bytes tell.

A reader is a module of this package with the attributes of :class:`Reader`,
listed in READERS.  What none of them recognises is raw memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from migcomp.errors import ImageError
from migcomp.images import (
    avml,
    cloud_hypervisor,
    criu,
    elf,
    kdump,
    lime,
    migcomp_stream,
    qemu,
    seekable_zstd,
    virsh,
    vmware,
    windows,
)
from migcomp.images.diffs import open_merged
from migcomp.images.file import STANDARD_INPUT, Copied, ImageFile, open_file
from migcomp.images.image import Image
from migcomp.images.raw import DEFAULT_PAGE_SIZE, RawImage, check_page_size, open_raw
from migcomp.results import Block


class Reader(Protocol):
    """What a module that reads a format has.

    Heavy packages are imported by ``open_file`` only.
    """

    FORMAT: str

    def recognises(self, head: bytes) -> bool:
        """``head``: the first bytes, at most file.HEAD_SIZE."""

    def open_file(self, file: ImageFile, page_size: int) -> Image:
        """``file`` is a file, and is the image's from then on, unless this raises.

        ``page_size`` counts where the format does not tell it.  Raises
        ImageError.
        """


READERS: tuple[Reader, ...] = (
    qemu,
    migcomp_stream,
    virsh,
    elf,
    kdump,
    lime,
    avml,
    vmware,
    criu,
    windows,
    seekable_zstd,
)

_FIRECRACKER = "the state of a Firecracker guest; give its memory file"

#: First bytes of what is none of ours, and what to say.
_OTHERS = (
    (b"\x1f\x8b\x08", "compressed by gzip; decompress it with gzip -d first"),
    (b"BZh", "compressed by bzip2; decompress it with bzip2 -d first"),
    (b"\xfd7zXZ\0", "compressed by xz; decompress it with xz -d first"),
    (b"\x89LZO\0\r\n\x1a\n", "compressed by lzop; decompress it with lzop -d first"),
    (b"QFI\xfb", "a qcow2 disk image, which holds no guest memory of its own"),
    (b"KDMV", "a VMware disk image; give the .vmem file"),
    (b"\0\0\x64\x86\x84\x19\x10\x07", _FIRECRACKER),
    (b"\0\0\xaa\xaa\x84\x19\x10\x07", _FIRECRACKER),
)


def formats() -> tuple[str, ...]:
    return (RawImage.format, *(reader.FORMAT for reader in READERS))


def open_image(
    path: str,
    *,
    page_size: int = DEFAULT_PAGE_SIZE,
    layout: Sequence[Block] = (),
    pad: bool = False,
    format: str | None = None,
    diffs: Sequence[str] = (),
    watch: Copied | None = None,
) -> Image:
    """Opens the image ``path``, or standard input for ``-``.

    ``format`` is one of formats(); None: what the content tells.  ``page_size``,
    ``layout`` (the RAM blocks that lie back to back) and ``pad`` (accept a last
    page that is cut off) describe what the format itself does not: a raw image.
    ``diffs`` are laid over a raw image, the oldest first.  What is no raw image
    and comes through a pipe is copied to an unnamed temporary file.  ``path`` may
    be the folder of a snapshot.  ``watch`` is told, now and then, how many bytes of
    the file were gone through, where that may take long.  Raises ImageError.
    """
    check_page_size(page_size)
    file = open_file(image_path(path), watch)
    try:
        return image_in(
            file,
            page_size=page_size,
            layout=layout,
            pad=pad,
            format=format,
            diffs=diffs,
        )
    except BaseException:
        file.close()
        raise


def image_path(path: str) -> str:
    """The file to open for ``path``, which may be the folder of a snapshot.

    Raises ImageError for one of several processes.
    """
    if path == STANDARD_INPUT or not Path(path).is_dir():
        return path
    return cloud_hypervisor.memory_in(path) or criu.pagemap_in(path) or path


def image_in(
    file: ImageFile,
    *,
    page_size: int = DEFAULT_PAGE_SIZE,
    layout: Sequence[Block] = (),
    pad: bool = False,
    format: str | None = None,
    diffs: Sequence[str] = (),
) -> Image:
    """As open_image; ``file`` stays the caller's if this raises."""
    reader = _reader(file, format)
    if reader is None:
        guess = format is None and not layout and file.path != STANDARD_INPUT
        if guess and (laid_out := vmware.open_beside(file, page_size)):
            return laid_out
        blocks = cloud_hypervisor.blocks_beside(file.path, page_size) if guess else ()
        raw = open_raw(file, page_size=page_size, layout=layout or blocks, pad=pad)
        if blocks:
            raw.format = cloud_hypervisor.FORMAT
        return open_merged(raw, file, diffs) if diffs else raw
    if diffs:
        raise ImageError(f"{file.path} is {reader.FORMAT}, and cannot have diffs")
    if layout:
        raise ImageError(
            f"{file.path} has RAM blocks of its own, being {reader.FORMAT}; leave out "
            "--block, or say --format raw"
        )
    if file.size is not None:
        return reader.open_file(file, page_size)
    copy = file.spool(copied=file.watch)
    try:
        image = reader.open_file(copy, page_size)
    except BaseException:
        copy.close()
        raise
    file.close()
    return image


def _reader(file: ImageFile, format: str | None) -> Reader | None:
    """None stands for raw."""
    if format is not None:
        if format not in formats():
            raise ImageError(
                f"there is no format {format!r}; there are {', '.join(formats())}"
            )
        named = next((r for r in READERS if format == r.FORMAT), None)
        if named is not None and not named.recognises(file.head):
            raise ImageError(
                f"{file.path} does not begin as {format} does; leave out --format"
            )
        return named
    for reader in READERS:
        if reader.recognises(file.head):
            return reader
    for magic, what in _OTHERS:
        if file.head.startswith(magic):
            raise ImageError(
                f"{file.path} is {what} (--format raw takes it as memory all the same)"
            )
    return None
