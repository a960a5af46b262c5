# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bytes of a migcomp stream: docs/stream-format.md in code.

Everything is little-endian.  Functions named ``pack`` and ``unpack`` are each
other's inverses; unpacking raises StreamError and believes nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migcomp._core import CHANNELS_MAX, REQUEST_BYTES_MAX, xxh64
from migcomp.codecs import GROUPINGS
from migcomp.errors import StreamError
from migcomp.images.image import PAGE_SIZES, UNKNOWN_LENGTH, pages_in
from migcomp.images.signatures import MIGCOMP
from migcomp.results import Block, PageCounts

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAJOR_VERSION = 1
MINOR_VERSION = 0
END_MAGIC = b"MIGCEND\n"
RECORD_MAGIC = b"MREC"

#: Bounds that a reader knows before it trusts a length.
HEADER_MAX = 1 << 22
END_MAX = 1 << 28
INDEX_ENTRIES = 4096
IMAGE_MAX = 1 << 62

PAGES, ZEROS, INDEX, END = 1, 2, 3, 4
SKIPPABLE = 0x01

#: Classes of pages, in the order of PageCounts' values in the end record.
ZERO, SAME, DEDUPLICATED, NORMAL, COMPRESSED = range(5)

_UNKNOWN = (1 << 64) - 1
_DEDUP = 0x01

_FIXED = struct.Struct("<8sHHIIBBHIi")
_RECORD = struct.Struct("<4sBBHQIIQ")
_CHECKSUM = struct.Struct("<Q")
_BLOCK = struct.Struct("<QQH")
_TOTALS = struct.Struct("<QQQQQQQQQ")
_COUNT = struct.Struct("<I")
_ENTRY = struct.Struct("<QQ")
_FOOTER = struct.Struct("<Q8s")

FIXED_SIZE = _FIXED.size
RECORD_HEADER_SIZE = _RECORD.size + _CHECKSUM.size
FOOTER_SIZE = _FOOTER.size


@dataclass(frozen=True)
class StreamHeader:
    """What a stream says of itself at its start.

    The last block's length is UNKNOWN_LENGTH when the image came from a pipe.
    """

    page_size: int
    grouping: str
    packet_pages: int
    channels: int
    dedup: bool
    codec: str
    level: int
    provider: str
    version: str
    blocks: tuple[Block, ...]

    @property
    def pages(self) -> int | None:
        if any(block.length == UNKNOWN_LENGTH for block in self.blocks):
            return None
        return sum(pages_in(block.length, self.page_size) for block in self.blocks)

    @property
    def body_max(self) -> int:
        """Bytes that the body of a PAGES record has at most."""
        data = self.packet_pages * self.page_size
        return data + self.packet_pages * 9 + data // 64 + 4096

    def pack(self) -> bytes:
        if len(self.codec.encode(errors="replace")) > 255:
            raise StreamError(f"the codec's name {self.codec} is too long for a stream")
        texts = b"".join(map(_pack_text, (self.codec, self.provider, self.version)))
        blocks = b"".join(map(_pack_block, self.blocks))
        size = _FIXED.size + len(texts) + _COUNT.size + len(blocks) + _CHECKSUM.size
        if size > HEADER_MAX:
            raise StreamError(
                f"the image has {len(self.blocks)} RAM blocks, which take {size} bytes "
                f"in a stream's header, and it has room for {HEADER_MAX}; migcomp "
                "convert --to raw makes one block of them"
            )
        head = _FIXED.pack(
            MIGCOMP,
            MAJOR_VERSION,
            MINOR_VERSION,
            size,
            self.page_size,
            GROUPINGS.index(self.grouping),
            _DEDUP if self.dedup else 0,
            self.channels,
            self.packet_pages,
            self.level,
        )
        whole = head + texts + _COUNT.pack(len(self.blocks)) + blocks
        return whole + _CHECKSUM.pack(xxh64(whole))


def _pack_text(text: str) -> bytes:
    # Only for people to read: better cut than refused.
    data = text.encode(errors="replace")[:255].decode(errors="ignore").encode()
    return bytes([len(data)]) + data


def _pack_block(block: Block) -> bytes:
    name = block.name.encode(errors="replace")
    if len(name) > 0xFFFF:
        raise StreamError("a RAM block's name is too long for a stream")
    length = _UNKNOWN if block.length == UNKNOWN_LENGTH else block.length
    return _BLOCK.pack(block.guest_address, length, len(name)) + name


class _Cursor:
    """Takes bytes from the front of ``data``."""

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data)

    def take(self, size: int) -> memoryview:
        if size > len(self._data):
            raise StreamError("a length in it points beyond its end")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size))

    def text(self, size: int) -> str:
        try:
            return str(self.take(size), "utf-8")
        except UnicodeDecodeError:
            raise StreamError("a name in it is not UTF-8") from None

    def end(self) -> None:
        if len(self._data):
            raise StreamError("there is data behind its last field")


def identity_of(header: bytes) -> bytes:
    """What the records of the stream with that header are checked with.

    A guest may hold other streams in its memory, stored as they are: their
    records must not be taken for the stream's own.
    """
    return header[-_CHECKSUM.size :]


def header_size(fixed: bytes) -> int:
    """The size of the whole header whose first FIXED_SIZE bytes are given."""
    if fixed[: len(MIGCOMP)] != MIGCOMP:
        raise StreamError(
            "it is not a migcomp stream; migcomp convert takes it if it is an image"
        )
    if len(fixed) < FIXED_SIZE:
        raise StreamError("it is cut off within its header")
    _, major, minor, size, *_ = _FIXED.unpack(fixed)
    if major != MAJOR_VERSION:
        raise StreamError(
            f"it has format version {major}.{minor}, and this migcomp reads "
            f"version {MAJOR_VERSION}; use the migcomp that wrote it"
        )
    if not FIXED_SIZE <= size <= HEADER_MAX:
        raise StreamError("its header has an impossible size")
    return int(size)


def unpack_header(data: bytes) -> StreamHeader:
    """``data``: header_size() bytes."""
    _check_sum(data, "its header is damaged")
    cursor = _Cursor(data[: -_CHECKSUM.size])
    fixed = _FIXED.unpack(cursor.take(_FIXED.size))
    page_size, grouping, flags, channels, packet_pages, level = fixed[4:]
    codec, provider, version = (cursor.text(cursor.take(1)[0]) for _ in range(3))
    (count,) = cursor.unpack(_COUNT)
    blocks = []
    for _ in range(count):
        address, length, name_size = cursor.unpack(_BLOCK)
        length = UNKNOWN_LENGTH if length == _UNKNOWN else length
        blocks.append(Block(cursor.text(name_size), length, address))
    cursor.end()
    _check_header(page_size, grouping, channels, packet_pages, flags, blocks)
    return StreamHeader(
        page_size,
        GROUPINGS[grouping],
        packet_pages,
        channels,
        bool(flags & _DEDUP),
        codec,
        level,
        provider,
        version,
        tuple(blocks),
    )


def _check_header(
    page_size: int,
    grouping: int,
    channels: int,
    packet_pages: int,
    flags: int,
    blocks: list[Block],
) -> None:
    if page_size not in PAGE_SIZES:
        raise StreamError(f"it has pages of {page_size} bytes")
    if grouping >= len(GROUPINGS) or flags & ~_DEDUP:
        raise StreamError("it uses features that this migcomp does not know")
    if not 0 < packet_pages * page_size <= REQUEST_BYTES_MAX:
        raise StreamError(f"it has packets of {packet_pages} pages")
    if (channels > 0) != (GROUPINGS[grouping] == "stream") or channels > CHANNELS_MAX:
        raise StreamError(f"it has {channels} channels")
    if not blocks or any(b.length == UNKNOWN_LENGTH for b in blocks[:-1]):
        raise StreamError("its RAM blocks are incomplete")
    if sum(max(b.length, 0) for b in blocks) > IMAGE_MAX:
        raise StreamError("its RAM blocks are impossibly large")
    if any(b.length % page_size for b in blocks[:-1]):
        raise StreamError("a RAM block other than the last ends within a page")


def _check_sum(data: bytes, complaint: str) -> None:
    (checksum,) = _CHECKSUM.unpack(data[-_CHECKSUM.size :])
    if xxh64(memoryview(data)[: -_CHECKSUM.size]) != checksum:
        raise StreamError(complaint)


# --- Records -------------------------------------------------------------------


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
    cursor = _Cursor(body)
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
