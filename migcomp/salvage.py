# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a damaged stream has lost: pages, and the history of channels."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from migcomp.stream.header import StreamHeader
from migcomp.stream.layout import (
    COMPRESSED,
    DEDUPLICATED,
    RECORD_HEADER_SIZE,
    detail_size,
)
from migcomp.stream.packets import Packets
from migcomp.stream.reader import Record


class Losses:
    """``missing`` pages in order; ``next_page`` follows the last record seen;
    ``stream_bytes`` of the stream gave no page."""

    def __init__(self, header: StreamHeader, packets: Packets) -> None:
        self.missing: list[range] = []
        self.next_page = 0
        self.stream_bytes = 0
        self._header = header
        self._packets = packets
        self._broken_channels: set[int] = set()

    def usable(self, record: Record) -> bool:
        """Whether the next sound record can be decompressed.

        Not so when a channel's history has a gap before it.
        """
        head = record.head
        gap = range(self.next_page, head.first_page)
        self._broken_channels |= self._packets.channels_of(gap)
        self.next_page = head.first_page + head.pages
        return (
            head.channel not in self._broken_channels
            or COMPRESSED not in bytes(record.body)[: head.pages]
        )

    def drop(self, record: Record) -> None:
        """It is whole, and of no use."""
        self.stream_bytes += RECORD_HEADER_SIZE + record.head.body_size

    def add(self, pages: range) -> None:
        """``pages`` follow all that are missing so far."""
        if self.missing and self.missing[-1].stop == pages.start:
            pages = range(self.missing.pop().start, pages.stop)
        self.missing.append(pages)

    def missing_bytes(self, length: int) -> int:
        """Of an image of that length."""
        size = self._header.page_size
        return sum(
            min(pages.stop * size, length) - pages.start * size
            for pages in self.missing
        )

    def add_orphans(self, record: Record) -> int:
        """Deduplicated pages whose content is among the missing; how many."""
        orphans = 0
        for page, equal in deduplicated_pages(record, self._header):
            at = bisect.bisect_right(self.missing, equal, key=lambda r: r.start)
            if at and equal in self.missing[at - 1]:
                self.add(range(page, page + 1))
                orphans += 1
        return orphans


def deduplicated_pages(
    record: Record, header: StreamHeader
) -> Iterator[tuple[int, int]]:
    """(page, earlier page that it equals) of a sound PAGES record."""
    body = bytes(record.body)
    offset = record.head.pages
    for i, kind in enumerate(body[: record.head.pages]):
        if kind == DEDUPLICATED:
            yield (
                record.head.first_page + i,
                int.from_bytes(body[offset : offset + 8], "little"),
            )
        offset += detail_size(kind, header.grouping)
