# SPDX-License-Identifier: LGPL-2.1-or-later
"""From regions of memory in files to RAM blocks of pages.

Most formats say of stretches of guest memory where in a file they lie.  Here
such regions, which a reader took from a header it has no reason to believe,
become blocks and extents of whole pages, or an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from migcomp import _core
from migcomp.errors import ImageError
from migcomp.images.file import ImageFile
from migcomp.images.headers import ANEW, size_of, take
from migcomp.images.mapped import MappedImage
from migcomp.results import Block

#: More would be no guest's memory map, and would not fit a stream's header.
REGIONS_MAX = 1 << 16
#: Physical addresses have at most 52 bits (x86-64 and Arm); virtual ones 64.
ADDRESSES_END = 1 << 64
TOTAL_MAX = 1 << 52
#: Pages that have to be put together from parts.
PATCHES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Region:
    """``length`` bytes of guest memory from ``address`` on.

    The first ``stored`` of them lie at ``offset`` in the file of that number,
    the rest are zero.
    """

    address: int
    length: int
    offset: int
    stored: int
    file: int = 0

    @property
    def end(self) -> int:
        return self.address + self.length


@dataclass(frozen=True, slots=True)
class Extent:
    """Pages side by side at ``offset`` in the file of that number."""

    first_page: int
    pages: int
    offset: int
    file: int


@dataclass(frozen=True)
class Layout:
    """Where an image's pages lie.

    Pages are numbered through the blocks; those in no extent are zero.
    ``patches`` holds pages that no file has in one piece; extents find them
    under the file number that follows the last file's.
    """

    blocks: tuple[Block, ...]
    extents: tuple[Extent, ...]
    patches: bytes = b""


def open_regions(
    file: ImageFile,
    regions: Iterable[Region],
    format: str,
    page_size: int,
    facts: Mapping[str, object],
    others: Sequence[ImageFile] = (),
) -> MappedImage:
    """An image of regions in ``file``, which is file number 0 and the image's, and
    in ``others``, which stay the caller's.  Raises ImageError."""
    files = (file, *others)
    layout = lay_out(files, regions, page_size)
    # Where the files, and the patches behind them, begin among the map's buffers.
    starts = list(accumulate((size_of(each) for each in files), initial=0))
    page_map = _core.PageMap(
        (*(each.map() for each in files), layout.patches),
        [(e.first_page, e.pages, starts[e.file] + e.offset) for e in layout.extents],
        page_size,
        True,
        pages=sum(block.length for block in layout.blocks) // page_size,
    )
    return MappedImage(file, format, layout.blocks, page_map, page_size, facts)


def lay_out(
    files: Sequence[ImageFile], regions: Iterable[Region], page_size: int
) -> Layout:
    """Whole pages of the regions: adjacent regions become one block.

    A region that begins or ends within a page is widened to whole pages, with
    zeros for what no region has.  Raises ImageError for regions that overlap,
    point beyond their file, or are absurd; ``files[0]`` is named in it.
    """
    path = files[0].path
    given = sorted(
        (region for region in regions if region.length), key=lambda r: r.address
    )
    if not given:
        raise ImageError(f"{path} holds no memory")
    _check(files, given)
    return _Builder(files, page_size).build(given)


def _check(files: Sequence[ImageFile], regions: list[Region]) -> None:
    path = files[0].path
    if len(regions) > REGIONS_MAX:
        raise ImageError(
            f"{path} has {len(regions)} regions of memory, which is absurd"
        )
    end = total = 0
    for region in regions:
        if region.length < 0 or region.end > ADDRESSES_END:
            raise ImageError(
                f"{path}: a region of {region.length} bytes at guest address "
                f"{region.address:#x} cannot be"
            )
        if region.address < end:
            raise ImageError(
                f"{path}: two regions of memory overlap at guest address "
                f"{region.address:#x}"
            )
        file = files[region.file]
        if region.offset + min(region.stored, region.length) > size_of(file):
            raise ImageError(
                f"{file.path} is cut off: its {size_of(file)} bytes end within the "
                f"memory of guest address {region.address:#x}; {ANEW}"
            )
        end = region.end
        total += region.length
    if total > TOTAL_MAX:
        raise ImageError(f"{path} claims {total} bytes of memory, which is absurd")


class _Builder:
    """Cuts sorted, disjoint regions into pages."""

    def __init__(self, files: Sequence[ImageFile], page_size: int) -> None:
        self._files = files
        self._size = page_size
        self._blocks: list[tuple[int, int]] = []  # complete: address, length
        self._start = self._end = -1  # of the block that grows
        self._pages = 0  # in complete blocks
        self._extents: list[Extent] = []
        self._patches = bytearray()
        self._patched = -1  # address of the page that the last patch is

    def build(self, regions: list[Region]) -> Layout:
        for region in regions:
            self._grow(region)
            self._place(region)
        self._complete()
        blocks = tuple(
            Block(f"ram@{address:#x}", length, address)
            for address, length in self._blocks
        )
        return Layout(blocks, tuple(self._extents), bytes(self._patches))

    def _grow(self, region: Region) -> None:
        first = region.address - region.address % self._size
        end = region.end + -region.end % self._size
        if self._start < 0 or first > self._end:
            self._complete()
            self._start, self._end = first, end
        else:
            self._end = max(self._end, end)

    def _complete(self) -> None:
        if self._start >= 0:
            length = self._end - self._start
            self._blocks.append((self._start, length))
            self._pages += length // self._size

    def _place(self, region: Region) -> None:
        stored = min(region.stored, region.length)
        head = min(-region.address % self._size, stored)
        tail = (stored - head) % self._size
        if head:
            self._patch(region, 0, head)
        if pages := (stored - head) // self._size:
            page = self._page_of(region.address + head)
            self._extents.append(Extent(page, pages, region.offset + head, region.file))
        if tail:
            self._patch(region, stored - tail, tail)

    def _page_of(self, address: int) -> int:
        return self._pages + (address - self._start) // self._size

    def _patch(self, region: Region, start: int, length: int) -> None:
        """Part of a page: ``length`` bytes from ``start`` in the region on."""
        file = self._files[region.file]
        data = take(file, region.offset + start, length, "its memory")
        within = (region.address + start) % self._size
        page = region.address + start - within
        if page != self._patched:
            self._patched = page
            offset = len(self._patches)
            if offset >= PATCHES_MAX * self._size:
                raise ImageError(
                    f"{file.path} has too many regions that begin or end within a page"
                )
            self._extents.append(
                Extent(self._page_of(page), 1, offset, len(self._files))
            )
            self._patches += bytes(self._size)
        at = len(self._patches) - self._size + within
        self._patches[at : at + length] = data
