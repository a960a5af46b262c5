# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that hold the RAM blocks as they are, one after the other.

In a regular file zero pages become holes; a pipe gets it front to back.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from migcomp import _core
from migcomp.codecs import open_codec
from migcomp.convert.stored import all_runs, block_starts, in_order
from migcomp.errors import ImageError
from migcomp.images.decode import decode, write_pages
from migcomp.images.image import Image, pages_in
from migcomp.outputs import OutputFile
from migcomp.stream.sink import write_all

if TYPE_CHECKING:
    from migcomp.convert.convert import Wish

#: What stands before a block's pages, and the block's number.
Piece = tuple[bytes, int]

_ZEROS = bytes(1 << 20)
_ADDRESSES_END = 1 << 64


def by_address(image: Image) -> list[int]:
    """The blocks' numbers.  Raises ImageError for blocks that overlap."""
    blocks = image.blocks
    order = sorted(range(len(blocks)), key=lambda n: blocks[n].guest_address)
    lengths = block_lengths(image)
    end = 0
    for number in order:
        address = blocks[number].guest_address
        if address < end or address + lengths[number] > _ADDRESSES_END:
            raise ImageError(
                f"{image.path} has a RAM block {blocks[number].name} at guest address "
                f"{address:#x}, where another one is or no address; correct --block, "
                "or use --to raw"
            )
        end = address + lengths[number]
    return order


def block_lengths(image: Image) -> list[int]:
    """In bytes, of whole pages."""
    size = image.page_size
    return [pages_in(block.length, size) * size for block in image.blocks]


def write_flat(
    image: Image,
    sink: OutputFile,
    wish: Wish,
    pieces: Sequence[Piece],
    length: int | None = None,
) -> None:
    """Writes all blocks, in the order of ``pieces``.

    ``length``: of the file, if it is to end within the last page.
    """
    heads = sum(len(head) for head, _ in pieces)
    total = heads + sum(block_lengths(image)) if length is None else length
    if sink.is_regular:
        _write_sparse(image, sink, wish, pieces, total)
    else:
        _Front(image, sink, wish, pieces, total).write()


def _write_sparse(
    image: Image, sink: OutputFile, wish: Wish, pieces: Sequence[Piece], total: int
) -> None:
    fd, size = sink.fileno(), image.page_size
    starts, lengths = block_starts(image), block_lengths(image)
    places = [0] * len(pieces)  # of the blocks' pages in the file
    before = [0] * len(pieces)  # pages of the blocks that precede it
    offset = pages = 0
    for head, block in pieces:
        sink.seek(offset)
        write_all(sink, head)
        places[block], before[block] = offset + len(head), pages
        offset += len(head) + lengths[block]
        pages += lengths[block] // size

    def take(request: _core.PageRequest) -> None:
        block = bisect_right(starts, request.first_page) - 1
        within = request.first_page - starts[block]
        write_pages(image, request, fd, places[block] + within * size)
        if wish.progress is not None:
            end = within + request.pages
            wish.progress(before[block] + end, places[block] + end * size)

    order = [block for _, block in pieces]
    decode(image, all_runs(image, order), take, threads=wish.threads)
    os.ftruncate(fd, total)


class _Front:
    """To a pipe, front to back."""

    def __init__(
        self,
        image: Image,
        sink: OutputFile,
        wish: Wish,
        pieces: Sequence[Piece],
        total: int,
    ) -> None:
        self._image = image
        self._sink = sink
        self._wish = wish
        starts = block_starts(image)
        self._heads = {starts[block]: head for head, block in pieces}
        self._order = [block for _, block in pieces]
        self._left = total
        self._done = self._written = 0

    def write(self) -> None:
        codec, threads = open_codec("none"), self._wish.threads
        in_order(
            self._image,
            codec,
            self._zeros,
            self._pages,
            threads=threads,
            blocks=self._order,
        )

    def _zeros(self, first_page: int, pages: int) -> None:
        self._put_head(first_page)
        left = pages * self._image.page_size
        while left:
            piece = min(left, len(_ZEROS))
            self._put(_ZEROS[:piece])
            left -= piece
        self._tell(pages)

    def _pages(self, first_page: int, pages: list[tuple[int, bytes]]) -> None:
        self._put_head(first_page)
        zero = bytes(self._image.page_size)
        self._put(b"".join(data or zero for _, data in pages))
        self._tell(len(pages))

    def _put_head(self, page: int) -> None:
        """If ``page`` is a block's first."""
        self._put(self._heads.get(page, b""))

    def _put(self, data: bytes) -> None:
        data = data[: self._left]
        write_all(self._sink, data)
        self._left -= len(data)
        self._written += len(data)

    def _tell(self, pages: int) -> None:
        self._done += pages
        if self._wish.progress is not None:
            self._wish.progress(self._done, self._written)
