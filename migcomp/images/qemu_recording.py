# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QEMU migration stream as what it recorded: every record, round by round."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, takewhile
from types import TracebackType
from typing import Self

from migcomp.errors import ImageError
from migcomp.images.file import became_shorter, open_file
from migcomp.images.image import pages_in
from migcomp.images.qemu import FORMAT, with_addresses
from migcomp.images.qemu_bytes import StreamBytes
from migcomp.images.qemu_ram import RamReader
from migcomp.images.qemu_sections import SectionReader
from migcomp.images.raw import DEFAULT_PAGE_SIZE
from migcomp.images.signatures import QEMU

_RECORD = struct.Struct("=QII")
_ZERO, _NORMAL, _COMPRESSED, XBZRLE = range(4)
_LENGTH_SIZE = 4  # of what is compressed
_XBZRLE_HEADER_SIZE = 3  # encoding, and the delta's length


@dataclass(frozen=True, slots=True)
class Record:
    """``first``: the page had none before.  ``place`` and ``size`` are those of what
    follows the header and the block's name in the stream."""

    page: int
    kind: int
    place: int
    size: int
    first: bool


class Recording:
    """The first round has every page; each later one until the last starts with the
    first page that the one before has already, and the last one is what was sent
    when the guest was stopped (the stream's END section).  Each has a page once.

    QEMU may have synchronised the dirty bitmap earlier than that, but had no page to
    send again until then.
    """

    def __init__(self, path: str) -> None:
        """Raises ImageError."""
        self.path = path
        self._file = open_file(path)
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        file = self._file
        if not file.head.startswith(QEMU) or file.size is None:
            raise ImageError(
                f"{self.path} is not a file with a QEMU migration stream ({FORMAT}), "
                "and no recording of a migration"
            )
        stream = StreamBytes(file)
        ram = RamReader(stream, file.map(), DEFAULT_PAGE_SIZE, logs=True)
        SectionReader(stream, ram.read).read()
        if ram.mapped:
            raise ImageError(
                f"{self.path} has each page once, in its place (mapped-ram), and not "
                "what was sent in which round; record one without mapped-ram"
            )
        self.blocks = tuple(with_addresses(ram.blocks))
        self.page_size = ram.page_size
        self.pages = sum(pages_in(b.length, self.page_size) for b in self.blocks)
        self._log = memoryview(ram.ram.log)
        self._ends = self._round_ends(ram)
        seen = bytearray(self.pages)
        self._first = bytearray(self._ends[-1])
        for number, (_, _, page) in enumerate(_RECORD.iter_unpack(self._log)):
            self._first[number] = not seen[page]
            seen[page] = 1

    def _round_ends(self, ram: RamReader) -> list[int]:
        """The number of records until each round's end."""
        records = len(self._log) // _RECORD.size
        live = ram.records_before_end
        # Compression threads may have been at pages when the guest was stopped,
        # which then come in the last section and once more.
        places: dict[int, int] = {}
        part = self._log[live * _RECORD.size :]
        for number, (_, _, page) in enumerate(_RECORD.iter_unpack(part), live):
            if page in places:
                live = max(live, places[page] + 1)
            places[page] = number
        if not live:
            # All pages were sent when the guest was stopped: that was a first round.
            return [records, records]
        ends = accumulate(sum(pages) for pages, _ in ram.ram.rounds)
        return [*takewhile(lambda end: end < live, ends), live, records]

    @property
    def rounds(self) -> int:
        return len(self._ends)

    def records(self, number: int) -> Iterator[Record]:
        """Of a round, from 1, as they come."""
        start = self._ends[number - 2] if number > 1 else 0
        end = self._ends[number - 1]
        part = self._log[start * _RECORD.size : end * _RECORD.size]
        for (place, size_and_kind, page), first in zip(
            _RECORD.iter_unpack(part), self._first[start:end], strict=True
        ):
            kind, size = size_and_kind & 255, size_and_kind >> 8
            yield Record(page, kind, place, size, bool(first))

    def is_zero(self, record: Record) -> bool:
        """It is that of a zero page.  Raises ImageError."""
        return record.kind == _ZERO and not any(self.content(record)[:1])

    def content(self, record: Record) -> bytes:
        """The page, or for XBZRLE the delta to what it was.  Raises ImageError."""
        data = self._file.read_at(record.place, record.size)
        if len(data) < record.size:
            raise became_shorter(self.path)
        if record.kind == _ZERO:
            return data * self.page_size
        if record.kind == _NORMAL:
            return data
        if record.kind == XBZRLE:
            return data[_XBZRLE_HEADER_SIZE:]
        try:
            page = zlib.decompress(data[_LENGTH_SIZE:])
        except zlib.error as error:
            raise ImageError(f"{self.path}: page {record.page}: {error}") from error
        if len(page) != self.page_size:
            raise ImageError(
                f"{self.path}: page {record.page} decompresses to {len(page)} bytes"
            )
        return page

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
