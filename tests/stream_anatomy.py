# SPDX-License-Identifier: LGPL-2.1-or-later
"""migcomp's streams taken apart and put together, by a second reader.

It was written from docs/stream-format.md, apart from migcomp's: the two can only
agree by both being right, or by the document being wrong.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, cast

import lz4.block  # type: ignore[import-untyped]
import zstandard

from migcomp._core import xxh64
from migcomp.results import PageCounts

PAGES, ZEROS, INDEX, END = 1, 2, 3, 4
RECORD = struct.Struct("<4sBBHQIIQ")
HEADER = struct.Struct("<8sHHIIBBHIi")
FOOTER_MAGIC = b"MIGCEND\n"


def sealed(data: bytes, identity: bytes = b"") -> bytes:
    """With the checksum behind it; a record's covers the header's as well."""
    return data + struct.pack("<Q", xxh64(data + identity))


@dataclass
class Rec:
    """A record; sizes and checksums are right unless given."""

    kind: int
    first_page: int
    pages: int
    body: bytes = b""
    channel: int = 0
    flags: int = 0
    body_size: int | None = None
    body_sum: int | None = None
    offset: int = 0

    def pack(self, header: bytes) -> bytes:
        """In the stream with that header."""
        size = len(self.body) if self.body_size is None else self.body_size
        digest = xxh64(self.body) if self.body_sum is None else self.body_sum
        head = (self.kind, self.flags, self.channel, self.first_page, self.pages)
        fixed = RECORD.pack(b"MREC", *head, size, digest)
        return sealed(fixed, header[-8:]) + self.body


@dataclass
class Anatomy:
    """A stream in parts."""

    header: bytes
    records: list[Rec] = field(default_factory=list)

    @property
    def data(self) -> list[Rec]:
        return [rec for rec in self.records if rec.kind in (PAGES, ZEROS)]

    def pack(self, *, footer: bytes | None = None) -> bytes:
        """The stream as it stands, with INDEX offsets as they were."""
        parts, at = [self.header], len(self.header)
        for rec in self.records:
            rec.offset = at
            parts.append(rec.pack(self.header))
            at += len(parts[-1])
        if footer is None:
            end = self.records[-1].offset if self.records else 0
            footer = struct.pack("<Q", end) + FOOTER_MAGIC
        return b"".join((*parts, footer))

    def pack_indexed(self) -> bytes:
        """With INDEX and END made to fit the other records."""
        seen: list[tuple[int, int]] = []
        indexes: list[tuple[int, int]] = []
        at = len(self.header)
        for rec in self.records:
            rec.offset = at
            if rec.kind in (PAGES, ZEROS):
                seen.append((rec.first_page, at))
            elif rec.kind == INDEX and seen:
                rec.body = b"".join(struct.pack("<QQ", *entry) for entry in seen)
                rec.first_page, rec.pages = seen[0][0], len(seen)
                indexes.append((seen[0][0], at))
                seen = []
            elif rec.kind == END:
                (blocks,) = struct.unpack_from("<I", rec.body, 72)
                table = b"".join(struct.pack("<QQ", *entry) for entry in indexes)
                rec.body = rec.body[: 76 + blocks * 8] + (
                    struct.pack("<I", len(indexes)) + table
                )
            at += len(rec.pack(self.header))
        return self.pack()


def dissect(stream: bytes) -> Anatomy:
    """The parts of a sound stream."""
    (size,) = struct.unpack_from("<I", stream, 12)
    parts = Anatomy(stream[:size])
    at = size
    while len(stream) - at > 16:
        _, kind, flags, channel, first, pages, length, _ = RECORD.unpack_from(
            stream, at
        )
        body = stream[at + 40 : at + 40 + length]
        parts.records.append(Rec(kind, first, pages, body, channel, flags, offset=at))
        at += 40 + length
    assert parts.pack() == stream
    return parts


# --- The second reader --------------------------------------------------------------


@dataclass
class Decoded:
    image: bytes
    counts: PageCounts
    lengths: list[int]


class _Inflaters:
    """One block after the other, of a channel or independent."""

    def __init__(self, codec: str, grouping: int) -> None:
        self._codec = codec
        self._streaming = grouping == 2
        self._channels: dict[int, Any] = {}

    def block(self, data: bytes, size: int, channel: int) -> bytes:
        if not self._streaming:
            if self._codec == "zstd":
                return zstandard.ZstdDecompressor().decompress(data)
            if self._codec == "zlib":
                return zlib.decompress(data)
            return cast(bytes, lz4.block.decompress(data, uncompressed_size=size))
        if self._codec == "lz4":
            before = self._channels.get(channel, b"")[-65536:]
            pages = lz4.block.decompress(data, uncompressed_size=size, dict=before)
            self._channels[channel] = before + pages
            return cast(bytes, pages)
        if channel not in self._channels:
            zstd = zstandard.ZstdDecompressor(max_window_size=1 << 23)
            self._channels[channel] = (
                zstd.decompressobj() if self._codec == "zstd" else zlib.decompressobj()
            )
        return cast(bytes, self._channels[channel].decompress(data))


def decode(stream: bytes) -> Decoded:
    """Reads a stream by the letter of the document; AssertionError if it errs."""
    parts = dissect(stream)
    head = parts.header
    assert sealed(head[:-8]) == head
    magic, major, _, size, page_size, grouping, flags, channels, packet, _ = (
        HEADER.unpack_from(head)
    )
    assert (magic, major, size) == (b"\x89MIGC\r\n\x1a", 1, len(head))
    assert (channels > 0) == (grouping == 2)
    at, texts = HEADER.size, []
    for _ in range(3):
        texts.append(head[at + 1 : at + 1 + head[at]].decode())
        at += 1 + head[at]
    (blocks,) = struct.unpack_from("<I", head, at)
    at, announced = at + 4, []
    for _ in range(blocks):
        _, length, name = struct.unpack_from("<QQH", head, at)
        announced.append(length)
        at += 18 + name
    inflaters = _Inflaters(texts[0], grouping)
    image = bytearray()
    starts = [0]
    for length in announced:
        starts.append(starts[-1] + -(-length // page_size))
    classes = [0] * 5
    seen, indexes = [], []
    for rec in parts.records:
        if rec.kind in (PAGES, ZEROS):
            assert rec.first_page * page_size == len(image)
            seen.append((rec.first_page, rec.offset))
            start = max(page for page in starts[:-1] if page <= rec.first_page)
            stop = min(page for page in starts if page > start)
            after = rec.first_page + rec.pages - start
            assert (rec.first_page - start) % packet == 0
            assert after % packet == 0 or after == stop - start or stop > 1 << 40
        if rec.kind == ZEROS:
            assert rec.channel == 0
            image += bytes(rec.pages * page_size)
            classes[0] += rec.pages
        elif rec.kind == PAGES:
            assert rec.pages <= packet
            assert rec.channel == (
                rec.first_page // packet % channels if channels else 0
            )
            for kind in rec.body[: rec.pages]:
                classes[kind] += 1
                assert kind != 2 or flags & 1
            _decode_pages(rec, grouping, page_size, inflaters, image)
        elif rec.kind == INDEX:
            assert list(struct.iter_unpack("<QQ", rec.body)) == seen
            assert (rec.first_page, rec.pages) == (seen[0][0], len(seen))
            indexes.append((seen[0][0], rec.offset))
            seen = []
    end = parts.records[-1]
    pages = len(image) // page_size
    digests = b"".join(
        struct.pack("<QQ", i, xxh64(page))
        for i in range(pages)
        if any(page := image[i * page_size : (i + 1) * page_size])
    )
    digest = xxh64(struct.pack("<QQ", xxh64(digests), pages))
    fields = struct.unpack_from("<QQ5QQQI", end.body)
    lengths = list(struct.unpack_from(f"<{blocks}Q", end.body, 76))
    assert (end.kind, end.first_page, end.pages, seen) == (END, pages, 0, [])
    assert fields[:2] == (pages, digest)
    assert list(fields[2:7]) == classes
    assert all(a in (b, (1 << 64) - 1) for a, b in zip(announced, lengths, strict=True))
    rest = end.body[76 + blocks * 8 :]
    assert rest[4:] == b"".join(struct.pack("<QQ", *entry) for entry in indexes)
    assert sum(-(-n // page_size) for n in lengths) == pages
    return Decoded(bytes(image[: sum(lengths)]), PageCounts(*classes), lengths)


def _decode_pages(
    rec: Rec, grouping: int, size: int, inflaters: _Inflaters, image: bytearray
) -> None:
    classes, at = rec.body[: rec.pages], rec.pages
    details: list[int] = []
    for kind in classes:
        width = 8 if kind in (1, 2) else 2 if kind == 4 and grouping == 0 else 0
        details.append(int.from_bytes(rec.body[at : at + width], "little"))
        at += width
    payload = rec.body[at:]
    if grouping and any(kind == 4 for kind in classes):
        assert 3 not in classes
        payload = inflaters.block(payload, classes.count(4) * size, rec.channel)
    for kind, detail in zip(classes, details, strict=True):
        if kind == 0:
            image += bytes(size)
        elif kind == 1:
            image += struct.pack("<Q", detail) * (size // 8)
        elif kind == 2:
            assert detail * size < len(image)
            image += image[detail * size : (detail + 1) * size]
        elif kind == 4 and grouping == 0:
            image += inflaters.block(payload[:detail], size, 0)
            payload = payload[detail:]
        else:
            image += payload[:size]
            payload = payload[size:]
    assert not payload
