# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sizes of what surrounds pages in QEMU's stream.

Source: QEMU 8.2, ``migration/savevm.c``, ``ram.c`` and ``multifd.h``; layouts are
in ``docs/qemu-streams.md``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from migcomp.results import Block

#: be64 address and flags before every record.
RECORD_HEADER = 8
#: A zero page: the byte that fills it.
ZERO_PAGE = RECORD_HEADER + 1
#: be32 length before a page that compress-threads compressed.
COMPRESSED_HEADER = RECORD_HEADER + 4

#: Magic and version; its configuration section names the machine, which is no
#: part of an image: that of "pc-i440fx-8.2".
FILE_HEADER = 8 + 1 + 4 + len("pc-i440fx-8.2")
END_OF_SECTION = 8
#: Type and number before, mark and number after.
PART_HEADER = 5
FOOTER = 5
_START_HEADER = 5 + 1 + len("ram") + 4 + 4
#: The mark by which the main stream bids multifd's channels wait (8.1 and later).
MULTIFD_FLUSH = 8

PACKET_BYTES = 512 << 10
_PACKET_FIXED = 320
INITIAL_PACKET = 64


def start_section(blocks: Sequence[Block]) -> int:
    names = sum(1 + len(block.name.encode()) + 8 for block in blocks)
    return _START_HEADER + RECORD_HEADER + names + END_OF_SECTION + FOOTER


def packet_pages(page_size: int) -> int:
    return max(PACKET_BYTES // page_size, 1)


def packet_header(page_size: int) -> int:
    """It has room for all offsets, whether they are used or not."""
    return _PACKET_FIXED + 8 * packet_pages(page_size)


class BlockNames:
    """What naming blocks takes: a record of another block than that before."""

    def __init__(self, blocks: Sequence[Block], page_size: int) -> None:
        self._sizes = [1 + len(block.name.encode()) for block in blocks]
        self._ends: list[int] = []
        end = 0
        for block in blocks:
            end += block.length // page_size
            self._ends.append(end)
        self._last = -1

    def bytes_for(self, pages: Sequence[int]) -> int:
        """For records of ``pages``, which ascend."""
        size = at = 0
        while at < len(pages):
            size += self.change(pages[at])
            at = bisect_left(pages, self._ends[self._last], at)
        return size

    def change(self, page: int) -> int:
        """As bytes_for, for one page; 0 if it is of the block of the one before."""
        block = bisect_right(self._ends, page)
        if block == self._last:
            return 0
        self._last = block
        return self._sizes[block]
