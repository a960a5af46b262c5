# SPDX-License-Identifier: LGPL-2.1-or-later
"""How an image is cut: into packets, and into stretches to tell about."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from migcomp.choice import PACKET_BYTES
from migcomp.explain.results import Stretch, Tally
from migcomp.images.image import Image, pages_in

STRETCHES = 8  # of the blocks that are not small
SMALL = 16  # blocks below this part of the image are told about together


@dataclass(frozen=True, order=True)
class Packet:
    """Pages that compression takes together: those of one packet of one block."""

    first_page: int
    pages: int


class Cutter:
    """Cuts pages into packets as the pipeline does: from the start of each block."""

    def __init__(self, image: Image) -> None:
        self.packet_pages = max(PACKET_BYTES // image.page_size, 1)
        lengths = [pages_in(block.length, image.page_size) for block in image.blocks]
        self.starts = list(accumulate(lengths, initial=0))

    def pieces(self, first_page: int, pages: int) -> Iterator[tuple[Packet, int, int]]:
        """(packet, first page, pages) of each part of a run within one block."""
        block = bisect_right(self.starts, first_page) - 1
        start, end = self.starts[block], self.starts[block + 1]
        stop = first_page + pages
        while first_page < stop:
            packet = first_page - (first_page - start) % self.packet_pages
            size = min(self.packet_pages, end - packet)
            here = min(packet + size, stop) - first_page
            yield Packet(packet, size), first_page, here
            first_page += here


def stretches(image: Image, cutter: Cutter) -> list[Stretch]:
    """The image's blocks in about STRETCHES pieces, none of which spans two.

    Several small blocks are one piece, the last; it has no pages of its own numbers.
    """
    starts = cutter.starts
    sizes = [end - start for start, end in pairwise(starts)]
    pages = starts[-1]
    cut: list[Stretch] = []
    small = {n for n, size in enumerate(sizes) if 0 < size * SMALL < pages}
    if len(small) == 1:
        small.clear()  # it would be no fewer rows, and without an address
    for number, block in enumerate(image.blocks):
        size = sizes[number]
        if number in small or not size:
            continue
        packets = -(-size // cutter.packet_pages)
        count = min(max(round(STRETCHES * size / pages), 1), packets)
        step = -(-packets // count) * cutter.packet_pages
        for first in range(0, size, step):
            address = block.guest_address + first * image.page_size
            length = min(step, size - first)
            cut.append(
                Stretch(block.name, address, starts[number] + first, length, 1, Tally())
            )
    if small:
        total = sum(sizes[number] for number in small)
        cut.append(Stretch("", None, pages, total, len(small), Tally()))
    return cut


class Tallies:
    """Adds up what is found by stretch."""

    def __init__(self, cut: Sequence[Stretch]) -> None:
        self._cut = [stretch for stretch in cut if stretch.guest_address is not None]
        self._rest = next((s for s in cut if s.guest_address is None), None)
        self._firsts = [stretch.first_page for stretch in self._cut]

    def add(self, page: int, tally: Tally) -> None:
        """Of pages that lie in one packet."""
        number = bisect_right(self._firsts, page) - 1
        if number >= 0:
            stretch = self._cut[number]
            if page < stretch.first_page + stretch.pages:
                stretch.tally.add(tally)
                return
        assert self._rest is not None
        self._rest.tally.add(tally)

    def fill_up(self) -> None:
        """What was not added are holes: zero pages."""
        for stretch in (*self._cut, *filter(None, [self._rest])):
            stretch.tally.zero += stretch.pages - stretch.tally.total
