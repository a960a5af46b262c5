# SPDX-License-Identifier: LGPL-2.1-or-later
"""Dumps whose pages are compressed: kdump, plain and flattened."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from random import Random

import cramjam
import lzallright
import pytest
import zstandard

from migcomp import _core
from migcomp.choice import Choice
from migcomp.codecs import providers
from migcomp.errors import CodecUnavailable
from migcomp.images import flattened as flat
from migcomp.images import kdump as reader
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from migcomp.results import Block
from tests.conftest import PAGE, make_pages, memory_file, restored
from tests.dump_files import Range, flattened, kdump
from tests.image_tools import content, refusal

A, B, C, ZERO = (make_pages(kind) for kind in ("rows", "noise", "text", "zero"))
RANGES: list[Range] = [(0, A + B), (0x10000, C), (0xFFFC0000, B + ZERO + C)]
BLOCKS = (
    Block("ram@0x0", 2 * PAGE, 0),
    Block("ram@0x10000", PAGE, 0x10000),
    Block("ram@0xfffc0000", 3 * PAGE, 0xFFFC0000),
)
WHOLE = A + B + C + B + ZERO + C

LZO = lzallright.LZOCompressor()
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda page: page,
    "zlib": zlib.compress,
    "lzo": LZO.compress,
    "snappy": lambda page: bytes(cramjam.snappy.compress_raw(page)),
    "zstd": zstandard.ZstdCompressor().compress,
}


# --- kdump --------------------------------------------------------------------------


@pytest.mark.parametrize("method", PACKERS)
@pytest.mark.parametrize("flat", [False, True])
def test_each_way_to_compress(method: str, flat: bool) -> None:
    data = kdump(RANGES, PACKERS[method], method)
    if flat:
        data = flattened(data, [(at, 1000) for at in range(0, len(data), 1000)])
    sink = BytesIO()
    with memory_file(data) as path, open_image(path) as image:
        assert image.format == "kdump"
        assert image.blocks == BLOCKS
        assert image.facts == {
            "flattened": "yes" if flat else "no",
            "codecs": "none" if method == "raw" else method,
            "dumped pages": 6,
        }
        compress(image, sink, Choice(packet_pages=4))
    assert restored(sink.getvalue()) == WHOLE


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("version", [5, 6])
def test_machines(bits: int, order: str, version: int) -> None:
    data = kdump(RANGES, bits=bits, order=order, version=version)
    with memory_file(data) as path:
        assert content(path) == WHOLE


def test_the_dump_tells_its_page_size() -> None:
    data = kdump([(0, (A + C) * 8 + B * 16)], page_size=65536)
    with memory_file(data) as path:
        with open_image(path) as image:
            assert image.page_size == 65536
        assert content(path) == (A + C) * 8 + B * 16


def test_excluded_pages_are_zero_and_unread() -> None:
    data = kdump(RANGES, excluded={1, 0xFFFC0})
    with memory_file(data) as path:
        with open_image(path) as image:
            assert image.blocks == BLOCKS
            assert image.facts["dumped pages"] == 4
            assert [(r.first_page, r.pages, r.hole) for r in image.runs(0)] == [
                (0, 1, False),
                (1, 1, True),
            ]
        assert content(path) == A + ZERO + C + ZERO + ZERO + C


def test_pages_that_are_dumped_but_are_no_memory() -> None:
    """The first bitmap counts: what it lacks has no place in a block."""
    data = bytearray(kdump(RANGES))
    data[2 * PAGE] = 2
    with memory_file(bytes(data)) as path:
        assert content(path) == B + C + B + ZERO + C


@pytest.mark.parametrize("seed", range(6))
def test_more_pages_than_a_chunk_of_the_bitmap(seed: int) -> None:
    rng = Random(seed)
    ranges = [(start << 12, A + C) for start in range(0, 100_000, 9000)]
    frames = [(start >> 12) + n for start, _ in ranges for n in range(2)]
    excluded = {frame for frame in frames if rng.random() < 0.4}
    pages = (page for _ in ranges for page in (A, C))
    expected = [
        ZERO if n in excluded else page for n, page in zip(frames, pages, strict=True)
    ]
    with memory_file(kdump(ranges, excluded=excluded)) as path:
        assert content(path) == b"".join(expected)


def test_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGCOMP_LIBSNAPPY", "none")
    monkeypatch.setenv("MIGCOMP_LIBLZO2", "none")
    for method in ("snappy", "lzo"):
        with memory_file(kdump(RANGES, PACKERS[method], method)) as path:
            assert content(path) == WHOLE
            monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
            with pytest.raises(CodecUnavailable, match=r"pip install 'migcomp\[dumps"):
                open_image(path)
            monkeypatch.undo()
            monkeypatch.setenv("MIGCOMP_LIBSNAPPY", "none")
            monkeypatch.setenv("MIGCOMP_LIBLZO2", "none")


def first(packed: bytes, page: bytes) -> bytes:
    return packed


@pytest.mark.parametrize("codec", ["lzo", "snappy"])
def test_libraries_that_read_only(codec: str) -> None:
    (found,) = (p for p in providers() if p.codec == codec and p.native)
    if found.problem:
        pytest.skip(found.problem)
    assert _core.bind(found.provider, found.path).codec == codec
    packed, longer = PACKERS[codec](A), PACKERS[codec](A * 2)
    for wrong in (packed[:-1], packed + b"!", b"\xff" * 40, b"\0", longer):
        assert "page 0: " in refusal(kdump([(0, A)], partial(first, wrong), codec))


GOOD = kdump(RANGES)
DESCRIPTORS = (2 + 2 * 32) * PAGE  # bitmaps up to frame 0xfffc3 take 32 pages


def changed(at: int, layout: str, *values: int | bytes) -> bytes:
    data = bytearray(GOOD)
    struct.pack_into(layout, data, at, *values)
    return bytes(data)


@pytest.mark.parametrize(
    ("at", "layout", "values", "sentence"),
    [
        (428, "<I", (4095,), "tells no page size"),
        (432, "<I", (0,), "tells no page size"),
        (432, "<I", (65535,), "it ends within its first bitmap"),
        (436, "<I", (1,), "have no room for"),
        (436, "<I", (2**31,), "second bitmap"),
        (PAGE + 96, "<Q", (0,), "claims 0 pages"),
        (PAGE + 96, "<Q", (2**63,), "claims 9223372036854775808 pages"),
        (PAGE + 96, "<Q", (2**39,), "no room for 549755813888"),
        (PAGE + 12, "<i", (1,), "makedumpfile --reassemble"),
        (2 * PAGE, f"<{PAGE * 64}s", (b"",), "holds no memory"),
        (DESCRIPTORS + 8, "<I", (0,), "stored in 0 bytes"),
        (DESCRIPTORS + 8, "<I", (PAGE + 1,), "stored in 4097 bytes"),
        (DESCRIPTORS + 12, "<I", (0,), "is damaged: it has a page stored in"),
        (DESCRIPTORS + 12, "<I", (8,), "not known (flags 0x8)"),
        (DESCRIPTORS, "<Q", (2**64 - 1,), "page 0: the image ends before"),
        (DESCRIPTORS, "<Q", (len(GOOD) - 1,), "page 0: the image ends before"),
        (DESCRIPTORS, "<Q", (100,), "page 0: "),
    ],
)
def test_kdumps_that_cannot_be(
    at: int, layout: str, values: tuple[int | bytes, ...], sentence: str
) -> None:
    assert sentence in refusal(changed(at, layout, *values))


def test_kdumps_that_are_cut_off() -> None:
    for cut, sentence in (
        (100, "within its header"),
        (PAGE + 10, "within its sub-header"),
        (2 * PAGE + 10, "within its first bitmap"),
        (DESCRIPTORS - PAGE, "within its second bitmap"),
        (DESCRIPTORS + 50, "the descriptors of its 6 pages"),
        (len(GOOD) - 1, "page 5: the image ends before its content"),
    ):
        assert sentence in refusal(GOOD[:cut])


# --- The flattened format -------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_pieces_in_any_order_and_over_one_another(seed: int) -> None:
    """Of what is written twice, the later counts."""
    rng = Random(seed)
    garbage = rng.randbytes(len(GOOD))
    pieces = []
    for _ in range(rng.randrange(1, 30)):
        start = rng.randrange(len(GOOD))
        pieces.append((start, rng.randrange(1, len(GOOD) - start + 1)))
    early = flattened(garbage, pieces)[:-16]
    step = rng.randrange(100, 5000)
    order = [(at, min(step, len(GOOD) - at)) for at in range(0, len(GOOD), step)]
    rng.shuffle(order)
    with memory_file(early + flattened(GOOD, order)[4096:]) as path:
        assert content(path) == WHOLE


def test_what_no_piece_has_is_zero() -> None:
    """As in the file that makedumpfile -R puts together."""
    pieces = [(0, 470), (PAGE, 200), (2 * PAGE, len(GOOD) - 2 * PAGE)]
    with memory_file(flattened(GOOD, pieces)) as path:
        assert content(path) == WHOLE


def piece(offset: int, size: int) -> bytes:
    return struct.pack(">qq", offset, size)


def test_pieces_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    head = flattened(b"", [])[:4096]
    whole = flattened(GOOD, [(0, len(GOOD))])
    assert "version 2 of makedumpfile's" in refusal(
        head.replace(b"\0\1", b"\0\2") + whole[4096:]
    )
    within_pieces = "is cut off: it ends within its pieces; copy or capture it anew"
    assert refusal(whole[:-16]).endswith(within_pieces)
    cut = refusal(whole[:-17])
    assert "a piece of" in cut
    assert cut.endswith("cannot be; copy or capture it anew")
    assert "flattened, but no kdump" in refusal(flattened(bytes(8192), [(0, 8192)]))
    assert "it ends within its header" in refusal(flattened(GOOD, [(0, 100)]))
    assert "it ends within its header" in refusal(head + piece(-1, -1))
    for bad in (piece(-2, 1), piece(0, 0), piece(0, -1), piece(0, 2**63 - 1)):
        assert "cannot be" in refusal(head + bad + b"x")
    monkeypatch.setattr(flat, "PIECES_MAX", 3)
    assert "put it together with makedumpfile -R first" in refusal(
        flattened(GOOD, [(0, 1)] * 4)
    )


def test_pieces_that_overlap_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each juts out behind all that were written later."""
    pieces = [(0, len(GOOD) - n) for n in range(60)]
    monkeypatch.setattr(flat, "PIECES_MAX", 2 * len(pieces))
    assert "its pieces overlap everywhere" in refusal(flattened(GOOD, pieces))


def test_too_many_pages_in_two_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PATCHES_MAX", 1)
    pieces = [(at, 100) for at in range(0, len(GOOD), 100)]
    assert "too many pages in pieces" in refusal(flattened(GOOD, pieces))
