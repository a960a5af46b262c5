# SPDX-License-Identifier: LGPL-2.1-or-later
"""The charts of a sweep, each of one image's settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from migcomp.bench.sweep_figures import Figures
from migcomp.bench.sweep_results import PAGE_SIZE_STEPS
from migcomp.report.classes import framing_bytes, page_classes
from migcomp.report.html.charts import (
    COLORS,
    NEUTRAL,
    Chart,
    Table,
    chart,
    label,
    legend_above,
)
from migcomp.report.html.maps import Color, map_drawing, shade
from migcomp.report.html.sweep_case import Case, Family, family
from migcomp.report.memory_map import format_address
from migcomp.results import Region
from migcomp.units import format_count, format_rate, format_seconds, format_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MIB = 1 << 20
_ROW = 0.24  # inches to a line of a chart that has one for each setting
_LINES = 6  # that a chart can show at once
_ROWS = 60
_TIMES = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "most": "most"}
_MARKERS = "osD^v"


def charts(case: Case, key: str) -> list[Chart]:
    """All for which there are figures; ``key`` begins their names."""
    made = (
        _front(case, f"{key}-front"),
        _scaling(case, f"{key}-scaling"),
        _classes(case, f"{key}-classes"),
        _page_sizes(case, f"{key}-page-sizes"),
        _request_times(case, f"{key}-request-times"),
        _cpu(case, f"{key}-cpu"),
        _map(case, f"{key}-map"),
    )
    return [each for each in made if each is not None]


# --- Rate against speed -------------------------------------------------------------


def _front(case: Case, key: str) -> Chart:
    def draw(axes: Axes, narrow: bool) -> None:
        speeds = [point.speed / 1e6 for point in case.points]
        rates = [point.rate for point in case.points]
        errors = [s * f.noise for s, f in zip(speeds, case.figures, strict=True)]
        rest = [n for n in range(len(speeds)) if n not in case.front]
        axes.errorbar(
            [speeds[n] for n in rest],
            [rates[n] for n in rest],
            xerr=[errors[n] for n in rest],
            fmt="o",
            color=NEUTRAL,
            markersize=4,
            label="beaten by another",
        )
        chosen = list(case.front)
        axes.errorbar(
            [speeds[n] for n in chosen],
            [rates[n] for n in chosen],
            xerr=[errors[n] for n in chosen],
            fmt="D-",
            color=COLORS[5],
            markersize=6,
            label="worth having",
        )
        for number, n in enumerate(chosen):
            axes.annotate(
                str(number + 1),
                (speeds[n], rates[n]),
                xytext=(5, -13 if number % 2 else 5),
                textcoords="offset points",
                fontweight="bold",
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_plain)
        axes.xaxis.set_minor_formatter(_minor)
        axes.set_xlabel("MB/s of guest memory that is not zero")
        axes.set_ylabel("rate")
        legend_above(axes)

    numbered = {n: str(place + 1) for place, n in enumerate(case.front)}
    best = ", ".join(
        f"{place} {case.figures[n].setting.name}" for n, place in numbered.items()
    )
    return chart(
        key,
        "Rate against speed",
        "Further up is smaller, further right is faster; bars are the noise (MAD). "
        f"Worth having are {best}.",
        draw,
        Table(
            ("setting", "number", "rate", "speed", "noise"),
            [
                (
                    each.setting.name,
                    numbered.get(n, ""),
                    f"{case.points[n].rate:.2f}",
                    format_rate(case.points[n].speed),
                    f"{100 * each.noise:.1f} %",
                )
                for n, each in enumerate(case.figures)
            ],
        ),
        height=3.8,
    )


def _plain(value: float, _place: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _minor(value: float, place: float) -> str:
    """2 and 5 have labels too: the axis may not span a power of ten."""
    digit = f"{value:.0e}"[0]
    return _plain(value, place) if digit in "25" else ""


# --- Threads ------------------------------------------------------------------------


def _scaling(case: Case, key: str) -> Chart | None:
    families = {f: members for f, members in case.by_family.items() if len(members) > 1}
    if not families:
        return None
    shown = _front_first(case, families)[:_LINES]

    def draw(axes: Axes, narrow: bool) -> None:
        most = max(m.setting.threads for f in shown for m in families[f])
        axes.plot(
            [1, most],
            [1, most],
            linestyle="--",
            color=NEUTRAL,
            label="ideal",
        )
        for each, color, marker in zip(shown, cycle(COLORS), cycle(_MARKERS)):
            threads = [m.setting.threads for m in families[each]]
            speedups = _speedups(families[each])
            axes.plot(
                threads, speedups, marker + "-", color=color, label=label(each.name)
            )
        every = sorted({m.setting.threads for f in shown for m in families[f]})
        axes.set_xticks(every, list(map(str, every)))
        axes.set_xlabel("threads")
        axes.set_ylabel("times as fast")
        axes.set_ylim(bottom=0)
        legend_above(axes)

    left_out = len(families) - len(shown)
    return chart(
        key,
        "Scaling by threads",
        "How many times as fast as with the fewest threads, and what would be ideal."
        + (f" The figures have {left_out} more." if left_out else ""),
        draw,
        Table(
            ("setting", "speed", "times as fast"),
            [
                (m.setting.name, format_rate(m.speed), f"{times:.2f}")
                for members in families.values()
                for m, times in zip(members, _speedups(members), strict=True)
            ],
        ),
        height=3.8,
    )


def _speedups(members: Sequence[Figures]) -> list[float]:
    """Over the fewest threads, taken to be as fast as so many are ideally."""
    first = members[0]
    return [first.setting.threads * m.speed / first.speed for m in members]


def _front_first(case: Case, families: Iterable[Family]) -> list[Family]:
    """Those that have a setting worth having before the others."""
    best = {family(case.figures[number].setting) for number in case.front}
    return sorted(families, key=lambda each: each not in best)


# --- Bytes --------------------------------------------------------------------------


def _classes(case: Case, key: str) -> Chart:
    shown = case.widest[:_ROWS]
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
        _settings_axis(axes, [family(each.setting).name for each in shown])
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
        f"the guest's memory, {told} take no more than framing.",
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
                for each in shown
            ],
        ),
        height=1.2 + _ROW * len(shown),
    )


def _settings_axis(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), list(map(label, names)))
    axes.set_ylim(len(names) - 0.4, -0.6)


def _page_sizes(case: Case, key: str) -> Chart | None:
    counts: dict[str, tuple[int, ...]] = {}
    for each in case.figures:
        warm_up = each.series.warm_up
        if warm_up is not None and warm_up.page_sizes is not None:
            counts.setdefault(family(each.setting).name, warm_up.page_sizes)
    counts = {
        name: sizes
        for name, sizes in counts.items()
        if len(sizes) == PAGE_SIZE_STEPS and min(sizes) >= 0 < max(sizes)
    }
    if not counts:
        return None
    quarter = PAGE_SIZE_STEPS // 4
    small = {name: sum(sizes[:quarter]) / sum(sizes) for name, sizes in counts.items()}
    step = case.figures[0].image.page_size // PAGE_SIZE_STEPS
    edges = [step * n for n in range(PAGE_SIZE_STEPS + 1)]
    shown = list(counts)[:_LINES]

    def draw(axes: Axes, narrow: bool) -> None:
        for name, color in zip(shown, cycle(COLORS)):
            axes.stairs(
                counts[name], edges, color=color, label=label(name), linewidth=1.4
            )
        axes.set_xlim(0, edges[-1])
        axes.set_xlabel("bytes that a page compresses to")
        axes.set_ylabel("pages")
        legend_above(axes)

    told = "; ".join(f"{name} {100 * small[name]:.0f} %" for name in shown)
    return chart(
        key,
        "Sizes of compressed pages",
        "Each compressed by itself. Of the pages that shrink, these shares take a "
        f"quarter of their size at most: {told}.",
        draw,
        Table(
            ("at most", *counts),
            [
                (
                    format_size(edges[n + 1]),
                    *(format_count(c[n]) for c in counts.values()),
                )
                for n in range(PAGE_SIZE_STEPS)
            ],
        ),
    )


# --- Times --------------------------------------------------------------------------


def _request_times(case: Case, key: str) -> Chart:
    shown = case.widest[:_ROWS]

    def draw(axes: Axes, narrow: bool) -> None:
        for (field, name), color, marker in zip(
            _TIMES.items(), cycle(COLORS), cycle(_MARKERS)
        ):
            points = [
                (seconds * 1e3, place)
                for place, each in enumerate(shown)
                if (seconds := each.request_seconds(field))
            ]
            if points:
                times, places = zip(*points, strict=True)
                axes.plot(times, places, marker, color=color, markersize=5, label=name)
        _settings_axis(axes, [each.setting.name for each in shown])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_plain)
        axes.grid(axis="y", alpha=0.25)
        axes.set_xlabel("ms in the handler")
        legend_above(axes)

    return chart(
        key,
        "Time of a request",
        "The median of the rounds, of percentiles over the requests of a run: a "
        "request is up to 512 KiB of memory.",
        draw,
        Table(
            ("setting", *_TIMES.values()),
            [
                (
                    each.setting.name,
                    *(
                        ""
                        if (seconds := each.request_seconds(t)) is None
                        else format_seconds(seconds)
                        for t in _TIMES
                    ),
                )
                for each in case.figures
            ],
        ),
        height=1.4 + _ROW * len(shown),
    )


def _cpu(case: Case, key: str) -> Chart:
    shown = case.widest[:_ROWS]

    def draw(axes: Axes, narrow: bool) -> None:
        costs = [each.cpu_seconds_per_gib for each in shown]
        noise = [
            cost * each.cpu.relative_mad
            for cost, each in zip(costs, shown, strict=True)
        ]
        axes.barh(
            range(len(shown)), costs, xerr=noise, color=COLORS[0], ecolor=COLORS[5]
        )
        _settings_axis(axes, [each.setting.name for each in shown])
        axes.set_xlabel("CPU seconds per GiB")

    return chart(
        key,
        "CPU time",
        "For each GiB of guest memory, of all threads together, in the median round; "
        "bars are the noise (MAD).",
        draw,
        Table(
            ("setting", "CPU s/GiB", "noise"),
            [
                (
                    each.setting.name,
                    f"{each.cpu_seconds_per_gib:.3f}",
                    f"{100 * each.cpu.relative_mad:.1f} %",
                )
                for each in case.figures
            ],
        ),
        height=1 + _ROW * len(shown),
    )


# --- The map ------------------------------------------------------------------------


def _map(case: Case, key: str) -> Chart | None:
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
