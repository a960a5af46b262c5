# SPDX-License-Identifier: LGPL-2.1-or-later
"""What changed since an earlier image, and what deltas of it come to."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest

from migcomp import _core
from migcomp.errors import ImageError
from migcomp.explain.explain import explain
from migcomp.images.open import open_image
from migcomp.results import Block
from tests.conftest import memory_file
from tests.core_tools import PAGE, noise
from tests.explain_tools import explained, technique_of


def touched(content: bytes, pages: dict[int, bytes]) -> bytes:
    changed = bytearray(content)
    for page, data in pages.items():
        changed[page * PAGE : page * PAGE + len(data)] = data
    return bytes(changed)


def test_what_changed_since_an_earlier_image() -> None:
    before = bytes(4 * PAGE) + noise(396)
    now = touched(before, {0: b"new", 10: b"!", 300: b"??", 399: bytes(PAGE)})
    found = explained(now, before)
    assert found.previous
    # The last page is zero now, and sent for nothing.
    assert (found.previous.same, found.previous.changed) == (393, 3)
    assert found.previous.new == 0
    unchanged, delta = technique_of(found, "unchanged"), technique_of(found, "delta")
    assert unchanged.pages == 393
    assert delta.pages == 3
    assert delta.sent.value < 200
    assert delta.gain
    # Two of noise do not shrink by themselves.
    assert delta.gain.value > 2 * PAGE - 200


def test_an_earlier_image_with_less_memory() -> None:
    found = explained(noise(200), noise(200)[: 150 * PAGE])
    assert found.previous
    assert (found.previous.same, found.previous.changed) == (150, 0)
    assert found.previous.new == 50


def test_memory_is_compared_where_the_guest_has_it() -> None:
    """Blocks in another order, and one that is cut in two."""
    low, high = noise(100, 1), noise(60, 2)
    now = (Block("low", 100 * PAGE, 0), Block("high", 60 * PAGE, 1 << 32))
    before = (
        Block("top", 60 * PAGE, 1 << 32),
        Block("one", 40 * PAGE, 0),
        Block("two", 60 * PAGE, 40 * PAGE),
    )
    with ExitStack() as stack:
        one = stack.enter_context(memory_file(low + high))
        other = stack.enter_context(memory_file(high + low))
        image = stack.enter_context(open_image(one, layout=now))
        previous = stack.enter_context(open_image(other, layout=before))
        found = explain(image, previous, threads=1)
    assert found.previous
    assert found.previous.same == 160


def test_images_that_have_nothing_in_common() -> None:
    with ExitStack() as stack:
        one = stack.enter_context(memory_file(noise(4)))
        other = stack.enter_context(memory_file(noise(2)))
        image = stack.enter_context(open_image(one))
        layout = (Block("far", 2 * PAGE, 1 << 40),)
        previous = stack.enter_context(open_image(other, layout=layout))
        with pytest.raises(ImageError, match="no memory in common"):
            explain(image, previous, threads=1)
        wide = stack.enter_context(memory_file(noise(4)))
        larger = stack.enter_context(open_image(wide, page_size=8192))
        with pytest.raises(ImageError, match="pages of 8192 bytes"):
            explain(image, larger, threads=1)


def test_deltas_are_those_of_the_core() -> None:
    """XBZRLE's bytes are what its encoder gives page by page; of a page that shares
    nothing with what it was it makes none."""
    before = noise(300)
    small = touched(before, {5: b"one", 130: b"two and more", 299: b"z"})
    now = touched(small, {200: noise(1, 99)})
    found = explained(now, before)
    xbzrle, delta = technique_of(found, "xbzrle"), technique_of(found, "delta")
    pages = [(before[n * PAGE :][:PAGE], now[n * PAGE :][:PAGE]) for n in (5, 130, 299)]
    encoded = [_core.xbzrle_encode(old, new, PAGE) for old, new in pages]
    assert xbzrle.sent.value == sum(map(len, filter(None, encoded))) + PAGE
    assert xbzrle.pages == delta.pages == 4
    # zstd's are frames of 12 bytes or more that refer to the page before.
    assert PAGE < delta.sent.value < PAGE + 3 * 64
    for technique in (xbzrle, delta):
        assert technique.gain
        assert technique.gain.value == 4 * PAGE - technique.sent.value
        assert technique.cpu_seconds_per_gib > 0


def test_deltas_of_pages_that_lie_apart() -> None:
    """One in each packet, of which some are drawn; and the earlier pages are found
    by address, where another block has them."""
    before = noise(100 * 128)
    now = touched(before, {128 * n + n: b"changed" for n in range(100)})
    found = explained(now, before, sample_bytes=20 * PAGE)
    xbzrle = technique_of(found, "xbzrle")
    assert xbzrle.pages == 100
    # 2 bytes of length, 7 of content, and one or two for each run between.
    assert 100 * 9 < xbzrle.sent.value < 100 * 14
    assert xbzrle.sent.error > 0


def test_xbzrle_alone_where_zstd_makes_no_deltas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIGCOMP_LIBZSTD", "none")
    before = noise(4)
    found = explained(touched(before, {1: b"!"}), before)
    assert found.technique("delta") is None
    assert technique_of(found, "xbzrle").pages == 1


def test_a_raw_image_has_the_blocks_of_the_other() -> None:
    """--block tells them once."""
    data = noise(60)
    layout = (Block("low", 20 * PAGE, 0), Block("high", 40 * PAGE, 1 << 32))
    found = explained(data, data, layout=layout)
    assert found.previous
    assert (found.previous.same, found.previous.new) == (60, 0)


def test_overlapping_blocks_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By address, and each page with one other: some formats allow them."""
    data = noise(40)
    with ExitStack() as stack:
        one = stack.enter_context(memory_file(data))
        image = stack.enter_context(open_image(one))
        other = stack.enter_context(memory_file(data[: 30 * PAGE] + noise(30, 7)))
        apart = (Block("a", 30 * PAGE, 0), Block("b", 30 * PAGE, 1 << 32))
        previous = stack.enter_context(open_image(other, layout=apart))
        second = replace(apart[1], guest_address=10 * PAGE)
        monkeypatch.setattr(previous, "blocks", (apart[0], second))
        found = explain(image, previous, threads=1)
    assert found.previous
    assert (found.previous.same, found.previous.changed) == (30, 10)
    assert found.previous.new == 0
