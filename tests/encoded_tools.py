# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images whose pages are encoded, and the tables over them."""

from __future__ import annotations

import struct
import zlib
from random import Random

from migcomp import _core
from migcomp.codecs import open_codec
from migcomp.images.file import open_file
from migcomp.images.mapped import MappedImage
from migcomp.results import Block
from tests.conftest import PAGE, make_page
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
