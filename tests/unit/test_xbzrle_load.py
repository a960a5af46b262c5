# SPDX-License-Identifier: LGPL-2.1-or-later
"""The receiving side of XBZRLE."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp import _core
from migcomp.errors import PageError
from tests.conftest import PAGE, make_page

ZERO, UNCHANGED, DELTA, OVERFLOW, MISS = range(5)


def load(classes: bytes, sizes: list[int], payload: bytes) -> bytearray:
    memory = bytearray(make_page("noise") * 2)
    numbers = struct.pack(f"={len(classes)}Q", *range(len(classes)))
    packed = struct.pack(f"={len(sizes)}I", *sizes)
    _core.xbzrle_load(memory, PAGE, numbers, classes, packed, payload)
    return memory


@pytest.mark.parametrize(
    ("kind", "sizes", "payload"),
    [
        (ZERO, [1], b"a"),
        (UNCHANGED, [1], b"a"),
        (MISS, [PAGE - 1], bytes(PAGE - 1)),
        (OVERFLOW, [0], b""),
        (DELTA, [2], b"\0\0"),
        (DELTA, [3], b"\0\1"),  # cut off
        (DELTA, [1 << 31], b"\0\1a"),
        # Longer than the page it is for: QEMU refuses that before it decodes.
        (DELTA, [3 * PAGE // 2], b"\1\1a" * (PAGE // 2)),
        (5, [0], b""),
        (255, [0], b""),
    ],
)
def test_what_nobody_sent(kind: int, sizes: list[int], payload: bytes) -> None:
    with pytest.raises(PageError, match="page 0: it was sent malformed"):
        load(bytes([kind]), sizes, payload)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=2), st.lists(st.integers(0, 9)), st.binary(max_size=20))
def test_noise_is_refused_or_loaded(
    classes: bytes, sizes: list[int], payload: bytes
) -> None:
    try:
        load(classes, sizes, payload)
    except (PageError, ValueError):
        return
    assert len(sizes) == len(classes)
    assert sum(sizes) == len(payload)


def test_arguments_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="a byte in classes and 4 in sizes"):
        load(bytes([ZERO, ZERO]), [0], b"")
    with pytest.raises(ValueError, match="beyond the last page"):
        load(bytes([ZERO]), [0], b"a")
    with pytest.raises(ValueError, match="page 2 is not in the memory"):
        load(bytes([ZERO] * 3), [0] * 3, b"")
    with pytest.raises(ValueError, match="page_size must be"):
        _core.xbzrle_load(bytearray(8), 8, b"", b"", b"", b"")
    with pytest.raises(TypeError, match="read-write"):
        _core.xbzrle_load(bytes(PAGE), PAGE, b"", b"", b"", b"")  # type: ignore[arg-type, unused-ignore]
