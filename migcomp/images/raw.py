# SPDX-License-Identifier: LGPL-2.1-or-later
"""Raw memory images: the bytes of the guest's RAM and nothing else.

A file is mapped, and its holes are not read; a pipe is read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import TracebackType
from typing import Self

from migcomp import _core
from migcomp.errors import ImageError, LayoutError
from migcomp.images.file import Copied, ImageFile, became_shorter, unwatched
from migcomp.images.image import (
    PAGE_SIZES,
    UNKNOWN_LENGTH,
    Image,
    Run,
    first_pages,
    pages_in,
)
from migcomp.results import Block
from migcomp.units import format_size, quoted

DEFAULT_PAGE_SIZE = 4096
DEFAULT_BLOCK_NAME = "ram"
#: Bytes of a RAM block's name; a stream has room for so many.
_NAME_MAX = 0xFFFF


class RawImage:
    """Implements :class:`migcomp.images.image.Image`; owns ``file``."""

    format = "raw"
    facts: Mapping[str, object] = {}

    def __init__(
        self,
        file: ImageFile,
        blocks: tuple[Block, ...],
        *,
        page_size: int,
        pad: bool,
        mapped: bool,
    ) -> None:
        self._file = file
        self.path = file.path
        self.taken = file.taken
        self.blocks = blocks
        self.page_size = page_size
        self.pad = pad
        self._first_pages = first_pages(blocks, page_size)
        self.page_map: _core.PageMap | None = None
        if mapped:
            pages = self.pages or 0
            # Kept alive by the page map, and unmapped with it.
            memory = file.map(pages * page_size)
            self.page_map = _core.PageMap(memory, [(0, pages, 0)], page_size, True)

    @property
    def fd(self) -> int:
        return self._file.fd

    @property
    def pages(self) -> int | None:
        if any(block.length == UNKNOWN_LENGTH for block in self.blocks):
            return None
        return self._first_pages[-1]

    def runs(self, block: int) -> Iterator[Run]:
        first = self._first_pages[block]
        start = first * self.page_size
        length = self.blocks[block].length
        if self.page_map is None:
            yield Run(first, pages_in(length, self.page_size), hole=False)
            return
        end = start + length
        if not self._file.sparse:
            yield self._run(start, end, hole=False)
            return
        position = start
        while position < end:
            data, hole = self._file.data_after(position, end)
            if data < end:
                # A page is a hole only if all of it is one.
                data -= data % self.page_size
            if data > position:
                yield self._run(position, data, hole=True)
            hole = min(pages_in(hole, self.page_size) * self.page_size, end)
            if hole > data:
                yield self._run(max(data, position), hole, hole=False)
            position = hole
        # What was cut off meanwhile looks like a hole.
        self._file.check_size(end)

    def _run(self, start: int, end: int, *, hole: bool) -> Run:
        size = self.page_size
        return Run(start // size, pages_in(end - start, size), hole)

    def spool_file(self, copied: Copied) -> ImageFile:
        """All that can be read, filled up to whole pages; ``copied`` gets pages."""
        size = self.page_size
        return self._file.spool(size, lambda length: copied(length // size))

    def read(self, first_page: int, pages: int) -> bytes:
        size = self.page_size
        offset = first_page * size
        data = self._file.read_at(offset, pages * size)
        if len(data) < pages * size:  # seldom: there may be many blocks to sum up
            length = sum(block.length for block in self.blocks)
            if len(data) < length - offset:
                raise became_shorter(self.path)
        return data + bytes(-len(data) % size)

    def close(self) -> None:
        self.page_map = None
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_raw(
    file: ImageFile,
    *,
    page_size: int = DEFAULT_PAGE_SIZE,
    layout: Sequence[Block] = (),
    pad: bool = False,
) -> RawImage:
    """The raw image in ``file``, which is then the image's.

    ``layout`` names the RAM blocks that lie in it back to back; without it the
    whole is one block at guest address 0.  ``pad`` accepts an image whose last
    page is cut off.  Raises ImageError.
    """
    check_page_size(page_size)
    blocks = tuple(layout)
    _check_layout(blocks, page_size)
    path, size = file.path, file.size
    if size is None:
        blocks = blocks or (Block(DEFAULT_BLOCK_NAME, UNKNOWN_LENGTH, 0),)
        return RawImage(file, blocks, page_size=page_size, pad=pad, mapped=False)
    blocks = blocks or (Block(DEFAULT_BLOCK_NAME, size, 0),)
    laid_out = sum(block.length for block in blocks)
    if laid_out != size:
        raise LayoutError(
            f"{path} has {size} bytes, but its blocks take {laid_out}; correct --block"
        )
    if size % page_size and not pad:
        raise ImageError(not_whole(path, size, page_size))
    # A mapping ends with the machine's page, not with one of ours.
    mapped = not size % page_size
    return RawImage(file, blocks, page_size=page_size, pad=pad, mapped=mapped)


def spool(image: RawImage, copied: Copied = unwatched) -> RawImage:
    """The image in an unnamed temporary file, for what needs earlier pages.

    Takes as much space in ``$TMPDIR`` as the image.  ``copied`` is told
    how many pages were.  Raises ImageError.
    """
    copy = image.spool_file(copied)
    try:
        size = copy.size or 0
        check_length(image, size)
        blocks = image.blocks
        if image.pages is None:
            known = sum(block.length for block in blocks[:-1])
            blocks = (*blocks[:-1], replace(blocks[-1], length=size - known))
        return RawImage(
            copy, blocks, page_size=image.page_size, pad=image.pad, mapped=True
        )
    except BaseException:
        copy.close()
        raise


def check_page_size(page_size: int) -> None:
    """Raises ImageError for one that no guest of ours has."""
    if page_size not in PAGE_SIZES:
        raise ImageError(
            f"a page size of {page_size} is none of "
            f"{', '.join(map(format_size, PAGE_SIZES))}"
        )


def check_length(image: Image, size: int) -> None:
    """``size``: all the bytes that could be read.  Raises ImageError."""
    if not size:
        raise ImageError(f"{image.path} is empty")
    expected = sum(block.length for block in image.blocks)
    if image.pages is not None and size != expected:
        if image.taken:  # a pipe, of whose length nobody knew but who laid it out
            raise LayoutError(
                f"{image.path} does not have the {expected} bytes that its blocks "
                "take; correct --block"
            )
        raise ImageError(
            f"{image.path} no longer has its {expected} bytes; do not change it "
            "while it is read"
        )
    if size % image.page_size and not image.pad:
        raise ImageError(not_whole(image.path, size, image.page_size))


def not_whole(path: str, size: int, page_size: int) -> str:
    """The sentence about an image that ends within a page."""
    return (
        f"{path} has {size} bytes, which is no multiple of the page size {page_size}; "
        "give another --page-size, or --pad to fill up the last page with zeros"
    )


def _name_size(name: str) -> int:
    """In bytes; 0 for what no UTF-8 stands for, as on a command line."""
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        return 0


def _check_layout(layout: tuple[Block, ...], page_size: int) -> None:
    names: set[str] = set()
    for block in layout:
        name, end = block.name, block.guest_address + block.length
        if not 0 < _name_size(name) <= _NAME_MAX:
            raise LayoutError(
                f"a block's name has 1 to {_NAME_MAX} bytes of UTF-8, and "
                f"{quoted(name)} has not; correct --block"
            )
        if name in names:
            raise LayoutError(f"two blocks have the name {name}; correct --block")
        names.add(name)
        if block.length <= 0 or block.length % page_size:
            raise LayoutError(
                f"block {name} has {block.length} bytes, which is no positive "
                f"multiple of the page size {page_size}; correct --block"
            )
        if block.guest_address % page_size:
            raise LayoutError(
                f"block {name} starts at {block.guest_address:#x}, where no page of "
                f"{page_size} bytes begins; correct --block"
            )
        if end > 1 << 64:
            raise LayoutError(
                f"block {name} ends at {end:#x}, beyond all addresses; correct --block"
            )
    by_address = sorted(layout, key=lambda block: block.guest_address)
    for one, other in pairwise(by_address):
        if one.guest_address + one.length > other.guest_address:
            raise LayoutError(
                f"blocks {one.name} and {other.name} overlap at guest address "
                f"{other.guest_address:#x}; correct --block"
            )
