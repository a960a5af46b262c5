# SPDX-License-Identifier: LGPL-2.1-or-later
"""Blocks that decompress to several pages, and pages in several buffers."""

from __future__ import annotations

import struct
import zlib
from array import array
from io import BytesIO
from typing import Any

import pytest

from migcomp import _core
from migcomp.choice import Choice
from migcomp.codecs import open_codec
from migcomp.errors import ImageError
from migcomp.images.file import open_file
from migcomp.images.mapped import MappedImage
from migcomp.pipeline import compress
from migcomp.results import Block
from tests.conftest import PAGE, make_page, memory_file, restored

PAGES = [make_page(kind, seed) for seed in range(6) for kind in ("text", "rows")]
FULL = b"".join(PAGES)
PART, RAW = _core.STORED_PART, _core.STORED_RAW


def part(number: int, start: int, kind: int = PART) -> bytes:
    return struct.pack("=QII", number << 32 | start, kind, 0)


def block(place: int, size: int, content: int) -> bytes:
    return struct.pack("=QII", place, size, content)


def open_map(
    path: str,
    buffers: tuple[bytes, ...],
    entries: bytes,
    blocks: bytes,
    **checksums: Any,
) -> MappedImage:
    page_map = _core.PageMap(
        buffers,
        [],
        PAGE,
        False,
        entries=entries,
        blocks=blocks,
        codecs=(open_codec("zlib").library,),
        **checksums,
    )
    length = len(entries) // 16 * PAGE
    ram = [Block("ram", length, 0)]
    return MappedImage(open_file(path), "blocks", ram, page_map, PAGE, {})


def contents(
    buffers: tuple[bytes, ...],
    entries: bytes,
    blocks: bytes,
    dedup: bool = False,
    **checksums: Any,
) -> bytes:
    sink = BytesIO()
    with (
        memory_file(b"some file") as path,
        open_map(path, buffers, entries, blocks, **checksums) as image,
    ):
        compress(image, sink, Choice(packet_pages=5, dedup=dedup, threads=2))
    return restored(sink.getvalue())


@pytest.mark.parametrize("dedup", [False, True])
def test_pages_of_blocks_in_several_buffers(dedup: bool) -> None:
    """The last block ends within a page; a page in between is as it is."""
    first = zlib.compress(FULL[: 5 * PAGE])
    last = zlib.compress(FULL[6 * PAGE : -100])
    buffers = (b"head" + first, PAGES[5] + last)
    places = len(buffers[0]), len(buffers[0]) + PAGE
    entries = [part(0, n * PAGE) for n in range(5)]
    entries.append(struct.pack("=QII", places[0], RAW, 0))
    entries += [part(1, n * PAGE) for n in range(6)]
    entries.append(part(0, 2 * PAGE))
    blocks = block(4, len(first), 5 * PAGE) + block(
        places[1], len(last), 6 * PAGE - 100
    )
    expected = FULL[:-100] + bytes(100) + PAGES[2]
    assert contents(buffers, b"".join(entries), blocks, dedup) == expected


PACKED = zlib.compress(FULL)
MOST = _core.PAGE_BLOCK_MAX


@pytest.mark.parametrize(
    ("item", "blocks", "sentence"),
    [
        (part(0, 0), b"", "in a block that is not there"),
        (part(1, 0), block(0, len(PACKED), len(FULL)), "in a block that is not there"),
        (part(0, 0, PART + 1), block(0, len(PACKED), len(FULL)), "an unknown way"),
        (part(0, len(FULL)), block(0, len(PACKED), len(FULL)), "its block has 49152"),
        (part(0, 0), block(0, len(PACKED), MOST + 1), f"block has {MOST + 1} bytes"),
        (part(0, 0), block(0, len(PACKED), 0), "its block has 0 bytes"),
        (part(0, 0), block(0, 0, len(FULL)), "its compressed block has 0 bytes"),
        (part(0, 0), block(0, 2**32 - 1, MOST), "block has 4294967295 bytes"),
        (part(0, 0), block(1, len(PACKED), len(FULL)), "ends before its content"),
        (part(0, 0), block(0, len(PACKED) - 1, len(FULL)), "block|insufficient"),
        (part(0, 0), block(0, len(PACKED), len(FULL) - 1), "block|malformed"),
        (part(0, 0), block(0, len(PACKED), len(FULL) + 1), "block|malformed|bytes"),
    ],
)
def test_blocks_that_lie(item: bytes, blocks: bytes, sentence: str) -> None:
    for dedup in (False, True):
        with pytest.raises(ImageError, match=f"page 0: .*({sentence})"):
            contents((PACKED,), item * 2, blocks, dedup)


def test_a_damaged_block_spoils_no_other() -> None:
    """What is kept of the last block is not what failed."""
    bad = PACKED[:-4] + b"dead"
    blocks = block(0, len(PACKED), len(FULL)) + block(len(PACKED), len(bad), len(FULL))
    for order in ((0, 1), (1, 1), (1, 0)):
        entries = b"".join(part(number, PAGE) for number in order)
        with pytest.raises(ImageError, match=f"page {order.index(1)}: "):
            contents((PACKED, bad), entries, blocks)
    assert contents((PACKED, bad), part(0, PAGE), blocks) == PAGES[1]


def test_raw_blocks_need_no_codec() -> None:
    page_map = _core.PageMap(
        FULL,
        [],
        PAGE,
        False,
        entries=part(0, PAGE, _core.STORED_RAW_PART),
        blocks=block(0, len(FULL), len(FULL)),
    )
    assert page_map.encoded
    with pytest.raises(ValueError, match="without a queue"):
        page_map.read(0, 1)
    sink = BytesIO()
    ram = [Block("ram", PAGE, 0)]
    with (
        memory_file(FULL) as path,
        MappedImage(open_file(path), "raw", ram, page_map, PAGE, {}) as image,
    ):
        compress(image, sink, Choice())
    assert restored(sink.getvalue()) == PAGES[1]


def test_blocks_need_a_codec() -> None:
    page_map = _core.PageMap(
        PACKED,
        [],
        PAGE,
        False,
        entries=part(0, 0),
        blocks=block(0, len(PACKED), len(FULL)),
    )
    with (
        memory_file(b"-") as path,
        MappedImage(
            open_file(path), "blocks", [Block("ram", PAGE, 0)], page_map, PAGE, {}
        ) as image,
        pytest.raises(ImageError, match="stored in an unknown way"),
    ):
        compress(image, None, Choice())
    with pytest.raises(ValueError, match="items of 16 bytes"):
        _core.PageMap(PACKED, [], PAGE, False, entries=part(0, 0), blocks=b"short")


# --- Blocks as they are, and checksums ------------------------------------------------

RAW_PART = _core.STORED_RAW_PART


def test_a_block_that_is_stored_as_it_is() -> None:
    data = FULL[: 2 * PAGE - 100]
    entries = part(0, 0, RAW_PART) + part(0, PAGE, RAW_PART)
    sound = block(3, len(data), len(data))
    assert contents((b"..." + data,), entries, sound) == data + bytes(100)
    lies = block(3, len(data) - 1, len(data))
    with pytest.raises(ImageError, match=r"page 0: its block has 8091 bytes, not 8092"):
        contents((b"..." + data,), entries, lies)
    beyond = block(4, len(data), len(data))
    with pytest.raises(ImageError, match="page 0: the image ends before its content"):
        contents((b"..." + data,), entries, beyond)


@pytest.mark.parametrize("kind", [PART, RAW_PART])
def test_checksums_of_blocks(kind: int) -> None:
    stored = PACKED if kind == PART else FULL
    blocks = block(0, len(stored), len(FULL)) * 2
    entries = part(0, 0, kind) + part(1, PAGE, kind)
    good = _core.xxh64(FULL) & 0xFFFFFFFF
    sums = array("I", [good, good])
    assert contents((stored,), entries, blocks, checksums=sums) == FULL[: 2 * PAGE]
    sums[1] ^= 1 << 31
    with pytest.raises(ImageError, match="page 1: the checksum of its block is wrong"):
        contents((stored,), entries, blocks, checksums=sums)


@pytest.mark.parametrize(
    ("data", "crc"),
    [  # RFC 3720, appendix B.4; and the usual check value.
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_crc32c(data: bytes, crc: int) -> None:
    item, sound = part(0, 0, RAW_PART), block(0, len(data), len(data))

    def read(checksum: int) -> bytes:
        sums = array("I", [checksum])
        return contents((data,), item, sound, checksums=sums, crc32c=True)

    assert read(crc) == data.ljust(PAGE, b"\0")
    with pytest.raises(ImageError, match="the checksum of its block is wrong"):
        read(crc ^ 1)


def test_tables_of_checksums_that_cannot_be() -> None:
    sound = block(0, len(PACKED), len(FULL))
    for sums, sentence in (
        (array("I", [1, 2]), "each block has a checksum"),
        (array("I"), "each block has a checksum"),
        (b"short", "items of 4 bytes"),
    ):
        with pytest.raises(ValueError, match=sentence):
            contents((PACKED,), part(0, 0), sound, checksums=sums)
