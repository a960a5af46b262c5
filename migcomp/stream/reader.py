# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading a migcomp stream: in order, page by page, or what is left of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from migcomp import _core
from migcomp.errors import StreamError
from migcomp.images.file import Watch
from migcomp.results import PageCounts
from migcomp.stream.header import (
    FIXED_SIZE,
    StreamHeader,
    header_size,
    identity_of,
    unpack_header,
)
from migcomp.stream.layout import (
    END,
    END_MAX,
    FOOTER_SIZE,
    INDEX,
    INDEX_ENTRIES,
    PAGES,
    RECORD_HEADER_SIZE,
    SKIPPABLE,
    ZEROS,
    EndRecord,
    RecordHeader,
    end_size,
    indexes_max,
    unpack_end,
    unpack_footer,
    unpack_index,
    unpack_record_header,
)
from migcomp.stream.order import Order
from migcomp.stream.packets import Packets
from migcomp.stream.search import at_or_before, find_record
from migcomp.stream.source import Source, open_source, source_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: What to do about a stream that is damaged or cut off.
SALVAGE = "migcomp restore --salvage saves what is sound"

#: Times that salvage tests a byte as part of a record, on average.
_TESTED_OFTEN = 8


@dataclass(frozen=True, slots=True)
class Record:
    """A PAGES or ZEROS record.

    The checksum of its body is still to be tested.  ``mapped``: the body is a
    view of a mapped file, which may shrink.
    """

    offset: int
    head: RecordHeader
    body: Buffer
    mapped: bool


class StreamReader:
    """An opened stream.

    ``end`` is known from the start when the stream is a whole file, else once
    records() has come to it.  Everything raises StreamError, whose message
    names the stream.
    """

    def __init__(self, source: Source) -> None:
        self.path = source.path
        self.end: EndRecord | None = None
        self._source = source
        self._order = Order()
        self._sound_bytes = 0
        try:
            fixed = source.read(FIXED_SIZE)
            rest = source.read(header_size(fixed) - FIXED_SIZE)
            if FIXED_SIZE + len(rest) < header_size(fixed):
                raise StreamError("it is cut off within its header")
            self.header: StreamHeader = unpack_header(fixed + rest)
            self._identity = identity_of(rest)
            self.packets = Packets(self.header)
        except StreamError as error:
            raise self._error(str(error)) from None

    @property
    def pages(self) -> int | None:
        return self.header.pages if self.end is None else self.end.pages

    @property
    def stream_bytes(self) -> int:
        """Bytes read so far."""
        return self._source.position

    # --- In order ---------------------------------------------------------------

    def records(self) -> Iterator[Record]:
        """All records of pages, in order; ``end`` is known afterwards.

        Raises StreamError at the first sign of damage.
        """
        while True:
            offset = self._source.position
            try:
                head = self._read_head()
                body = self._read_body(head)
                if head.kind in (PAGES, ZEROS):
                    self.packets.check(head)
                    self._order.pages(head, offset)
                    mapped = self._source.mapped and head.kind == PAGES
                    yield Record(offset, head, body, mapped)
                elif head.kind == END:
                    self._finish(offset, head, body)
                    return
                elif head.kind == INDEX:
                    self._order.index(head, body, offset)
                elif not head.flags & SKIPPABLE:
                    raise StreamError(
                        f"it has a record of unknown kind {head.kind}; "
                        "a newer migcomp reads it"
                    )
            except StreamError as error:
                raise self._error(str(error), offset) from None

    def _read_head(self) -> RecordHeader:
        data = self._source.read(RECORD_HEADER_SIZE)
        if len(data) < RECORD_HEADER_SIZE:
            raise StreamError("it is cut off")
        return unpack_record_header(data, self._identity)

    def _read_body(self, head: RecordHeader, *, copy: bool = False) -> Buffer:
        if head.body_size > self._body_max(head.kind):
            raise StreamError("a record has an impossible size")
        if head.kind != PAGES:
            return self._read_metadata(head)
        source = self._source
        body = (source.read if copy else source.view)(head.body_size)
        if len(memoryview(body)) < head.body_size:
            raise StreamError("it is cut off")
        return body

    def _body_max(self, kind: int) -> int:
        """What the body of a record takes at most: no length is believed."""
        if kind == END:
            size = self._source.size
            indexes = len(self._order.indexes) if size is None else indexes_max(size)
            return end_size(len(self.header.blocks), indexes)
        sizes = {PAGES: self.header.body_max, ZEROS: 0, INDEX: INDEX_ENTRIES * 16}
        return sizes.get(kind, END_MAX)

    def _read_metadata(self, head: RecordHeader) -> bytes:
        """In pieces, so that no length is trusted with memory."""
        hasher = _core.Xxh64()
        body = bytearray()
        left = head.body_size
        while left:
            piece = self._source.read(min(1 << 20, left))
            if not piece:
                raise StreamError("it is cut off")
            hasher.update(piece)
            left -= len(piece)
            if head.kind in (INDEX, END):
                body += piece
        if hasher.intdigest() != head.body_checksum:
            raise StreamError("a record's checksum does not match")
        return bytes(body)

    def _finish(self, offset: int, head: RecordHeader, body: Buffer) -> None:
        end = unpack_end(body, self.header)
        footer = self._source.read(FOOTER_SIZE)
        if len(footer) < FOOTER_SIZE:
            raise StreamError("it is cut off")
        if not self._order.fits_end(head, end) or unpack_footer(footer) != offset:
            raise StreamError("its end does not fit what precedes it")
        if self._source.read(1):
            raise StreamError("there is data behind its end")
        self.end = end

    def check_totals(
        self, counts: PageCounts, compressed_bytes: int, compressed_blocks: int
    ) -> None:
        """Whether the end counts what its records have: raises StreamError."""
        end = self.end
        if end is not None and (
            (end.counts, end.compressed_bytes, end.compressed_blocks)
            != (counts, compressed_bytes, compressed_blocks)
        ):
            raise self._error(
                "its end counts other pages, or other compressed data, than its "
                "records have"
            )

    # --- What is left of a damaged stream ---------------------------------------

    def salvage(self) -> Iterator[Record]:
        """All PAGES and ZEROS records that are whole, their bodies' checksums
        tested; leaves gaps where there was damage.

        In a file it looks for records behind the damage; a pipe is read on only
        where the damaged record's size is right.
        """
        source = self._source
        self._sound_bytes = source.position
        expected = spent = 0
        while True:
            offset = source.position
            try:
                head = self._read_head()
            except StreamError:
                if not self._resynchronise(offset + 1):
                    return
                continue
            start = source.position
            try:
                body = self._read_sound_body(head)
            except StreamError:
                if self._may_come(head, expected):
                    expected = head.first_page + head.pages
                # The next record may begin before this one's end: bytes may have
                # gone.  But a stream must not have each byte tested often.
                spent += source.position - start
                if source.size is None:
                    continue
                if spent > _TESTED_OFTEN * source.size:
                    source.position = start + head.body_size
                elif not self._resynchronise(start):
                    return
                continue
            if head.kind in (PAGES, ZEROS):
                if not self._may_come(head, expected):
                    continue
                expected = head.first_page + head.pages
                yield Record(offset, head, body, mapped=False)
            self._sound_bytes += source.position - offset
            if head.kind == INDEX:
                self._order.indexes.append((head.first_page, offset))
            if head.kind == END:
                self._sound_bytes += len(source.read(FOOTER_SIZE))
                return

    @property
    def lost_bytes(self) -> int:
        """Bytes read by salvage() that are in no record that it found sound."""
        return self.stream_bytes - self._sound_bytes

    def _may_come(self, head: RecordHeader, expected: int) -> bool:
        """Whether it is a record of pages, none of them before ``expected``."""
        if head.kind not in (PAGES, ZEROS) or head.first_page < expected:
            return False
        try:
            self.packets.check(head)
        except StreamError:
            return False
        return True

    def _read_sound_body(self, head: RecordHeader) -> Buffer:
        # A mapped file may shrink, and here is no guard.
        body = self._read_body(head, copy=True)
        if head.kind == PAGES and _core.xxh64(body) != head.body_checksum:
            raise StreamError("a record's checksum does not match")
        return body

    def _resynchronise(self, start: int) -> bool:
        """Moves to the next sound record header; False when there is none."""
        return find_record(self._source, start, self._identity)

    # --- Page by page -------------------------------------------------------------

    def load_end(self) -> EndRecord:
        """Reads the end of a file without what precedes it."""
        if self.end is None:
            try:
                size = self._source.size or 0
                footer = self._source.read_at(max(size - FOOTER_SIZE, 0), FOOTER_SIZE)
                _, body = self._record_at(unpack_footer(footer), END)
                self.end = unpack_end(body, self.header)
            except StreamError as error:
                raise self._error(str(error)) from None
        return self.end

    def find(self, page: int) -> Record:
        """The record that holds ``page``, in three reads whatever the size."""
        end = self.load_end()
        if not 0 <= page < end.pages:
            raise self._error(f"it has pages 0 to {end.pages - 1}, and no page {page}")
        try:
            index = at_or_before(end.indexes, page)
            _, body = self._record_at(index, INDEX)
            offset = at_or_before(unpack_index(body), page)
            head, body = self._record_at(offset, PAGES, ZEROS)
            self.packets.check(head)
            if not head.first_page <= page < head.first_page + head.pages:
                raise StreamError(f"its index does not lead to page {page}")
        except StreamError as error:
            raise self._error(str(error)) from None
        return Record(offset, head, body, mapped=False)

    def classes_of(self, record: Record) -> bytes:
        """A byte for each page of a PAGES record; the rest of it is not read."""
        if record.mapped:
            # Without a guard, no mapped file may be touched.
            at = record.offset + RECORD_HEADER_SIZE
            size = min(record.head.pages, record.head.body_size)
            try:
                return self._source.read_at(at, size)
            except StreamError as error:
                raise self._error(str(error)) from None
        return bytes(memoryview(record.body)[: record.head.pages])

    def _record_at(self, offset: int, *kinds: int) -> tuple[RecordHeader, bytes]:
        data = self._source.read_at(offset, RECORD_HEADER_SIZE)
        head = unpack_record_header(data, self._identity)
        if head.kind not in kinds or head.body_size > self._body_max(head.kind):
            raise StreamError("its index leads to no such record")
        if offset + head.body_size > (self._source.size or 0):
            raise StreamError("it is cut off")
        body = self._source.read_at(offset + RECORD_HEADER_SIZE, head.body_size)
        if _core.xxh64(body) != head.body_checksum:
            raise StreamError("a record's checksum does not match")
        return head, body

    # --- Life ---------------------------------------------------------------------

    def _error(self, reason: str, offset: int | None = None) -> StreamError:
        if offset is None:
            return StreamError(f"{self.path}: {reason}")
        total = "" if self.header.pages is None else f" of {self.header.pages}"
        return StreamError(
            f"{self.path}: {reason} (at byte {offset}, after page "
            f"{self._order.next_page}{total}); {SALVAGE}"
        )

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_stream(path: str, watch: Watch | None = None) -> StreamReader:
    """Opens the stream ``path``, which may be a URL, or standard input for ``-``.
    ``watch`` is told how many bytes are copied from a URL."""
    return _reader_of(open_source(path, watch))


def open_stream_in(path: str, fd: int, taken: bytes = b"") -> StreamReader:
    """The stream in an open file, which is then the stream's; ``taken`` was read
    from it already."""
    return _reader_of(source_of(path, fd, taken))


def _reader_of(source: Source) -> StreamReader:
    try:
        return StreamReader(source)
    except BaseException:
        source.close()
        raise
