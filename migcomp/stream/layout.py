# SPDX-License-Identifier: LGPL-2.1-or-later
"""What follows the header of a migcomp stream: docs/stream-format.md in code.

Everything is little-endian.  Functions named ``pack`` and ``unpack`` are each
other's inverses; unpacking raises StreamError and believes nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migcomp._core import xxh64
from migcomp.errors import StreamError
from migcomp.images.image import UNKNOWN_LENGTH, pages_in
from migcomp.results import PageCounts
from migcomp.stream.cursor import Cursor
from migcomp.stream.header import IMAGE_MAX, StreamHeader

if TYPE_CHECKING:
    from typing_extensions import Buffer

END_MAGIC = b"MIGCEND\n"
RECORD_MAGIC = b"MREC"

#: Bounds that a reader knows before it trusts a length.
END_MAX = 1 << 28
INDEX_ENTRIES = 4096

PAGES, ZEROS, INDEX, END = 1, 2, 3, 4
SKIPPABLE = 0x01

#: Classes of pages, in the order of PageCounts' values in the end record.
ZERO, SAME, DEDUPLICATED, NORMAL, COMPRESSED = range(5)

_RECORD = struct.Struct("<4sBBHQIIQ")
_CHECKSUM = struct.Struct("<Q")
_TOTALS = struct.Struct("<QQQQQQQQQ")
_COUNT = struct.Struct("<I")
_ENTRY = struct.Struct("<QQ")
_FOOTER = struct.Struct("<Q8s")

RECORD_HEADER_SIZE = _RECORD.size + _CHECKSUM.size
FOOTER_SIZE = _FOOTER.size


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """``first_page`` and ``pages`` of what the body holds; see the format."""

    kind: int
    flags: int
    channel: int
    first_page: int
    pages: int
    body_size: int
    body_checksum: int

    def pack(self, identity: bytes) -> bytes:
        """``identity``: of the stream that the record belongs to."""
        data = _RECORD.pack(
            RECORD_MAGIC,
            self.kind,
            self.flags,
            self.channel,
            self.first_page,
            self.pages,
            self.body_size,
            self.body_checksum,
        )
        return data + _CHECKSUM.pack(xxh64(data + identity))


def unpack_record_header(data: bytes, identity: bytes) -> RecordHeader:
    """``data``: RECORD_HEADER_SIZE bytes."""
    if data[: len(RECORD_MAGIC)] != RECORD_MAGIC:
        raise StreamError("no record begins where one should")
    head, checksum = data[: _RECORD.size], data[_RECORD.size :]
    if _CHECKSUM.pack(xxh64(head + identity)) != checksum:
        raise StreamError("a record's header is damaged")
    return RecordHeader(*_RECORD.unpack(head)[1:])


def detail_size(page_class: int, grouping: str) -> int:
    """Bytes that a page of that class takes in a record's details."""
    if page_class in (SAME, DEDUPLICATED):
        return 8
    return 2 if page_class == COMPRESSED and grouping == "page" else 0


def compressed_in(
    header: StreamHeader, counts: tuple[int, int, int, int, int], body_size: int
) -> tuple[int, int]:
    """Bytes and number of the compressed blocks in a PAGES record's body."""
    pages, normal, compressed = sum(counts), counts[NORMAL], counts[COMPRESSED]
    if not compressed:
        return 0, 0
    details = sum(
        number * detail_size(kind, header.grouping)
        for kind, number in enumerate(counts)
    )
    size = body_size - pages - details - normal * header.page_size
    return size, compressed if header.grouping == "page" else 1


def image_digest(pages: int, items: int) -> int:
    """``items``: XXH64 over number and XXH64 of each page that is not zero."""
    return xxh64(_ENTRY.pack(items, pages))


IndexEntry = tuple[int, int]  # first page, offset of the record's header


def pack_index(entries: list[IndexEntry]) -> bytes:
    return b"".join(_ENTRY.pack(*entry) for entry in entries)


def unpack_index(body: Buffer) -> list[IndexEntry]:
    if len(memoryview(body)) % _ENTRY.size:
        raise StreamError("an index is cut off")
    return list(_ENTRY.iter_unpack(body))


@dataclass(frozen=True)
class EndRecord:
    """What a stream says of itself at its end."""

    pages: int
    image_digest: int
    counts: PageCounts
    compressed_bytes: int
    compressed_blocks: int
    block_lengths: tuple[int, ...]
    indexes: list[IndexEntry]

    def pack(self) -> bytes:
        c = self.counts
        totals = _TOTALS.pack(
            self.pages,
            self.image_digest,
            c.zero,
            c.same_filled,
            c.deduplicated,
            c.normal,
            c.compressed,
            self.compressed_bytes,
            self.compressed_blocks,
        )
        lengths = b"".join(_CHECKSUM.pack(n) for n in self.block_lengths)
        return (
            totals
            + _COUNT.pack(len(self.block_lengths))
            + lengths
            + _COUNT.pack(len(self.indexes))
            + pack_index(self.indexes)
        )


def end_size(blocks: int, indexes: int) -> int:
    """Of the body of an END record."""
    return (
        _TOTALS.size + 2 * _COUNT.size + blocks * _CHECKSUM.size + indexes * _ENTRY.size
    )


def indexes_max(size: int) -> int:
    """INDEX records that a stream of ``size`` bytes has at most: all but the last
    are full, and each entry is that of a record."""
    return size // (INDEX_ENTRIES * (RECORD_HEADER_SIZE + _ENTRY.size)) + 1


def unpack_end(body: Buffer, header: StreamHeader) -> EndRecord:
    """Takes memory for every entry: the caller knows that there are not too many."""
    cursor = Cursor(body)
    pages, digest, *counts, size, blocks = cursor.unpack(_TOTALS)
    (count,) = cursor.unpack(_COUNT)
    lengths = tuple(n for (n,) in _CHECKSUM.iter_unpack(cursor.take(count * 8)))
    (count,) = cursor.unpack(_COUNT)
    indexes = unpack_index(cursor.take(count * _ENTRY.size))
    cursor.end()
    end = EndRecord(pages, digest, PageCounts(*counts), size, blocks, lengths, indexes)
    if (
        sum(lengths) > IMAGE_MAX
        or end.counts.total != pages
        or len(lengths) != len(header.blocks)
        or pages != sum(pages_in(n, header.page_size) for n in lengths)
        or any(
            block.length not in (length, UNKNOWN_LENGTH)
            for block, length in zip(header.blocks, lengths, strict=True)
        )
    ):
        raise StreamError("its end contradicts itself")
    return end


def pack_footer(end_offset: int) -> bytes:
    return _FOOTER.pack(end_offset, END_MAGIC)


def unpack_footer(data: bytes) -> int:
    """The offset of the end record."""
    offset, magic = _FOOTER.unpack(data)
    if magic != END_MAGIC:
        raise StreamError("it has no end: it is cut off")
    return int(offset)
