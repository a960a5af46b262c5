# SPDX-License-Identifier: LGPL-2.1-or-later
"""What changed since an earlier image of the same guest, page by page."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from migcomp import _core
from migcomp.errors import ImageError
from migcomp.explain.layout import Cutter, Packet
from migcomp.explain.sample import Pages
from migcomp.images.image import Image
from migcomp.images.raw import RawImage


@dataclass
class Comparison:
    """``same`` and ``changed``: for each page of a packet that both images have a
    byte that is 1 if it is equal, or differs.
    """

    same: dict[Packet, bytearray] = field(default_factory=dict)
    changed: dict[Packet, bytearray] = field(default_factory=dict)


@dataclass(frozen=True)
class Versions:
    """Some pages, one after the other, as they were ``before`` and are ``now``.

    ``numbers`` are theirs in the image.
    """

    numbers: list[int]
    before: bytearray
    now: bytearray

    def before_map(self, image: Image) -> _core.PageMap:
        """All other pages of it are zero."""
        size = image.page_size
        extents = [(page, 1, n * size) for n, page in enumerate(self.numbers)]
        return _core.PageMap(self.before, extents, size, False, pages=image.pages or 0)


@dataclass(frozen=True)
class _Common:
    """``pages`` of the image from ``first`` on are ``earlier`` on in the other."""

    first: int
    earlier: int
    pages: int


class Earlier:
    """An earlier image, beside the one that is explained.

    Both can be read again.  Raises ImageError when they have no memory in common.
    """

    def __init__(self, image: Image, previous: Image, cutter: Cutter) -> None:
        if previous.page_size != image.page_size:
            raise ImageError(
                f"{previous.path} has pages of {previous.page_size} bytes, and "
                f"{image.path} of {image.page_size}: they cannot be compared"
            )
        self.path = previous.path
        self._image = image
        self._previous = previous
        self._common = list(_common(image, previous, cutter))
        self._firsts = [common.first for common in self._common]
        if not self._common:
            raise ImageError(
                f"{previous.path} and {image.path} have no memory in common; give an "
                "earlier image of the same guest"
            )

    def compare(
        self, packets: Iterable[Packet], progress: Callable[[int], None]
    ) -> Comparison:
        """``progress`` is told the pages that are done.  Raises ImageError."""
        found = Comparison()
        size = self._image.page_size
        for packet in packets:
            same = found.same[packet] = bytearray(packet.pages)
            changed = bytearray(packet.pages)
            for page, earlier, pages in self._parts(packet):
                now = self._image.read(page, pages)
                before = self._previous.read(earlier, pages)
                at = page - packet.first_page
                if now == before:
                    same[at : at + pages] = b"\1" * pages
                    continue
                for number in range(pages):
                    part = slice(number * size, (number + 1) * size)
                    equal = now[part] == before[part]
                    same[at + number] = equal
                    changed[at + number] = not equal
            if any(changed):
                found.changed[packet] = changed
            progress(packet.first_page)
        return found

    def versions(self, pages: Iterable[Pages]) -> Versions:
        """Of pages that both images have.  Raises ImageError."""
        numbers: list[int] = []
        before, now = bytearray(), bytearray()
        for each in pages:
            first = each.packet.first_page
            for page, earlier, count in self._parts(each.packet):
                for number in range(count):
                    if each.wanted[page + number - first]:
                        numbers.append(page + number)
                        now += self._image.read(page + number, 1)
                        before += self._previous.read(earlier + number, 1)
        return Versions(numbers, before, now)

    def _parts(self, packet: Packet) -> Iterator[tuple[int, int, int]]:
        """(first page, first page in the earlier image, pages)."""
        end = packet.first_page + packet.pages
        number = max(bisect_right(self._firsts, packet.first_page) - 1, 0)
        for common in self._common[number:]:
            if common.first >= end:
                break
            first = max(common.first, packet.first_page)
            pages = min(common.first + common.pages, end) - first
            if pages > 0:
                yield first, common.earlier + first - common.first, pages


def _common(image: Image, previous: Image, cutter: Cutter) -> Iterator[_Common]:
    """In the image's order.

    A raw image whose blocks nobody told has those of a raw image as long as it.  A
    block of the same name and size is the same memory, also where two formats tell
    different addresses; otherwise the guest addresses count.
    """
    size = image.page_size
    starts = Cutter(previous).starts
    raw = image.format == previous.format == RawImage.format
    if raw and len(previous.blocks) == 1 and starts[-1] == cutter.starts[-1]:
        yield _Common(0, 0, starts[-1])
        return
    counts = [end - start for start, end in pairwise(starts)]
    names = {
        (block.name, pages): start
        for block, pages, start in zip(previous.blocks, counts, starts, strict=False)
    }
    placed = sorted(
        (block.guest_address // size, pages, start)
        for block, pages, start in zip(previous.blocks, counts, starts, strict=False)
    )
    addresses = [address for address, _, _ in placed]
    for number, block in enumerate(image.blocks):
        first = cutter.starts[number]
        pages = cutter.starts[number + 1] - first
        if (start := names.get((block.name, pages))) is not None:
            yield _Common(first, start, pages)
            continue
        address = block.guest_address // size
        end = address  # of what was found so far: blocks of some formats overlap
        for at in range(max(bisect_right(addresses, address) - 1, 0), len(placed)):
            old, old_pages, start = placed[at]
            if old >= address + pages:
                break
            low = max(end, old)
            high = min(address + pages, old + old_pages)
            if low < high:
                yield _Common(first + low - address, start + low - old, high - low)
                end = high
