# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory maps: cells of equal size, from top left to bottom right."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from migcomp.report.html.charts import Draw, legend_above
from migcomp.report.memory_map import format_address
from migcomp.results import Block, Region
from migcomp.units import format_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Red, green, blue and opacity, 0 to 1.
Color = tuple[float, float, float, float]

_COLUMNS = {False: 128, True: 64}  # by whether it is narrow
_ROWS = 32
_ASPECT = 4  # columns to a row, of a map with few cells
_LABELS = 8


def shade(share: float) -> Color:
    """From light to dark: what costs more is darker."""
    from matplotlib import colormaps

    red, green, blue, alpha = colormaps["YlOrBr"](0.15 + 0.85 * share)
    return red, green, blue, alpha


def map_drawing(
    regions: Sequence[Region],
    blocks: Sequence[Block],
    page_size: int,
    color: Callable[[Sequence[Region]], Color],
    legend: Mapping[str, Color],
) -> Draw:
    """``color`` gives that of a cell, which is one region or several."""

    def draw(axes: Axes, narrow: bool) -> None:
        # A power of two, so that the rows begin at round addresses.
        fitting = 1 << int(math.log2(max(1, len(regions) * _ASPECT)) / 2)
        columns = min(_COLUMNS[narrow], fitting)
        step = -(-len(regions) // (columns * _ROWS))
        cells = [regions[n : n + step] for n in range(0, len(regions), step)]
        colors = [color(cell) for cell in cells]
        colors += [(0.0, 0.0, 0.0, 0.0)] * (-len(colors) % columns)
        grid = [colors[n : n + columns] for n in range(0, len(colors), columns)]
        axes.imshow(grid, aspect="auto", interpolation="nearest")
        lines = range(0, len(grid), max(1, len(grid) // _LABELS))
        addresses = [
            _address(blocks, page_size, cells[n * columns][0].first_page) for n in lines
        ]
        axes.set_yticks(lines, addresses)
        axes.set_xticks([])
        axes.spines[:].set_visible(False)
        for name, shade in legend.items():
            axes.bar(0, 0, color=shade, label=name)
        legend_above(axes)
        size = step * max(region.pages.total for region in regions) * page_size
        axes.set_xlabel(f"{format_size(size)} to a cell")

    return draw


def _address(blocks: Sequence[Block], page_size: int, page: int) -> str:
    lengths = (-(-block.length // page_size) for block in blocks)
    starts = list(accumulate(lengths, initial=0))
    number = max(bisect_right(starts, page, hi=len(blocks)) - 1, 0)
    offset = (page - starts[number]) * page_size
    return format_address(blocks[number].guest_address + offset)
