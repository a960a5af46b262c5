# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a damaged stream has lost: pages, and the history of channels."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from migcomp.stream.layout import (
    COMPRESSED,
    DEDUPLICATED,
    StreamHeader,
    detail_size,
)
from migcomp.stream.reader import Record


class Losses:
    """``missing`` pages in order; ``next_page`` follows the last record seen."""

    def __init__(self, header: StreamHeader) -> None:
        self.missing: list[range] = []
        self.next_page = 0
        self._header = header
        self._broken_channels: set[int] = set()

    def usable(self, record: Record) -> bool:
        """Whether the next sound record can be decompressed.

        Not so when a channel's history has a gap before it.
        """
        head = record.head
        for channel in self._channels_of(range(self.next_page, head.first_page)):
            self._broken_channels.add(channel)
        self.next_page = head.first_page + head.pages
        return (
            head.channel not in self._broken_channels
            or COMPRESSED not in bytes(record.body)[: head.pages]
        )

    def _channels_of(self, pages: range) -> set[int]:
        channels, packet = self._header.channels, self._header.packet_pages
        if not channels or not pages:
            return set()
        packets = range(pages.start // packet, -(-pages.stop // packet))
        return {number % channels for number in packets[:channels]}

    def add(self, pages: range) -> None:
        """``pages`` follow all that are missing so far."""
        if self.missing and self.missing[-1].stop == pages.start:
            pages = range(self.missing.pop().start, pages.stop)
        self.missing.append(pages)

    def add_orphans(self, record: Record) -> None:
        """Deduplicated pages whose content is among the missing."""
        for page, equal in deduplicated_pages(record, self._header):
            at = bisect.bisect_right(self.missing, equal, key=lambda r: r.start)
            if at and equal in self.missing[at - 1]:
                self.add(range(page, page + 1))


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
