# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pages of an image as a writer stores them, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from migcomp import _core
from migcomp.codecs import Codec
from migcomp.images.decode import decode
from migcomp.images.image import Image, Run, pages_in

ZERO, SAME, DEDUPLICATED, NORMAL, COMPRESSED = range(5)


def all_runs(image: Image) -> Iterator[Run]:
    for block in range(len(image.blocks)):
        yield from image.runs(block)


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


def in_order(
    image: Image,
    codec: Codec,
    zeros: Callable[[int, int], None],
    pages: Callable[[int, list[tuple[int, bytes]]], None],
    *,
    threads: int | None,
) -> None:
    """All pages of an image, front to back: calls ``zeros`` (first page, number)
    for what was not looked at, and ``pages`` (first page, what stored_pages gives)
    for the others, which never span two blocks.  Raises as decode does.
    """
    page_map = image.page_map
    assert page_map is not None
    reached = 0

    def take(request: _core.PageRequest) -> None:
        nonlocal reached
        first = request.first_page
        if first > reached:
            zeros(reached, first - reached)
        pages(first, list(stored_pages(request, image.page_size)))
        reached = first + request.pages

    decode(image, all_runs(image), take, codec=codec, threads=threads)
    if reached < page_map.pages:
        zeros(reached, page_map.pages - reached)
