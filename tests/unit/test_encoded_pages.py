# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images whose pages are encoded: decoded on the queue's threads, and checked."""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp import _core
from migcomp.choice import Choice
from migcomp.codecs import GROUPINGS, open_codec
from migcomp.errors import ImageError, PageError
from migcomp.images.decode import read_page, readable_again
from migcomp.images.file import open_file
from migcomp.images.mapped import MappedImage
from migcomp.pipeline import compress
from migcomp.restore import verify
from migcomp.results import Block
from migcomp.stream.reader import open_stream
from tests.conftest import PAGE, make_page, memory_file, restored
from tests.qemu_tools import xbzrle

FILL, RAW, BLOCK = _core.STORED_FILL, _core.STORED_RAW, _core.STORED_BLOCK
TEXT, NOISE, ROWS = (make_page(kind, 3) for kind in ("text", "noise", "rows"))


def entry(place: int, size: int, kind: int, last_delta: int = 0) -> bytes:
    return struct.pack("=QII", place, size << 8 | kind, last_delta)


def delta(place: int, size: int, following: int) -> bytes:
    return struct.pack("=QII", place, size, following)


class Store:
    """A buffer, and the tables over it."""

    def __init__(self) -> None:
        self.buffer = bytearray(b"not aligned")
        self.entries: list[bytes] = []
        self.deltas: list[bytes] = []
        self.pages: list[bytes] = []

    def _put(self, data: bytes) -> int:
        place = len(self.buffer)
        self.buffer += data
        return place

    def add(self, page: bytes, kind: int, *versions: bytes) -> None:
        """``versions`` are what the page becomes afterwards, by deltas."""
        if kind == FILL:
            head = (int.from_bytes(page[:8], "little"), 0)
        elif kind == RAW:
            head = (self._put(page), 0)
        else:
            packed = zlib.compress(page, 1)
            head = (self._put(packed), len(packed))
        first, last = len(self.deltas), len(self.deltas) + len(versions) - 1
        for number, version in enumerate(versions):
            packed = xbzrle(page, version)
            following = first if number == len(versions) - 1 else first + number + 1
            self.deltas.append(delta(self._put(packed), len(packed), following))
            page = version
        self.entries.append(entry(*head, kind, last + 1 if versions else 0))
        self.pages.append(page)

    def map(self, mapped: bool = False) -> _core.PageMap:
        return _core.PageMap(
            self.buffer,
            [],
            PAGE,
            mapped,
            entries=b"".join(self.entries),
            deltas=b"".join(self.deltas),
            codecs=(open_codec("zlib").library,),
        )


def open_store(path: str, store: Store, page_map: _core.PageMap) -> MappedImage:
    length = len(store.pages) * PAGE
    return MappedImage(
        open_file(path), "store", [Block("ram", length, 0)], page_map, PAGE, {}
    )


def changed(page: bytes, rng: Random) -> bytes:
    result = bytearray(page)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(PAGE)
        result[at : at + rng.randrange(1, 300)] = rng.randbytes(100)
        del result[PAGE:]
        result += bytes(PAGE - len(result))
    return bytes(result)


def a_store(seed: int, pages: int = 40) -> Store:
    rng, store = Random(seed), Store()
    for _ in range(pages):
        kind = rng.choice([FILL, RAW, BLOCK])
        page = (
            rng.choice([bytes(8), b"\xcc" * 8, rng.randbytes(8)]) * (PAGE // 8)
            if kind == FILL
            else rng.choice([TEXT, NOISE, ROWS, bytes(PAGE)])
        )
        versions, last = [], page
        for _ in range(rng.choice([0, 0, 0, 1, 2, 5])):
            following = changed(last, rng)
            if len(xbzrle(last, following)) <= PAGE:
                versions.append(following)
                last = following
        store.add(page, kind, *versions)
    return store


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


# --- What lies ------------------------------------------------------------------------

PACKED = zlib.compress(TEXT)
BOMB = zlib.compress(bytes(1 << 24))
SHORT = zlib.compress(TEXT[:-1])
LONG = zlib.compress(TEXT + b"!")


@pytest.mark.parametrize(
    ("content", "item", "deltas", "sentence"),
    [
        (PACKED[:-1], (0, len(PACKED), BLOCK), b"", "ends before its content"),
        (PACKED, (2**64 - 5, len(PACKED), BLOCK), b"", "ends before its content"),
        (PACKED, (0, len(PACKED) - 1, BLOCK), b"", "block|incorrect|insufficient"),
        (PACKED + b"!", (0, len(PACKED) + 1, BLOCK), b"", "malformed|block"),
        (PACKED[:-1] + b"!", (0, len(PACKED), BLOCK), b"", "block|incorrect"),
        (SHORT, (0, len(SHORT), BLOCK), b"", "block|malformed"),
        (LONG, (0, len(LONG), BLOCK), b"", "block|malformed"),
        (BOMB[:4000], (0, 4000, BLOCK), b"", "block|malformed"),
        (PACKED, (0, 0, BLOCK), b"", "block has 0 bytes"),
        (bytes(9000), (0, 9000, BLOCK), b"", "block has 9000 bytes"),
        (PACKED, (0, 0xFFFFFF, BLOCK), b"", "block has 16777215 bytes"),
        (PACKED, (0, len(PACKED), BLOCK + 1), b"", "stored in an unknown way"),
        (PACKED, (0, len(PACKED), 254), b"", "stored in an unknown way"),
        (NOISE[:-1], (0, 0, RAW), b"", "ends before its content"),
        (NOISE, (1, 0, RAW), b"", "ends before its content"),
        (NOISE, (0, 0, RAW, 1), b"", "a delta that is not there"),
        (NOISE, (0, 0, RAW, 2), delta(0, 0, 0), "a delta that is not there"),
        (NOISE, (0, 0, RAW, 2**32 - 1), delta(0, 0, 0), "that is not there"),
        (NOISE, (0, 0, RAW, 1), delta(0, 0, 1), "a delta that is not there"),
        (NOISE, (0, 0, RAW, 1), delta(0, PAGE + 1, 0), "its delta has 4097 bytes"),
        (NOISE, (0, 0, RAW, 1), delta(PAGE, 1, 0), "ends before its content"),
        (
            NOISE,
            (0, 0, RAW, 3),
            delta(0, 0, 0) + delta(0, 0, 1) + delta(0, 0, 0),
            "out of order",
        ),
        (
            NOISE,
            (0, 0, RAW, 3),
            delta(0, 0, 1) + delta(0, 0, 0) + delta(0, 0, 0),
            "out of order",
        ),
    ],
)
def test_tables_that_lie(
    content: bytes, item: tuple[int, ...], deltas: bytes, sentence: str
) -> None:
    page_map = _core.PageMap(
        content,
        [],
        PAGE,
        False,
        entries=entry(*item),
        deltas=deltas,
        codecs=(open_codec("zlib").library,),
    )
    with (
        memory_file(content) as path,
        MappedImage(
            open_file(path), "liar", [Block("ram", PAGE, 0)], page_map, PAGE, {}
        ) as image,
    ):
        for dedup in (False, True):
            with pytest.raises(ImageError, match=f"page 0: .*({sentence})"):
                compress(image, None, Choice(dedup=dedup))


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    store = Store()
    for _ in range(4):
        store.add(NOISE, BLOCK)
    path = tmp_path / "image"
    path.write_bytes(store.buffer)
    file = open_file(str(path))
    page_map = _core.PageMap(
        file.map(),
        [],
        PAGE,
        True,
        entries=b"".join(store.entries),
        codecs=(open_codec("zlib").library,),
    )
    with MappedImage(file, "x", [Block("ram", 4 * PAGE, 0)], page_map, PAGE, {}) as x:
        os.truncate(path, 100)
        with pytest.raises(ImageError, match="became shorter"):
            compress(x, None, Choice())


class Reversed:
    """A decoder in Python."""

    def __init__(self, level: int) -> None: ...

    def compress(self, pages: memoryview) -> bytes:
        return bytes(pages[::-1])

    def decompress(self, data: memoryview, size: int) -> bytes:
        if data[0] == ord("!"):
            raise ValueError("a page of lies")
        return bytes(data[::-1])


def test_decoders_in_python() -> None:
    content = TEXT[::-1] + b"!" * PAGE
    page_map = _core.PageMap(
        content,
        [],
        PAGE,
        False,
        entries=entry(0, PAGE, BLOCK) + entry(PAGE, PAGE, BLOCK),
        codecs=(_core.python_library("reversed", "python", "", "here", Reversed),),
    )
    with (
        memory_file(content) as path,
        MappedImage(
            open_file(path), "x", [Block("ram", 2 * PAGE, 0)], page_map, PAGE, {}
        ) as image,
    ):
        assert read_page(image, 0) == TEXT
        with pytest.raises(ImageError, match="page 1: ValueError: a page of lies") as e:
            compress(image, None, Choice())
    assert isinstance(e.value.__cause__, ValueError)


def test_maps_that_cannot_be() -> None:
    zlib_library = open_codec("zlib").library

    def fails(match: str, **tables: object) -> None:
        with pytest.raises((ValueError, TypeError), match=match):
            _core.PageMap(b"", [], PAGE, False, **tables)  # type: ignore[arg-type]

    fails("items of 16 bytes", entries=bytes(15))
    fails("items of 16 bytes", entries=bytes(16), deltas=bytes(17))
    fails("stand for extents", entries=bytes(16), pages=1)
    fails("must be a Library", codecs=(1,))
    fails("at most 8", codecs=(zlib_library,) * 9)
    fails("cannot decompress", codecs=(open_codec("none").library,))
    with pytest.raises(ValueError, match="stand for extents"):
        _core.PageMap(NOISE, [(0, 1, 0)], PAGE, False, entries=bytes(16))


def test_encoded_pages_need_a_handler_that_knows_them() -> None:
    store = a_store(1)
    page_map = store.map()
    with pytest.raises(ValueError, match="without a queue"):
        page_map.read(0, 1)
    with pytest.raises(TypeError, match="must be a PageMap"):
        _core.compressor(
            open_codec("none").library,
            page_size=PAGE,
            pages_max=1,
            source=1,  # type: ignore[arg-type]
        )
    from migcomp import ThreadedWorkqueue

    handler = _core.compressor(
        open_codec("none").library, page_size=PAGE, pages_max=8, source=store.map()
    )
    with ThreadedWorkqueue("x", 1, 1, handler=handler) as queue:
        request = queue.get_request()
        with pytest.raises(ValueError, match="the handler's source"):
            request.load(page_map, 0, 1, 0, 0)
        queue.release_request(request)


def test_a_map_is_read_within_its_bounds() -> None:
    plain = _core.PageMap(NOISE, [(0, 1, 0)], PAGE, False, pages=3)
    assert (plain.pages, plain.encoded) == (3, False)
    assert plain.read(0, 3) == NOISE + bytes(2 * PAGE)
    for first, pages in ((3, 1), (0, 4), (2**64 - 1, 2), (0, 1 << 20)):
        with pytest.raises(ValueError, match="cannot be read"):
            plain.read(first, pages)
    with pytest.raises(ValueError, match="at least one page"):
        plain.run(1, 1)
    table = _core.PageMap(
        NOISE, [], PAGE, False, entries=entry(0, 0, RAW) + entry(0xCC, 0, FILL)
    )
    assert table.read(0, 2) == NOISE + (b"\xcc" + bytes(7)) * (PAGE // 8)
    lying = _core.PageMap(
        NOISE, [], PAGE, False, entries=entry(0, 0, RAW) * 2 + entry(1, 0, RAW)
    )
    assert lying.read(0, 2) == NOISE * 2
    with pytest.raises(PageError, match=r"page 2: .*ends before its content"):
        lying.read(1, 2)
