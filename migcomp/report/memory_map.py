# SPDX-License-Identifier: LGPL-2.1-or-later
"""The memory map: rows of guest addresses, shaded by what their pages cost.

A cell that hardly reaches the stream shows the class most of its pages have;
any other shows the share of its bytes that the stream carries.  The marks
differ in shape, so that no colour is needed to read them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from migcomp.results import Block, Region
from migcomp.units import format_size

_SMALL = 64  # blocks below this part of the image share a row, a cell for each
_SHADES = ("light", "medium", "dark", "full")
_NEARLY_FREE = 1 / 32  # of a cell's bytes: below that, its class says more

MARKS = {
    "zero": "·",
    "same-filled": "-",
    "deduplicated": "=",
    "light": "░",
    "medium": "▒",
    "dark": "▓",
    "full": "█",
    "missing": "?",
}
ASCII_MARKS = {
    "zero": ".",
    "same-filled": "-",
    "deduplicated": "=",
    "light": "+",
    "medium": "x",
    "dark": "%",
    "full": "#",
    "missing": "?",
}
LEGEND = (
    ("zero", "zero"),
    ("same-filled", "same-filled"),
    ("deduplicated", "deduplicated"),
    ("light", "<1/4 sent"),
    ("medium", "<1/2"),
    ("dark", "<3/4"),
    ("full", "more"),
    ("missing", "not there"),
)


@dataclass(frozen=True)
class Row:
    """``cells`` are names of marks.

    ``label`` is the guest address of the first cell, or says that each cell is
    a small block.
    """

    label: str
    cells: tuple[str, ...]
    guest_bytes: int
    stream_bytes: int


@dataclass(frozen=True)
class MemoryMap:
    """``cell_bytes`` of guest memory to a cell."""

    cell_bytes: int
    rows: tuple[Row, ...]


def memory_map(
    blocks: Sequence[Block],
    regions: Sequence[Region],
    page_size: int,
    columns: int,
    rows: int,
) -> MemoryMap:
    """The map of an image with at most ``columns`` cells in a row.

    At most ``rows`` rows for an image of one block; a row never spans two, and
    small blocks share one.  Pages in no region are missing from a damaged stream.
    Empty when there are no regions.
    """
    pages = sum(region.pages.total for region in regions)
    if not pages:
        return MemoryMap(0, ())
    per_row = 1 << (columns.bit_length() - 1)
    finest = max(region.pages.total for region in regions)
    cell_pages = _power_of_two(max(finest, -(-pages // (per_row * rows))))

    lines: list[Row] = []
    small: list[_Cell] = []
    first = 0
    for block in blocks:
        end = first + -(-block.length // page_size)
        cells = [
            _Cell.of(
                regions,
                start,
                min(end, start + cell_pages),
                page_size,
                block.length - (start - first) * page_size,
            )
            for start in range(first, end, cell_pages)
        ]
        if (end - first) * _SMALL < pages and len(cells) == 1:
            small += cells
        else:
            for start in range(0, len(cells), per_row):
                address = block.guest_address + start * cell_pages * page_size
                lines.append(
                    _row(format_address(address), cells[start : start + per_row])
                )
        first = end
    if small:
        lines.append(_row("small blocks", small[:per_row]))
    return MemoryMap(cell_pages * page_size, tuple(lines))


def _row(label: str, cells: Sequence[_Cell]) -> Row:
    return Row(
        label,
        tuple(cell.mark for cell in cells),
        sum(cell.guest_bytes for cell in cells),
        round(sum(cell.stream_bytes for cell in cells)),
    )


@dataclass(frozen=True)
class _Cell:
    mark: str
    guest_bytes: int
    stream_bytes: float

    @classmethod
    def of(
        cls,
        regions: Sequence[Region],
        first_page: int,
        end: int,
        page_size: int,
        most: int,
    ) -> _Cell:
        """Of the regions that begin within it, or else the one that it lies in.

        ``most`` bytes of its block are left: the last page may be cut off.
        """
        by_page = attrgetter("first_page")
        low = bisect_left(regions, first_page, key=by_page)
        high = bisect_left(regions, end, key=by_page)
        here = regions[low:high] or [
            region
            for region in regions[max(low - 1, 0) : low]
            if first_page < region.first_page + region.pages.total
        ]
        whole = (end - first_page) * page_size
        guest_bytes = min(whole, most)
        pages = sum(region.pages.total for region in here)
        if not pages:
            return cls("missing", guest_bytes, 0)
        share = sum(region.bytes_out for region in here) / (pages * page_size)
        return cls(_mark(here, pages, share), guest_bytes, share * whole)


def _mark(regions: Sequence[Region], pages: int, share: float) -> str:
    free = {
        "zero": sum(region.pages.zero for region in regions),
        "same-filled": sum(region.pages.same_filled for region in regions),
        "deduplicated": sum(region.pages.deduplicated for region in regions),
    }
    name = max(free, key=free.__getitem__)
    if share < _NEARLY_FREE and free[name] * 2 > pages:
        return name
    return _SHADES[min(len(_SHADES) - 1, int(share * len(_SHADES)))]


def format_address(address: int) -> str:
    """A guest address: short in IEC units when whole, else hexadecimal."""
    text = format_size(address)
    number, unit = text.split()
    factor = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}.get(unit)
    if address == 0:
        return "0"
    if factor is None or float(number) * factor != address:
        return f"{address:#x}"
    return f"{float(number):g} {unit}"


def legend(chart: MemoryMap, marks: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(name of the mark, mark and meaning), in the order of growing cost."""
    for name, meaning in LEGEND:
        if name != "missing" or any(name in row.cells for row in chart.rows):
            yield name, f"{marks[name]} {meaning}"


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
