# SPDX-License-Identifier: LGPL-2.1-or-later
"""The header of a migcomp stream: docs/stream-format.md in code.

``layout`` has all that follows.  Everything is little-endian.  Functions named ``pack``
and ``unpack`` are each other's inverses; unpacking raises StreamError and believes
nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from migcomp._core import CHANNELS_MAX, REQUEST_BYTES_MAX, xxh64
from migcomp.codecs import GROUPINGS
from migcomp.errors import StreamError
from migcomp.images.image import PAGE_SIZES, UNKNOWN_LENGTH, pages_in
from migcomp.images.signatures import MIGCOMP
from migcomp.results import Block
from migcomp.stream.cursor import Cursor

MAJOR_VERSION = 1
MINOR_VERSION = 0

#: Bounds that a reader knows before it trusts a length.
HEADER_MAX = 1 << 22
IMAGE_MAX = 1 << 62

_UNKNOWN = (1 << 64) - 1
_DEDUP = 0x01

_FIXED = struct.Struct("<8sHHIIBBHIi")
_CHECKSUM = struct.Struct("<Q")
_BLOCK = struct.Struct("<QQH")
_COUNT = struct.Struct("<I")

FIXED_SIZE = _FIXED.size


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
    cursor = Cursor(data[: -_CHECKSUM.size])
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
