# SPDX-License-Identifier: LGPL-2.1-or-later
"""AVML images, version 2: ranges of memory, each behind a header as LiME's and
compressed by snappy in its framed format, with the compressed length behind it.

Format: AVML's ``src/image.rs``; snappy's ``framing_format.txt``.  AVML leaves out
stretches of 16 MiB that are all zero, so that they are gaps between ranges here.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from migcomp import _core
from migcomp.codecs import decoder
from migcomp.errors import ImageError
from migcomp.images.entries import EntryTable
from migcomp.images.file import ImageFile
from migcomp.images.headers import ANEW, size_of, take, unpack
from migcomp.images.mapped import MappedImage
from migcomp.images.regions import Region, lay_out
from migcomp.images.signatures import AVML
from migcomp.results import Block

FORMAT = "avml"

_HEADER = struct.Struct("<4sIQQ8s")  # magic, version, first, last address, 0
_LENGTH = struct.Struct("<Q")

#: Types of chunks; those from 0x80 on may be skipped.
_COMPRESSED, _RAW, _SKIPPABLE, _START = 0x00, 0x01, 0x80, 0xFF
_IDENTIFIER = b"sNaPpY"
_CHECKSUM_SIZE = 4
_CHECKSUM_MASK = 0xA282EAD8
CHUNK_MAX = 1 << 16
#: Of 16 MiB each.
_RANGES_MAX = 1 << 20
#: Chunks of a range that hold nothing; AVML writes one.
_EMPTY_MAX = 16
#: A copy of 64 bytes takes 3.
_GROWTH_MAX = 22
#: Of _core.PageMap: place, bytes stored, bytes of content.
_BLOCK = struct.Struct("=QII")


@dataclass(frozen=True, slots=True)
class _Range:
    """Guest memory from ``address`` on, in a framed stream at ``offset``."""

    address: int
    length: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Chunk:
    """``length`` bytes of guest memory from ``address`` on, ``size`` in the file."""

    address: int
    length: int
    offset: int
    size: int
    compressed: bool
    checksum: int  # CRC-32C


def open_file(file: ImageFile, page_size: int) -> MappedImage:
    ranges = _read_ranges(file)
    blocks = lay_out([file], _regions(ranges), page_size).blocks
    table = _Table(file, blocks, page_size)
    for memory in ranges:
        if memory.address % page_size:
            raise ImageError(
                f"{file.path}: its range at {memory.address:#x} begins no page of "
                f"{page_size} bytes"
            )
        for chunk in _chunks(file, memory):
            table.add(chunk)
        file.watch(memory.offset + memory.size)
    facts = {"ranges": len(ranges)}
    page_map = table.page_map()
    return MappedImage(file, FORMAT, blocks, page_map, page_size, facts)


def _regions(ranges: list[_Range]) -> list[Region]:
    """For the RAM blocks only: the content is none that could be mapped."""
    regions: list[Region] = []
    for memory in ranges:
        start = memory.address
        if regions and regions[-1].end == start:
            start = regions.pop().address
        regions.append(Region(start, memory.address + memory.length - start, 0, 0))
    return regions


class _Table:
    """Where the pages are, in chunks that hold several."""

    def __init__(
        self, file: ImageFile, blocks: Sequence[Block], page_size: int
    ) -> None:
        self._file = file
        self._size = page_size
        self._starts = [block.guest_address for block in blocks]
        pages = [block.length // page_size for block in blocks]
        self._bases = list(accumulate(pages, initial=0))
        self._entries = EntryTable(file.path, self._bases[-1])
        self._blocks = bytearray()
        self._checksums = array("I")  # of each block

    def add(self, chunk: _Chunk) -> None:
        if chunk.address % self._size:
            raise ImageError(
                f"{self._file.path}: its chunks hold no whole pages of {self._size} "
                "bytes; convert it with avml-convert first"
            )
        run = bisect_right(self._starts, chunk.address) - 1
        offset = chunk.address - self._starts[run]
        page = self._bases[run] + offset // self._size
        number = len(self._checksums) << 32
        places = [number | start for start in range(0, chunk.length, self._size)]
        kind = _core.STORED_PART if chunk.compressed else _core.STORED_RAW_PART
        self._entries.put(page, places, [kind] * len(places))
        self._blocks += _BLOCK.pack(chunk.offset, chunk.size, chunk.length)
        self._checksums.append(chunk.checksum)

    def page_map(self) -> _core.PageMap:
        return _core.PageMap(
            self._file.map(),
            [],
            self._size,
            True,
            entries=self._entries.memory,
            blocks=bytes(self._blocks),
            codecs=(decoder("snappy"),),
            checksums=self._checksums,
            crc32c=True,
        )


def _read_ranges(file: ImageFile) -> list[_Range]:
    """By address.  They are found from the end of the file on, where each one's
    length is, so that no chunk need be read.  Raises ImageError."""
    ranges: list[_Range] = []
    end = size_of(file)
    while end:
        offset = end - _LENGTH.size
        damaged = ImageError(
            f"{file.path} is damaged or cut off: no range of memory ends at byte "
            f"{end}; {ANEW}"
        )
        if offset < _HEADER.size:
            raise damaged
        (size,) = unpack(file, _LENGTH, offset, "a range's length")
        offset -= size
        if offset < _HEADER.size:
            raise damaged
        head = take(file, offset - _HEADER.size, _HEADER.size, "a range's header")
        magic, version, first, last, _ = _HEADER.unpack(head)
        if magic != AVML or version != 2 or last < first:
            raise damaged
        if len(ranges) == _RANGES_MAX:
            raise ImageError(f"{file.path} has too many ranges for any machine")
        ranges.append(_Range(first, last - first + 1, offset, size))
        end = offset - _HEADER.size
    return sorted(ranges, key=lambda r: r.address)


def _chunks(file: ImageFile, memory: _Range) -> Iterator[_Chunk]:
    """The chunks of a range, in order.  Raises ImageError."""
    at, end = memory.offset, memory.offset + memory.size
    address, left, empty = memory.address, memory.length, 0
    while at < end:
        # The header, a checksum, and the length that compressed data begin with.
        data = take(file, at, min(12, end - at), "a chunk")
        if len(data) < 4:
            raise ImageError(f"{file.path} is damaged: a chunk is cut off")
        kind, size = data[0], int.from_bytes(data[1:4], "little")
        at += 4
        if at + size > end:
            raise ImageError(f"{file.path} is damaged: a chunk exceeds its range")
        if kind in (_COMPRESSED, _RAW):
            stored = size - _CHECKSUM_SIZE
            length = stored if kind == _RAW else _snappy_length(data[8:])
            if not 0 < length <= min(CHUNK_MAX, stored * _GROWTH_MAX, left):
                raise ImageError(
                    f"{file.path} is damaged: a chunk of {stored} bytes holds {length}"
                )
            yield _Chunk(
                address,
                length,
                at + _CHECKSUM_SIZE,
                stored,
                kind == _COMPRESSED,
                _unmasked(int.from_bytes(data[4:8], "little")),
            )
            address += length
            left -= length
        elif kind < _SKIPPABLE or (
            kind == _START and data[4 : 4 + size] != _IDENTIFIER[: len(data) - 4]
        ):
            raise ImageError(f"{file.path} is damaged: it has a chunk of type {kind}")
        else:
            empty += 1
            if empty > _EMPTY_MAX:
                raise ImageError(f"{file.path} is damaged: its chunks are empty")
        at += size
    if left:
        raise ImageError(
            f"{file.path} is damaged: the range at {memory.address:#x} lacks {left} "
            "bytes"
        )


def _unmasked(checksum: int) -> int:
    """The CRC-32C that snappy's format rotates, and adds to."""
    rotated = (checksum - _CHECKSUM_MASK) % (1 << 32)
    return (rotated << 15 | rotated >> 17) % (1 << 32)


def _snappy_length(data: bytes) -> int:
    """The varint that a snappy block begins with; -1 if it has none."""
    value = 0
    for place, byte in enumerate(data[:5]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value
    return -1
