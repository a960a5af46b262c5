# SPDX-License-Identifier: LGPL-2.1-or-later
"""XBZRLE's deltas, byte for byte as QEMU makes them."""

from __future__ import annotations

import struct
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp import _core
from tests.conftest import PAGE, make_page
from tests.qemu_tools import patched
from tests.xbzrle_tools import RUN_MOST, flip, reference

SIZES = [4096, 8192, 16384, 65536]


@st.composite
def versions(draw: st.DrawFn, sizes: list[int] = SIZES) -> tuple[bytes, bytes]:
    """A page and a later version of it."""
    size = draw(st.sampled_from(sizes))
    seed = draw(st.integers(0, 1 << 32))
    old = draw(st.sampled_from([bytes(size), Random(seed).randbytes(size)]))
    new = old
    for at, run in draw(
        st.lists(
            st.tuples(
                st.integers(0, size - 1),
                st.sampled_from([1, 2, 7, 8, 63, 64, 65, 127, 128, 300, 5000, 17000]),
            ),
            max_size=8,
        )
    ):
        new = flip(new, at, run)
    # Every so many bytes, so that a delta comes close to the page's size.
    step = draw(st.sampled_from([0, 0, 2, 3, 4, 5, 64]))
    for at in range(0, size if step else 0, step or 1):
        new = flip(new, at) if draw_less(seed, at) else new
    return old, new


def draw_less(seed: int, at: int) -> bool:
    return (seed ^ at * 2654435761) & 7 != 0


def test_the_vector_of_qemus_documentation() -> None:
    old = bytes(1001) + bytes(range(5, 0x14)) + b"\x68\0\0\x6b\0\x6d" + bytes(3074)
    new = bytes(1001) + bytes(range(1, 0x10)) + b"\x68\0\0\x67\0\x69" + bytes(3074)
    delta = bytes.fromhex("e9070f0102030405060708090a0b0c0d0e0f030167010169")
    assert _core.xbzrle_encode(old, new, PAGE) == delta
    assert _core.xbzrle_encode(old, old, PAGE) == b""


@settings(deadline=None, max_examples=40)
@given(versions())
def test_round_trips(pages: tuple[bytes, bytes]) -> None:
    old, new = pages
    delta = _core.xbzrle_encode(old, new, len(old))
    assert delta == reference(old, new, len(old))
    if delta is not None:
        assert patched(old, delta) == new
        memory = bytearray(old)
        sent = (bytes([_core.XBZRLE_DELTA]), struct.pack("=I", len(delta)), delta)
        _core.xbzrle_load(memory, len(old), struct.pack("=Q", 0), *sent)
        assert memory == new


@settings(deadline=None, max_examples=60)
@given(versions([PAGE]), st.data())
def test_what_does_not_fit(pages: tuple[bytes, bytes], data: st.DataObject) -> None:
    delta = reference(*pages, 1 << 20)
    assert delta is not None
    most = min(PAGE, len(delta) + 3)
    room = data.draw(st.integers(max(0, most - 8), most))
    assert _core.xbzrle_encode(*pages, room) == reference(*pages, room)


@pytest.mark.parametrize("room", range(8))
@pytest.mark.parametrize("at", [0, 1, 127, 128, PAGE - 1])
def test_hardly_any_room(at: int, room: int) -> None:
    old = make_page("noise")
    new = flip(old, at)
    assert _core.xbzrle_encode(old, new, room) == reference(old, new, room)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("at", [0, 1, 16383, 16384, 16385])
@pytest.mark.parametrize("run", [1, 16383, 16384])
def test_longest_runs(size: int, at: int, run: int) -> None:
    old = make_page("noise", 1, size)
    new = flip(old, at, run) if at < size else old
    delta = _core.xbzrle_encode(old, new, size)
    assert delta == reference(old, new, size)
    if size == 65536:
        assert (delta is None) == (at > RUN_MOST or run > RUN_MOST)


@pytest.mark.parametrize(
    ("old", "new", "room"),
    [
        (PAGE, PAGE - 64, 0),
        (64, 64, 64),
        (PAGE + 1, PAGE + 1, 0),
        (131072, 131072, 0),
        (PAGE, PAGE, -1),
        (PAGE, PAGE, PAGE + 1),
        (0, 0, 0),
    ],
)
def test_what_is_no_page(old: int, new: int, room: int) -> None:
    with pytest.raises(ValueError, match=r"pages must have one size|room must be"):
        _core.xbzrle_encode(bytes(old), bytes(new), room)
