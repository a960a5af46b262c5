# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looking at all pages: what is found, against what was put there."""

from __future__ import annotations

import array
import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migcomp import _core
from migcomp.errors import ImageError, PageError
from migcomp.explain.explain import explain
from migcomp.explain.layout import Cutter, Packet, stretches
from migcomp.images.open import open_image
from migcomp.results import Block
from tests.conftest import make_page, make_pages, memory_file, piped
from tests.core_tools import PAGE, a_map, a_queue, noise
from tests.explain_tools import explained

CLASSIFY = 1

# --- Entropy ------------------------------------------------------------------------


@contextmanager
def classified(page_map: _core.PageMap, pages: int) -> Iterator[_core.PageRequest]:
    with a_queue("none") as queue:
        request = queue.get_request()
        request.load(page_map, 0, pages, CLASSIFY, 0)
        queue.submit_request(request)
        assert queue.collect_request() is request
        yield request


def entropies(content: bytes) -> list[int]:
    with classified(a_map(content), len(content) // PAGE) as request:
        return list(array.array("H", request.entropies()))


def test_entropy_of_known_pages() -> None:
    two = b"ab" * (PAGE // 4) + b"ba" * (PAGE // 4)
    even = bytes(range(256)) * (PAGE // 256)
    assert entropies(two + even) == [1000, 8000]
    assert entropies(bytes(PAGE) + b"12345678" * 512) == [0, 0]


@given(st.binary(min_size=9, max_size=200))
def test_entropy_is_shannons(pattern: bytes) -> None:
    page = (pattern * PAGE)[:PAGE]
    counts = Counter(page).values()
    bits = -sum(n / PAGE * math.log2(n / PAGE) for n in counts)
    if page[8:] != page[:-8]:
        assert entropies(page) == [pytest.approx(bits * 1000, abs=1)]


def test_entropy_of_an_image_that_shrank() -> None:
    with memory_file(noise(4)) as path, open_image(path) as image:
        assert image.page_map is not None
        with classified(image.page_map, 4) as request:
            os.truncate(path, 0)
            with pytest.raises(PageError, match="became shorter"):
                request.entropies()


def test_entropy_of_nothing() -> None:
    with a_queue("none") as queue:
        assert queue.get_request().entropies() == b""
    with (
        a_queue(kind=_core.decompressor) as queue,
        pytest.raises(ValueError, match="compress"),
    ):
        queue.get_request().entropies()


# --- Looking at all pages -----------------------------------------------------------


def test_classes_and_distances() -> None:
    some = make_pages(
        "zero", ("same", 3), ("text", 1), ("rows", 1), ("text", 1), "zero"
    )
    content = some + noise(200) + make_page("rows", 1)
    found = explained(content)
    total = found.total
    assert (total.zero, total.same_filled, total.duplicate) == (2, 1, 2)
    assert total.content == 202
    assert found.distances == (0, 1, 0, 0, 0, 0, 0, 1)  # 2 and 203 pages
    assert sum(found.entropies) == 202
    assert sum(found.entropies[7 * 8 :]) == 200
    assert found.image_bytes == len(content)


def test_stretches_follow_the_blocks() -> None:
    big, small = 1600, 8
    data = noise(big) + bytes(small * PAGE) + make_pages(*[("same", 1)] * small)
    layout = (
        Block("pc.ram", big * PAGE, 1 << 32),
        Block("rom", small * PAGE, 0),
        Block("vga", small * PAGE, 1 << 20),
    )
    found = explained(data, layout=layout)
    *main, rest = found.stretches
    assert [stretch.name for stretch in main] == ["pc.ram"] * len(main)
    assert main[0].guest_address == 1 << 32
    assert main[1].guest_address == (1 << 32) + main[0].pages * PAGE
    assert all(stretch.pages % 128 == 0 for stretch in main[:-1])
    assert sum(stretch.tally.content for stretch in main) == big
    assert (rest.guest_address, rest.blocks) == (None, 2)
    assert (rest.tally.zero, rest.tally.same_filled) == (small, small)
    for stretch in found.stretches:
        assert stretch.tally.total == stretch.pages
    assert sum(region.pages.total for region in found.map) == found.total.total


def test_holes_are_zero_pages_and_not_read() -> None:
    """More of them than could be read."""
    pages = 1 << 26
    with memory_file(noise(3), pages * PAGE) as path, open_image(path) as image:
        found = explain(image, threads=1)
    assert (found.total.zero, found.total.content) == (pages - 3, 3)
    assert sum(region.pages.total for region in found.map) == pages


def test_a_pipe_is_explained_too() -> None:
    content = make_pages("zero", ("text", 1), ("text", 1))
    with piped(content) as path, open_image(path) as image:
        found = explain(image, threads=1)
    assert (found.total.zero, found.total.content, found.total.duplicate) == (1, 1, 1)


def test_an_image_that_shrinks() -> None:
    with memory_file(noise(300)) as path, open_image(path) as image:
        os.truncate(path, 100 * PAGE)
        with pytest.raises(ImageError, match=r"changed|shorter|no longer"):
            explain(image, threads=1)


# --- Layout -------------------------------------------------------------------------


def test_packets_are_cut_from_the_start_of_a_block() -> None:
    layout = (Block("a", 130 * PAGE, 0), Block("b", 200 * PAGE, 1 << 30))
    with (
        memory_file(bytes(330 * PAGE)) as path,
        open_image(path, layout=layout) as image,
    ):
        cutter = Cutter(image)
    assert list(cutter.pieces(100, 30)) == [
        (Packet(0, 128), 100, 28),
        (Packet(128, 2), 128, 2),
    ]
    assert list(cutter.pieces(130, 200)) == [
        (Packet(130, 128), 130, 128),
        (Packet(258, 72), 258, 72),
    ]


def blocks_of(*pages: int) -> Any:
    """No more of an image than its layout."""
    blocks = [Block(f"b{n}", size * PAGE, n << 40) for n, size in enumerate(pages)]
    return SimpleNamespace(page_size=PAGE, blocks=blocks)


def test_as_many_blocks_as_there_may_be() -> None:
    """In a time that does not grow with their square, which would be hours."""
    image = blocks_of(*[1] * (1 << 16))
    (rest,) = stretches(image, Cutter(image))
    assert (rest.blocks, rest.pages) == (1 << 16, 1 << 16)


def test_a_small_block_that_is_the_only_one_has_its_address() -> None:
    image = blocks_of(3200, 8, 3200)
    rows = stretches(image, Cutter(image))
    (small,) = (row for row in rows if row.pages == 8)
    assert (small.name, small.guest_address, small.blocks) == ("b1", 1 << 40, 1)
    assert [row.first_page for row in rows] == sorted(row.first_page for row in rows)


@given(st.lists(st.integers(1, 1 << 20), min_size=1, max_size=60))
def test_the_rows_are_few(pages: list[int]) -> None:
    image = blocks_of(*pages)
    rows = stretches(image, Cutter(image))
    assert len(rows) <= 20
    assert sum(row.pages for row in rows) == sum(pages)
    assert sum(row.blocks for row in rows if row.guest_address is None) + len(
        {row.name for row in rows if row.guest_address is not None}
    ) == len(pages)
