# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which pages a record may hold, and which channel they belong to."""

from __future__ import annotations

import bisect

from migcomp.errors import StreamError
from migcomp.images.image import UNKNOWN_LENGTH, pages_in
from migcomp.stream.header import IMAGE_MAX, StreamHeader
from migcomp.stream.layout import PAGES, RecordHeader

ZEROS_MAX = 1 << 31


class Packets:
    """The packets of a stream's RAM blocks, as its header announces them.

    ``pages``: of the image, or more than it can have when that is not known.
    """

    def __init__(self, header: StreamHeader) -> None:
        self._size = header.packet_pages
        self._channels = header.channels
        self._open_end = header.blocks[-1].length == UNKNOWN_LENGTH
        self._starts = []
        self.pages = 0
        for block in header.blocks:
            self._starts.append(self.pages)
            if block.length != UNKNOWN_LENGTH:
                self.pages += pages_in(block.length, header.page_size)
        if self._open_end:
            self.pages = max(self.pages, IMAGE_MAX // header.page_size)

    def check(self, head: RecordHeader) -> None:
        """Whether a PAGES or ZEROS record may be: raises StreamError if not."""
        first, end = head.first_page, head.first_page + head.pages
        single = head.kind == PAGES
        if not 0 < head.pages <= (self._size if single else ZEROS_MAX):
            raise StreamError("a record has an impossible number of pages")
        if end > self.pages:
            raise StreamError("it has more pages than its header says")
        block = self._block_of(first)
        start, stop = self._starts[block], self._end_of(block)
        if (first - start) % self._size or end > stop:
            raise StreamError("a record does not begin and end with packets")
        # Where a last block of unknown length ends, a packet may be short.
        last = end == stop or (self._open_end and block == len(self._starts) - 1)
        if (end - start) % self._size and not last:
            raise StreamError("a record does not begin and end with packets")
        if head.channel != (self.channel_of(first) if single else 0):
            raise StreamError("a record is of another channel than its pages")

    def channel_of(self, page: int) -> int:
        """Of the packet that begins with ``page``; 0 where there are none."""
        return page // self._size % self._channels if self._channels else 0

    def channels_of(self, pages: range) -> set[int]:
        """Of all packets in ``pages``, which begins with one."""
        found: set[int] = set()
        first = pages.start
        while first < pages.stop and len(found) < self._channels:
            block = self._block_of(first)
            end = min(pages.stop, self._end_of(block))
            packets = -(-(end - first) // self._size)
            for number in range(min(packets, self._channels)):
                found.add(self.channel_of(first + number * self._size))
            first = end
        return found

    def _block_of(self, page: int) -> int:
        # Of blocks without pages, the last one before the next has the page.
        return bisect.bisect_right(self._starts, page) - 1

    def _end_of(self, block: int) -> int:
        last = block + 1 == len(self._starts)
        return self.pages if last else self._starts[block + 1]
