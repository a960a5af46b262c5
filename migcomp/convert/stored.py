# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pages of an image as a writer stores them, one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate

from migcomp import _core
from migcomp.codecs import Codec
from migcomp.images.decode import decode
from migcomp.images.image import Image, Run, pages_in

ZERO, SAME, DEDUPLICATED, NORMAL, COMPRESSED = range(5)


def all_runs(image: Image, blocks: Sequence[int] | None = None) -> Iterator[Run]:
    """Of ``blocks``, in their order; None stands for all."""
    for block in range(len(image.blocks)) if blocks is None else blocks:
        yield from image.runs(block)


def block_starts(image: Image) -> list[int]:
    """The first page of each block, and the end of the last."""
    pages = (pages_in(block.length, image.page_size) for block in image.blocks)
    return list(accumulate(pages, initial=0))


def memory_length(image: Image) -> int:
    """Bytes of all blocks; the last page may be cut off."""
    before = sum(pages_in(b.length, image.page_size) for b in image.blocks[:-1])
    return before * image.page_size + image.blocks[-1].length


def stored_pages(
    request: _core.PageRequest, page_size: int
) -> Iterator[tuple[int, bytes]]:
    """(class, bytes) of each page of a request that was compressed page by page.

    The bytes are empty for a zero page, those of the page for a same-filled or a
    normal one, and the block of a compressed one.
    """
    details, data = request.details, bytes(request)
    detail = at = 0
    for kind in request.classes:
        if kind == ZERO:
            yield kind, b""
        elif kind == SAME:
            yield kind, details[detail : detail + 8] * (page_size // 8)
            detail += 8
        else:
            size = page_size
            if kind == COMPRESSED:
                size = int.from_bytes(details[detail : detail + 2], "little")
                detail += 2
            yield kind, data[at : at + size]
            at += size


@lru_cache(maxsize=4096)
def filled_page(codec: Codec, pattern: bytes, page_size: int) -> bytes:
    """A same-filled page, which the workers leave alone, compressed by itself."""
    page = pattern * (page_size // 8)
    if codec.name == "zlib":
        import zlib

        return zlib.compress(page, min(codec.level, 9))
    import zstandard

    return zstandard.ZstdCompressor(level=codec.level).compress(page)


def in_order(
    image: Image,
    codec: Codec,
    zeros: Callable[[int, int], None],
    pages: Callable[[int, list[tuple[int, bytes]]], None],
    *,
    threads: int | None,
    blocks: Sequence[int] | None = None,
) -> None:
    """All pages of ``blocks``, None for all, in their order: calls ``zeros`` (first
    page, number) for what was not looked at, and ``pages`` (first page, what
    stored_pages gives) for the others; neither spans two blocks.  Raises as decode
    does.
    """
    starts = block_starts(image)
    order = range(len(image.blocks)) if blocks is None else blocks
    ahead = deque((starts[block], starts[block + 1]) for block in order)
    reached, end = ahead.popleft()

    def skip(page: int) -> None:
        """Up to ``page``, which may be in a later block."""
        nonlocal reached, end
        while not reached <= page < end:
            finish()
            reached, end = ahead.popleft()
        if page > reached:
            zeros(reached, page - reached)

    def finish() -> None:
        if end > reached:
            zeros(reached, end - reached)

    def take(request: _core.PageRequest) -> None:
        nonlocal reached
        skip(request.first_page)
        pages(request.first_page, list(stored_pages(request, image.page_size)))
        reached = request.first_page + request.pages

    decode(image, all_runs(image, order), take, codec=codec, threads=threads)
    finish()
    while ahead:
        reached, end = ahead.popleft()
        finish()
