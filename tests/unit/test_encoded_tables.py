# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tables of encoded pages that lie, cannot be, or lose their file."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from migcomp import _core
from migcomp.choice import Choice
from migcomp.codecs import open_codec
from migcomp.errors import ImageError, PageError
from migcomp.images.decode import read_page
from migcomp.images.file import open_file
from migcomp.images.mapped import MappedImage
from migcomp.pipeline import compress
from migcomp.results import Block
from tests.conftest import PAGE, memory_file
from tests.encoded_tools import (
    BLOCK,
    FILL,
    NOISE,
    RAW,
    TEXT,
    Store,
    a_store,
    delta,
    entry,
)

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
