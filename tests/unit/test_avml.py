# SPDX-License-Identifier: LGPL-2.1-or-later
"""AVML: ranges of memory in snappy's frames."""

from __future__ import annotations

import struct
from functools import partial
from io import BytesIO

import cramjam
import pytest

from migcomp.choice import Choice
from migcomp.errors import ImageError
from migcomp.images.decode import readable_again
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from migcomp.results import Block
from tests.conftest import PAGE, make_pages, memory_file, restored
from tests.dump_files import Range, avml, snappy_frames, snappy_literals
from tests.image_tools import content, refusal

A, B, C, ZERO = (make_pages(kind) for kind in ("rows", "noise", "text", "zero"))
RANGES: list[Range] = [(0, A + B), (0x10000, C), (0xFFFC0000, B + ZERO + C)]
LONG = (A + ZERO + C + B) * 12  # of several chunks
LONG_RANGES: list[Range] = [(0x1000, LONG), (0x1000 + len(LONG), C), (0x100000, B)]


@pytest.mark.parametrize(
    ("chunk", "skipped"), [(PAGE, False), (65536, False), (65536, True)]
)
def test_avml(chunk: int, skipped: bool) -> None:
    data = avml(LONG_RANGES, partial(snappy_frames, chunk=chunk, skipped=skipped))
    sink = BytesIO()
    with memory_file(data) as path, open_image(path) as image:
        assert image.format == "avml"
        assert image.facts == {"ranges": 3}
        assert image.blocks == (
            Block("ram@0x1000", len(LONG) + PAGE, 0x1000),
            Block("ram@0x100000", PAGE, 0x100000),
        )
        compress(image, sink, Choice(dedup=True, packet_pages=7))
    assert restored(sink.getvalue()) == LONG + C + B


@pytest.mark.parametrize("tail", [A[:100], B[:100]])
def test_a_range_that_ends_within_a_page(tail: bytes) -> None:
    for data in (LONG + tail, tail):
        with memory_file(avml([(0x1000, data)])) as path:
            assert content(path) == data + bytes(PAGE - 100)


@pytest.mark.parametrize(
    ("page", "place"),
    [(A, 46), (B, 46), (B, 60)],
    ids=["checksum, compressed", "checksum, raw", "content, raw"],
)
def test_avml_checksums_are_checked(page: bytes, place: int) -> None:
    """Header, identifier, and the chunk's type and length are before them."""
    data = bytearray(avml([(0x1000, page)]))
    data[place] ^= 0x10
    with memory_file(bytes(data)) as path, pytest.raises(ImageError) as caught:
        content(path)
    assert "page 0: the checksum of its block is wrong" in str(caught.value)


def test_avml_with_another_page_size() -> None:
    with (
        memory_file(avml([(0x10000, A * 32)])) as path,
        open_image(path, page_size=16384) as image,
        readable_again(image) as copy,
    ):
        assert copy.read(0, 8) == A * 32
    with memory_file(avml(LONG_RANGES)) as path, pytest.raises(ImageError) as caught:
        open_image(path, page_size=65536)
    assert "its range at 0x1000 begins no page of 65536 bytes" in str(caught.value)


def one(frames: bytes, length: int = PAGE, start: int = 0, trailer: int = -1) -> bytes:
    head = struct.pack("<IIQQQ", 0x4C4D5641, 2, start, (start + length - 1) % 2**64, 0)
    size = len(frames) if trailer < 0 else trailer
    return head + frames + struct.pack("<Q", size)


FRAMES = snappy_frames(A)


def chunk(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + (len(body) + 4).to_bytes(3, "little") + bytes(4) + body


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (avml(RANGES)[:-1], "damaged or cut off: no range of memory ends at byte"),
        (avml(RANGES) + bytes(8), "no range of memory ends at byte"),
        (avml(RANGES)[40:], ""),
        (one(FRAMES, trailer=2**64 - 1), "no range of memory ends"),
        (one(FRAMES, trailer=len(FRAMES) + 1), "no range of memory ends"),
        (one(FRAMES, length=0, start=1), "no range of memory ends"),
        (one(FRAMES, length=2 * PAGE), "the range at 0x0 lacks 4096 bytes"),
        (one(FRAMES, length=PAGE - 1), "holds 4096"),
        (one(FRAMES, start=1), "its range at 0x1 begins no page of 4096 bytes"),
        (one(b""), "lacks 4096 bytes"),
        (one(FRAMES[:-1]), "a chunk exceeds its range"),
        (one(FRAMES + b"\0"), "a chunk is cut off"),
        (one(b"\xff\x06\0\0sNaPpX" + FRAMES), "a chunk of type 255"),
        (one(chunk(2, b"unknown") + FRAMES), "a chunk of type 2"),
        (one(b"\x80\0\0\0" * 17 + FRAMES), "its chunks are empty"),
        (one(chunk(0, b"")), "a chunk of 0 bytes holds -1"),
        (one(chunk(0, b"\xff" * 6)), "a chunk of 6 bytes holds -1"),
        (one(chunk(0, b"\x80\x20")), "a chunk of 2 bytes holds 4096"),
        (one(chunk(0, b"\x80\x80\x08" + bytes(7000)), 2**20), "holds 131072"),
        (one(b"\1\3\0\0abc"), "a chunk of -1 bytes holds -1"),
        (one(chunk(0, b"\x80\x20" + bytes(300))), "page 0: malformed block"),
        (one(chunk(1, A[:100]) + chunk(1, A[100:])), "hold no whole pages of 4096"),
        (avml([(0, A + B), (PAGE, C)]), "overlap at guest address 0x1000"),
    ],
)
def test_avml_that_cannot_be(data: bytes, sentence: str) -> None:
    if sentence:
        assert sentence in refusal(data)
    else:  # without a first header it is no AVML at all
        with memory_file(data.ljust(2 * PAGE, b"\0")[: 2 * PAGE]) as path:
            assert open_image(path).format == "raw"


def test_the_fixtures_are_snappy() -> None:
    for data in (A, B, ZERO, LONG, b"", b"x"):
        packed = snappy_literals(data)
        assert bytes(cramjam.snappy.decompress_raw(packed)) == data
