# SPDX-License-Identifier: LGPL-2.1-or-later
"""The charts of a sweep that tell what becomes of the memory's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from migcomp.bench.sweep_figures import Figures
from migcomp.bench.sweep_results import PAGE_SIZE_STEPS
from migcomp.report.classes import framing_bytes, page_classes
from migcomp.report.html.charts import (
    COLORS,
    LINES_MOST,
    NEUTRAL,
    ROW_INCHES,
    ROWS_MOST,
    Chart,
    Table,
    chart,
    label,
    legend_above,
    rows_axis,
)
from migcomp.report.html.maps import Color, map_drawing, shade
from migcomp.report.html.sweep_case import Case, Family, drawn_of, family, places
from migcomp.report.memory_map import format_address
from migcomp.results import Region
from migcomp.units import format_count, format_share, format_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MIB = 1 << 20
_CLASSES = 8  # of compressed sizes, in a table of all settings


def classes_chart(case: Case, key: str) -> Chart:
    shown = case.rows(ROWS_MOST)
    size = shown[0].image.page_size
    parts = {
        "compressed": COLORS[2],
        "normal": COLORS[5],
        "framing": NEUTRAL,
    }

    def bytes_of(each: Figures) -> dict[str, int]:
        classes = {row.name: row for row in page_classes(each.result, size)}
        return {
            "compressed": classes["compressed"].stream_bytes,
            "normal": classes["normal"].stream_bytes,
            "framing": framing_bytes(each.result, size),
        }

    def draw(axes: Axes, narrow: bool) -> None:
        places = range(len(shown))
        left = [0.0] * len(shown)
        for name, color in parts.items():
            sizes = [bytes_of(each)[name] / _MIB for each in shown]
            axes.barh(places, sizes, left=left, color=color, label=name)
            left = [a + b for a, b in zip(left, sizes, strict=True)]
        rows_axis(axes, [family(each.setting).name for each in shown])
        axes.set_xlabel("MiB in the stream")
        legend_above(axes)

    guest = {row.name: row for row in page_classes(shown[0].result, size)}
    told = ", ".join(
        f"{format_size(row.guest_bytes)} {row.name}"
        for row in guest.values()
        if row.name in ("zero", "same-filled")
    )
    return chart(
        key,
        "Bytes by class of page",
        "What compressed and normal pages take of the stream, and what is neither. Of "
        f"the guest's memory, {told} take no more than framing."
        + drawn_of(shown, case.widest, "ways to compress"),
        draw,
        Table(
            ("setting", "stream", *parts, "zero", "same-filled", "deduplicated"),
            [
                (
                    family(each.setting).name,
                    format_size(each.result.stream_bytes),
                    *map(format_size, bytes_of(each).values()),
                    *(
                        format_size(row.guest_bytes)
                        for row in page_classes(each.result, size)[:3]
                    ),
                )
                for each in case.widest
            ],
            drawn=places(shown, case.widest),
        ),
        height=1.2 + ROW_INCHES * len(shown),
    )


def page_sizes_chart(case: Case, key: str) -> Chart | None:
    counts = _page_sizes(case)
    if not counts:
        return None
    step = case.figures[0].image.page_size // PAGE_SIZE_STEPS
    edges = [step * n for n in range(PAGE_SIZE_STEPS + 1)]
    shown = case.drawn(list(counts), LINES_MOST)

    def draw(axes: Axes, narrow: bool) -> None:
        for each, color in zip(shown, cycle(COLORS)):
            axes.stairs(
                counts[each], edges, color=color, label=label(each.name), linewidth=1.4
            )
        axes.set_xlim(0, edges[-1])
        axes.set_xlabel("bytes that a page compresses to")
        axes.set_ylabel("pages")
        legend_above(axes)

    quarter = PAGE_SIZE_STEPS // 4
    told = "; ".join(
        f"{each.name} {format_share(sum(counts[each][:quarter]), sum(counts[each]))}"
        for each in shown
    )
    wide = PAGE_SIZE_STEPS // _CLASSES
    return chart(
        key,
        "Sizes of compressed pages",
        "Each compressed by itself. Of the pages that shrink, these shares take a "
        f"quarter of their size at most: {told}."
        + drawn_of(shown, counts, "ways to compress"),
        draw,
        Table(
            ("pages of at most", *map(format_size, edges[wide::wide])),
            [
                (
                    each.name,
                    *(
                        format_count(sum(sizes[n : n + wide]))
                        for n in range(0, PAGE_SIZE_STEPS, wide)
                    ),
                )
                for each, sizes in counts.items()
            ],
            drawn=places(shown, counts),
        ),
        Table(
            ("as drawn, at most", *(each.name for each in shown)),
            [
                (
                    format_size(edges[n + 1]),
                    *(format_count(counts[f][n]) for f in shown),
                )
                for n in range(PAGE_SIZE_STEPS)
            ],
        ),
    )


def _page_sizes(case: Case) -> dict[Family, tuple[int, ...]]:
    """Pages by compressed size, of those families of which they were counted."""
    counts: dict[Family, tuple[int, ...]] = {}
    for each in case.figures:
        warm_up = each.series.warm_up
        if warm_up is not None and warm_up.page_sizes is not None:
            counts.setdefault(family(each.setting), warm_up.page_sizes)
    return {
        each: sizes
        for each, sizes in counts.items()
        if len(sizes) == PAGE_SIZE_STEPS and min(sizes) >= 0 < max(sizes)
    }


def map_chart(case: Case, key: str) -> Chart | None:
    sample = next(
        (s for s in case.warm_ups() if s.result.regions and s.result.blocks), None
    )
    if sample is None:
        return None
    result = sample.result
    size = case.figures[0].image.page_size
    zero: Color = (0.54, 0.56, 0.6, 0.35)

    def color(regions: Sequence[Region]) -> Color:
        pages = sum(region.pages.total for region in regions)
        if not pages or sum(region.pages.zero for region in regions) == pages:
            return zero
        return shade(min(1.0, sum(r.bytes_out for r in regions) / (pages * size)))

    legend = {"zero": zero} | {
        f"{percent} % sent": shade(percent / 100) for percent in (5, 50, 100)
    }
    name = next(
        each.setting.name for each in case.figures if each.series.warm_up is sample
    )
    return chart(
        key,
        "Memory map",
        f"Guest memory from top left to bottom right, the darker the more of it {name} "
        "sends.",
        map_drawing(result.regions, result.blocks, size, color, legend),
        Table(
            ("RAM block", "guest address", "size"),
            [
                (
                    block.name,
                    format_address(block.guest_address),
                    format_size(block.length),
                )
                for block in result.blocks
            ],
        ),
        height=3.8,
    )
