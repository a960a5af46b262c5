# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must follow what in a stream that is read from its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migcomp.errors import StreamError
from migcomp.stream.layout import (
    INDEX_ENTRIES,
    EndRecord,
    IndexEntry,
    RecordHeader,
    unpack_index,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Order:
    """Is told each record, with the offset of its header, and raises StreamError
    for one that cannot be the next.

    ``next_page`` must come next; ``indexes`` are the INDEX records so far.
    """

    def __init__(self) -> None:
        self.next_page = 0
        self.indexes: list[IndexEntry] = []
        # Of the PAGES and ZEROS records since the last INDEX.
        self._index: list[IndexEntry] = []
        self._index_is_last = False

    def pages(self, head: RecordHeader, offset: int) -> None:
        """A PAGES or ZEROS record."""
        if head.first_page != self.next_page:
            raise StreamError(
                f"page {self.next_page} should follow, and page {head.first_page} does"
            )
        if len(self._index) == INDEX_ENTRIES:
            raise StreamError("an index is missing")
        if self._index_is_last:
            raise StreamError("an index comes too early")
        self.next_page += head.pages
        self._index.append((head.first_page, offset))

    def index(self, head: RecordHeader, body: Buffer, offset: int) -> None:
        if (
            not self._index
            or unpack_index(body) != self._index
            or (head.first_page, head.pages) != (self._index[0][0], len(self._index))
            or head.channel
        ):
            raise StreamError("an index does not fit the records before it")
        self.indexes.append((self._index[0][0], offset))
        self._index_is_last = len(self._index) < INDEX_ENTRIES
        self._index = []

    def fits_end(self, head: RecordHeader, end: EndRecord) -> bool:
        return (
            end.pages == self.next_page
            and (head.first_page, head.pages, head.channel) == (end.pages, 0, 0)
            and end.indexes == self.indexes
            and not self._index
        )
