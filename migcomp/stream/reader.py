# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading a migcomp stream: in order, page by page, or what is left of one."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from migcomp import _core
from migcomp.errors import StreamError
from migcomp.stream.layout import (
    END,
    END_MAX,
    FIXED_SIZE,
    FOOTER_SIZE,
    IMAGE_MAX,
    INDEX,
    INDEX_ENTRIES,
    MAGIC,
    PAGES,
    RECORD_HEADER_SIZE,
    RECORD_MAGIC,
    SKIPPABLE,
    ZEROS,
    EndRecord,
    IndexEntry,
    RecordHeader,
    StreamHeader,
    header_size,
    unpack_end,
    unpack_footer,
    unpack_header,
    unpack_index,
    unpack_record_header,
)
from migcomp.stream.source import Source, open_source, source_of

if TYPE_CHECKING:
    from typing_extensions import Buffer


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
        self._next_page = 0
        self._index: list[IndexEntry] = []
        self._indexes: list[IndexEntry] = []
        try:
            fixed = source.read(FIXED_SIZE)
            rest = source.read(header_size(fixed) - FIXED_SIZE)
            if FIXED_SIZE + len(rest) < header_size(fixed):
                raise StreamError("it is cut off within its header")
            self.header: StreamHeader = unpack_header(fixed + rest)
        except StreamError as error:
            raise self._error(str(error)) from None

    @property
    def pages(self) -> int | None:
        return self.header.pages if self.end is None else self.end.pages

    @property
    def _pages_max(self) -> int:
        known = self.header.pages
        return IMAGE_MAX // self.header.page_size if known is None else known

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
                    self._follow(head, offset)
                    mapped = self._source.mapped and head.kind == PAGES
                    yield Record(offset, head, body, mapped)
                elif head.kind == END:
                    self._finish(offset, head, body)
                    return
                elif head.kind == INDEX:
                    self._check_index(head, body, offset)
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
        return unpack_record_header(data)

    def _read_body(self, head: RecordHeader, *, copy: bool = False) -> Buffer:
        most = {
            PAGES: self.header.body_max,
            ZEROS: 0,
            INDEX: INDEX_ENTRIES * 16,
            END: END_MAX,
        }.get(head.kind, END_MAX)
        if head.body_size > most:
            raise StreamError("a record has an impossible size")
        if head.kind != PAGES:
            return self._read_metadata(head)
        source = self._source
        body = (source.read if copy else source.view)(head.body_size)
        if len(memoryview(body)) < head.body_size:
            raise StreamError("it is cut off")
        return body

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

    def _follow(self, head: RecordHeader, offset: int) -> None:
        most = self.header.packet_pages if head.kind == PAGES else 1 << 31
        if not 0 < head.pages <= most:
            raise StreamError("a record has an impossible number of pages")
        if head.first_page != self._next_page:
            raise StreamError(
                f"page {self._next_page} should follow, and page {head.first_page} does"
            )
        if head.first_page + head.pages > self._pages_max:
            raise StreamError("it has more pages than its header says")
        if len(self._index) == INDEX_ENTRIES:
            raise StreamError("an index is missing")
        self._next_page += head.pages
        self._index.append((head.first_page, offset))

    def _check_index(self, head: RecordHeader, body: Buffer, offset: int) -> None:
        if not self._index or unpack_index(body) != self._index:
            raise StreamError("an index does not fit the records before it")
        self._indexes.append((self._index[0][0], offset))
        self._index = []

    def _finish(self, offset: int, head: RecordHeader, body: Buffer) -> None:
        end = unpack_end(body, self.header)
        footer = self._source.read(FOOTER_SIZE)
        if len(footer) < FOOTER_SIZE:
            raise StreamError("it is cut off")
        if (
            end.pages != self._next_page
            or head.first_page != end.pages
            or end.indexes != self._indexes
            or self._index
            or unpack_footer(footer) != offset
        ):
            raise StreamError("its end does not fit what precedes it")
        if self._source.read(1):
            raise StreamError("there is data behind its end")
        self.end = end

    # --- What is left of a damaged stream ---------------------------------------

    def salvage(self) -> Iterator[Record]:
        """All PAGES and ZEROS records that are whole, their bodies' checksums
        tested; leaves gaps where there was damage.

        In a file it looks for records behind the damage; a pipe ends there.
        """
        expected, packet = 0, self.header.packet_pages
        while True:
            offset = self._source.position
            try:
                head = self._read_head()
                # A mapped file may shrink, and here is no guard.
                body = self._read_body(head, copy=True)
            except StreamError:
                if not self._resynchronise(offset + 1):
                    return
                continue
            if head.kind == END:
                return
            in_order = head.first_page >= expected and head.pages > 0
            if (
                head.kind in (PAGES, ZEROS)
                and in_order
                and head.first_page + head.pages <= self._pages_max
                and head.channel < max(self.header.channels, 1)
                and head.pages <= (packet if head.kind == PAGES else 1 << 31)
                and _core.xxh64(body) == head.body_checksum
            ):
                expected = head.first_page + head.pages
                yield Record(offset, head, body, mapped=False)

    def _resynchronise(self, start: int) -> bool:
        """Moves to the next sound record header; False when there is none."""
        if self._source.size is None:
            return False
        window = 1 << 20
        while start < self._source.size:
            self._source.position = start
            data = self._source.read(window)
            if not data:
                return False
            found = data.find(RECORD_MAGIC)
            while found >= 0:
                try:
                    unpack_record_header(
                        self._source.read_at(start + found, RECORD_HEADER_SIZE)
                    )
                except StreamError:
                    found = data.find(RECORD_MAGIC, found + 1)
                else:
                    self._source.position = start + found
                    return True
            start += max(len(data) - len(RECORD_MAGIC) + 1, 1)
        return False

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
            index = _at_or_before(end.indexes, page)
            _, body = self._record_at(index, INDEX)
            offset = _at_or_before(unpack_index(body), page)
            head, body = self._record_at(offset, PAGES, ZEROS)
            if not head.first_page <= page < head.first_page + head.pages:
                raise StreamError(f"its index does not lead to page {page}")
        except StreamError as error:
            raise self._error(str(error)) from None
        return Record(offset, head, body, mapped=False)

    def _record_at(self, offset: int, *kinds: int) -> tuple[RecordHeader, bytes]:
        head = unpack_record_header(self._source.read_at(offset, RECORD_HEADER_SIZE))
        most = END_MAX if END in kinds else self.header.body_max + INDEX_ENTRIES * 16
        if head.kind not in kinds or head.body_size > most:
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
            f"{self._next_page}{total}); restore --salvage saves what is sound"
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


def _at_or_before(entries: list[IndexEntry], page: int) -> int:
    """The offset of the last entry whose first page is not behind ``page``."""
    position = bisect.bisect_right(entries, page, key=lambda entry: entry[0])
    if not position:
        raise StreamError(f"its index does not lead to page {page}")
    return entries[position - 1][1]


def is_stream(head: bytes) -> bool:
    """Whether these first bytes of a file are those of a stream of ours."""
    return head.startswith(MAGIC)


def open_stream(path: str) -> StreamReader:
    """Opens the stream ``path``, or standard input for ``-``."""
    return _reader_of(open_source(path))


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
