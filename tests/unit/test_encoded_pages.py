# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images whose pages are encoded: decoded on the queue's threads, and checked."""

from __future__ import annotations

from io import BytesIO
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp import _core
from migcomp.choice import Choice
from migcomp.codecs import GROUPINGS
from migcomp.errors import ImageError
from migcomp.images.decode import read_page, readable_again
from migcomp.images.file import open_file
from migcomp.images.mapped import MappedImage
from migcomp.pipeline import compress
from migcomp.restore import verify
from migcomp.results import Block
from migcomp.stream.reader import open_stream
from tests.conftest import PAGE, memory_file, restored
from tests.encoded_tools import (
    NOISE,
    RAW,
    ROWS,
    TEXT,
    a_store,
    changed,
    delta,
    entry,
    open_store,
)
from tests.qemu_tools import xbzrle


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(GROUPINGS), st.booleans(), st.booleans())
def test_pages_of_every_encoding(
    seed: int, grouping: str, dedup: bool, mapped: bool
) -> None:
    store = a_store(seed)
    sink = BytesIO()
    choice = Choice(grouping=grouping, dedup=dedup, packet_pages=8, threads=2)
    with (
        memory_file(bytes(store.buffer)) as path,
        open_store(path, store, store.map(mapped)) as image,
    ):
        result = compress(image, sink, choice)
        assert result.pages.zero == store.pages.count(bytes(PAGE))
        assert restored(sink.getvalue()) == b"".join(store.pages)
        with memory_file(sink.getvalue()) as packed, open_stream(packed) as reader:
            verify(reader, image)
        for number in (0, 7, 39):
            assert read_page(image, number) == store.pages[number]
        again = readable_again(image)
        with again if again is not image else image as copy:
            assert copy.read(0, 40) == b"".join(store.pages)


def test_pages_in_extents_with_gaps_and_in_disorder() -> None:
    content = b"?" + NOISE + TEXT + ROWS
    page_map = _core.PageMap(
        content,
        [(1, 1, 1 + 2 * PAGE), (2, 0, 0), (2, 2, 1), (7, 1, 1)],
        PAGE,
        False,
        pages=9,
    )
    zero = bytes(PAGE)
    expected = zero + ROWS + NOISE + TEXT + zero * 3 + NOISE + zero
    sink = BytesIO()
    block = [Block("ram", 9 * PAGE, 0)]
    with (
        memory_file(content) as path,
        MappedImage(open_file(path), "gaps", block, page_map, PAGE, {}) as image,
    ):
        assert [(r.first_page, r.pages, r.hole) for r in image.runs(0)] == [
            (0, 1, True),
            (1, 3, False),
            (4, 3, True),
            (7, 1, False),
            (8, 1, True),
        ]
        assert image.read(0, 9) == expected
        compress(image, sink, Choice(dedup=True))
    assert restored(sink.getvalue()) == expected


# --- XBZRLE ---------------------------------------------------------------------------


def apply(packed: bytes, old: bytes) -> bytes:
    """What a queue makes of a page and one delta on top."""
    page_map = _core.PageMap(
        old + packed,
        [],
        PAGE,
        False,
        entries=entry(0, 0, RAW, 1),
        deltas=delta(PAGE, len(packed), 0),
    )
    with (
        memory_file(old) as path,
        MappedImage(
            open_file(path), "delta", [Block("ram", PAGE, 0)], page_map, PAGE, {}
        ) as image,
    ):
        return read_page(image, 0)


def test_the_vector_of_qemus_documentation() -> None:
    old = bytes(1001) + bytes(range(5, 0x14)) + b"\x68\0\0\x6b\0\x6d" + bytes(3074)
    new = bytes(1001) + bytes(range(1, 0x10)) + b"\x68\0\0\x67\0\x69" + bytes(3074)
    packed = bytes.fromhex("e9070f0102030405060708090a0b0c0d0e0f030167010169")
    assert xbzrle(old, new) == packed
    assert apply(packed, old) == new


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.booleans())
def test_deltas(seed: int, zero: bool) -> None:
    rng = Random(seed)
    old = bytes(PAGE) if zero else NOISE
    new = rng.randbytes(PAGE) if seed % 10 == 0 else changed(old, rng)
    packed = xbzrle(old, new)
    if len(packed) <= PAGE:
        assert apply(packed, old) == new


@pytest.mark.parametrize(
    "packed",
    [
        b"\0",
        b"\0\0",
        b"\0\1",
        b"\0\2a",
        b"\0\1a\0\1b",
        b"\0\1a\1",
        b"\x80",
        b"\x80\x80\1\1a",
        b"\xff\x1f\2ab",
        b"\x80\x20\1a",
        b"\xff\x7f\1a",
        b"\0\1a\xff\x1f\1b",
        b"\1\x80\x80\0a",
    ],
)
def test_malformed_deltas(packed: bytes) -> None:
    with pytest.raises(ImageError, match="page 0: its XBZRLE delta is malformed"):
        apply(packed, NOISE)


def test_the_last_byte_can_change() -> None:
    assert apply(b"\xff\x1f\1z", NOISE) == NOISE[:-1] + b"z"
    assert apply(b"", NOISE) == NOISE
