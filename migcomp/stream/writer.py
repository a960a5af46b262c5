# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing a migcomp stream, front to back, to anything that takes bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from migcomp._core import Xxh64
from migcomp.images.image import pages_in
from migcomp.results import Block, PageCounts
from migcomp.stream.header import StreamHeader, identity_of
from migcomp.stream.layout import (
    END,
    INDEX,
    INDEX_ENTRIES,
    PAGES,
    RECORD_HEADER_SIZE,
    ZEROS,
    EndRecord,
    IndexEntry,
    RecordHeader,
    image_digest,
    pack_footer,
    pack_index,
)
from migcomp.stream.packets import ZEROS_MAX
from migcomp.stream.sink import gathering_write

if TYPE_CHECKING:
    from typing_extensions import Buffer


@dataclass
class _Pending:
    """The pages of a record that is not complete."""

    first_page: int
    channel: int
    classes: list[Buffer] = field(default_factory=list)
    details: list[Buffer] = field(default_factory=list)
    payload: list[Buffer] = field(default_factory=list)
    checksum: int | None = None  # when it is known already


class StreamWriter:
    """Turns pages that come in order into records.

    ``sink`` None: the stream is made and counted, but not kept.  ``written`` is
    the number of bytes so far.  Errors of the sink (OSError) pass through.
    """

    def __init__(self, sink: BinaryIO | None, header: StreamHeader) -> None:
        self.header = header
        self.written = 0
        self.counts = PageCounts()
        self.compressed_bytes = 0
        self.compressed_blocks = 0
        self.pages = 0
        self._write = gathering_write(sink)
        self._digest = Xxh64()
        # A record of zeros ends with a packet, however many follow each other.
        self._zeros_max = ZEROS_MAX // header.packet_pages * header.packet_pages
        self._pending: _Pending | None = None
        self._zeros = 0
        self._index: list[IndexEntry] = []
        self._indexes: list[IndexEntry] = []
        packed = header.pack()
        self._identity = identity_of(packed)
        self._emit([packed])

    @property
    def image_digest(self) -> int:
        """Of all pages so far."""
        return image_digest(self.pages, self._digest.intdigest())

    def add_pages(
        self,
        counts: tuple[int, int, int, int, int],
        classes: bytes,
        details: bytes,
        payload: Buffer,
        hashes: bytes,
        checksum: int,
        *,
        channel: int,
        last: bool,
    ) -> None:
        """The next pages; ``last``: a packet is complete with them.

        ``payload`` is only read during the call; ``hashes`` and ``checksum`` as
        those of a request.
        """
        self._digest.update(hashes)
        zero, _, _, normal, compressed = counts
        pending = self._pending
        if pending is None and last and zero == len(classes):
            self._count_zeros(zero)
            return
        self.counts.add(*counts)
        if compressed:
            size = len(memoryview(payload)) - normal * self.header.page_size
            self.compressed_bytes += size
            by_page = self.header.grouping == "page"
            self.compressed_blocks += compressed if by_page else 1
        if pending is None:
            pending = _Pending(self.pages, channel, checksum=checksum)
        else:
            pending.checksum = None
        self.pages += len(classes)
        pending.classes.append(classes)
        pending.details.append(details)
        # Kept beyond the call only as a copy.
        pending.payload.append(payload if last else bytes(payload))
        self._pending = None if last else pending
        if last:
            self._finish(pending)

    def add_zeros(self, pages: int) -> None:
        """Whole packets of zero pages, or the rest of a block."""
        self._count_zeros(pages)

    def end_block(self) -> None:
        """No record reaches from one RAM block into the next."""
        if self._pending is not None:
            self._finish(self._pending)
            self._pending = None
        self._flush_zeros()

    def finish(self, blocks: Sequence[Block]) -> None:
        """Writes the end; ``blocks`` with the lengths that are known by now."""
        self._flush_zeros()
        self._flush_index()
        end = EndRecord(
            self.pages,
            self.image_digest,
            replace(self.counts),
            self.compressed_bytes,
            self.compressed_blocks,
            tuple(block.length for block in blocks),
            self._indexes,
        )
        if self.pages != sum(pages_in(b.length, self.header.page_size) for b in blocks):
            raise ValueError("the blocks' lengths are not those of the pages written")
        offset = self.written
        self._record(END, self.pages, 0, 0, [end.pack()])
        self._emit([pack_footer(offset)])

    def _count_zeros(self, pages: int) -> None:
        self.counts.zero += pages
        self.pages += pages
        self._zeros += pages

    def _finish(self, record: _Pending) -> None:
        classes = b"".join(map(bytes, record.classes))
        if not any(classes):
            # The parts were zero pages all along.
            self._zeros += len(classes)
            return
        self._flush_zeros(before=record.first_page)
        self._indexed(
            PAGES,
            record.first_page,
            len(classes),
            record.channel,
            [classes, _joined(record.details), _joined(record.payload)],
            record.checksum,
        )

    def _flush_zeros(self, before: int | None = None) -> None:
        first = (self.pages if before is None else before) - self._zeros
        while self._zeros:
            pages = min(self._zeros, self._zeros_max)
            self._indexed(ZEROS, first, pages, 0, [])
            first += pages
            self._zeros -= pages

    def _indexed(
        self,
        kind: int,
        first_page: int,
        pages: int,
        channel: int,
        body: list[Buffer],
        checksum: int | None = None,
    ) -> None:
        self._index.append((first_page, self.written))
        self._record(kind, first_page, pages, channel, body, checksum)
        if len(self._index) == INDEX_ENTRIES:
            self._flush_index()

    def _flush_index(self) -> None:
        if self._index:
            self._indexes.append((self._index[0][0], self.written))
            self._record(
                INDEX,
                self._index[0][0],
                len(self._index),
                0,
                [pack_index(self._index)],
            )
            self._index = []

    def _record(
        self,
        kind: int,
        first_page: int,
        pages: int,
        channel: int,
        body: list[Buffer],
        checksum: int | None = None,
    ) -> None:
        """``checksum``: the body's, where it is known already."""
        size = sum(memoryview(part).nbytes for part in body)
        if checksum is None:
            hasher = Xxh64()
            for part in body:
                hasher.update(part)
            checksum = hasher.intdigest()
        head = RecordHeader(kind, 0, channel, first_page, pages, size, checksum)
        self._emit([head.pack(self._identity), *body], RECORD_HEADER_SIZE + size)

    def _emit(self, parts: list[Buffer], size: int | None = None) -> None:
        self._write(parts)
        if size is None:
            size = sum(memoryview(part).nbytes for part in parts)
        self.written += size


def _joined(parts: list[Buffer]) -> Buffer:
    return parts[0] if len(parts) == 1 else b"".join(parts)
