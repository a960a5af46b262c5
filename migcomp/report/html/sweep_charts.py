# SPDX-License-Identifier: LGPL-2.1-or-later
"""The charts of a sweep, each of one image's settings: speed, threads and times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from migcomp.bench.sweep_figures import Figures
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
from migcomp.report.html.sweep_bytes import classes_chart, map_chart, page_sizes_chart
from migcomp.report.html.sweep_case import Case, drawn_of, places
from migcomp.report.sweep_figures import format_noise
from migcomp.units import format_rate, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TIMES = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "most": "most"}
_MARKERS = "osD^v"
_NAMES_MOST = 8  # of the points worth having, in words
_POINTS = 72  # to the inch
_NUMBER_POINTS = 16  # what a number takes
_POWERS_ENOUGH = 2  # of ten, with a label on an axis


def charts(case: Case, key: str) -> list[Chart]:
    """All for which there are figures; ``key`` begins their names."""
    made = (
        _front(case, f"{key}-front"),
        _scaling(case, f"{key}-scaling"),
        classes_chart(case, f"{key}-classes"),
        page_sizes_chart(case, f"{key}-page-sizes"),
        _request_times(case, f"{key}-request-times"),
        _cpu(case, f"{key}-cpu"),
        map_chart(case, f"{key}-map"),
    )
    return [each for each in made if each is not None]


# --- Rate against speed -------------------------------------------------------------


def _front(case: Case, key: str) -> Chart | None:
    if not any(point.speed for point in case.points):
        return None  # all pages are zero

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
        axes.set_xscale("log")
        _number(axes, [(speeds[n], rates[n]) for n in chosen])
        _label_decades(axes, narrow)
        axes.set_xlabel("MB/s of guest memory that is not zero")
        axes.set_ylabel("rate")
        legend_above(axes)

    numbered = {n: str(place + 1) for place, n in enumerate(case.front)}
    best = [f"{place} {case.figures[n].setting.name}" for n, place in numbered.items()]
    told = (
        f"Worth having are {', '.join(best)}."
        if len(best) <= _NAMES_MOST
        else f"{len(best)} are worth having; the table above has their numbers."
    )
    return chart(
        key,
        "Rate against speed",
        "Further up is smaller, further right is faster; bars are the noise (MAD). "
        f"{told}",
        draw,
        Table(
            ("setting", "number", "rate", "speed", "noise"),
            [
                (
                    each.setting.name,
                    numbered.get(n, ""),
                    f"{case.points[n].rate:.2f}",
                    format_rate(case.points[n].speed),
                    format_noise(each.wall),
                )
                for n, each in enumerate(case.figures)
            ],
            drawn=case.front,
        ),
        height=3.8,
    )


def _number(axes: Axes, front: Sequence[tuple[float, float]]) -> None:
    """Above and right of each point, where no other is, or it would be beaten; unless
    it would lie on the number before."""
    axes.autoscale_view()
    figure = axes.get_figure(root=True)
    assert figure is not None
    last = -math.inf, -math.inf
    for number, point in enumerate(front, 1):
        x, y = axes.transData.transform(point) * _POINTS / figure.dpi
        if max(abs(x - last[0]), abs(y - last[1])) >= _NUMBER_POINTS:
            axes.annotate(
                str(number),
                point,
                xytext=(5, 4),
                textcoords="offset points",
                fontweight="bold",
            )
            last = x, y


def _plain(value: float, _place: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _label_decades(axes: Axes, narrow: bool) -> None:
    """Of a logarithmic axis; between powers of ten only where there is room."""
    axes.xaxis.set_major_formatter(_plain)
    least, most = axes.get_xlim()
    powers = math.floor(math.log10(most)) - math.ceil(math.log10(least)) + 1
    if not narrow or powers < _POWERS_ENOUGH:
        axes.xaxis.set_minor_formatter(_minor)
    else:
        axes.xaxis.set_minor_formatter("")


def _minor(value: float, place: float) -> str:
    """2 and 5 have labels too: the axis may not span a power of ten."""
    digit = f"{value:.0e}"[0]
    return _plain(value, place) if digit in "25" else ""


# --- Threads ------------------------------------------------------------------------


def _scaling(case: Case, key: str) -> Chart | None:
    families = {f: members for f, members in case.by_family.items() if len(members) > 1}
    if not families:
        return None
    shown = case.drawn(list(families), LINES_MOST)
    every = [m for members in families.values() for m in members]
    times = [t for members in families.values() for t in _speedups(members)]
    from_few = ""
    if any(members[0].setting.threads > 1 for members in families.values()):
        from_few = " The fewest that were measured are taken to be ideal."

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
        ticks = sorted({m.setting.threads for f in shown for m in families[f]})
        axes.set_xticks(ticks, list(map(str, ticks)))
        axes.set_xlabel("threads")
        axes.set_ylabel("times as fast")
        axes.set_ylim(bottom=0)
        legend_above(axes)

    return chart(
        key,
        "Scaling by threads",
        f"How many times as fast as one thread, and what would be ideal.{from_few}"
        + drawn_of(shown, families, "ways to compress"),
        draw,
        Table(
            ("setting", "speed", "times as fast"),
            [
                (m.setting.name, format_rate(m.speed), f"{faster:.2f}")
                for m, faster in zip(every, times, strict=True)
            ],
            drawn=places((m for f in shown for m in families[f]), every),
        ),
        height=3.8,
    )


def _speedups(members: Sequence[Figures]) -> list[float]:
    """Over the fewest threads, taken to be as fast as so many are ideally."""
    first = members[0]
    return [first.setting.threads * m.speed / first.speed for m in members]


# --- Times --------------------------------------------------------------------------


def _request_times(case: Case, key: str) -> Chart | None:
    shown = case.rows(ROWS_MOST)
    if not any(each.request_seconds("most") for each in shown):
        return None

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
        rows_axis(axes, [each.setting.name for each in shown])
        axes.set_xscale("log")
        _label_decades(axes, narrow)
        axes.grid(axis="y", alpha=0.25)
        axes.set_xlabel("ms in the handler")
        legend_above(axes)

    return chart(
        key,
        "Time of a request",
        "The median of the rounds, of percentiles over the requests of a run: a "
        "request is up to 512 KiB of memory."
        + drawn_of(shown, case.figures, "settings"),
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
            drawn=places(shown, case.figures),
        ),
        height=1.4 + ROW_INCHES * len(shown),
    )


def _cpu(case: Case, key: str) -> Chart:
    shown = case.rows(ROWS_MOST)

    def draw(axes: Axes, narrow: bool) -> None:
        costs = [each.cpu_seconds_per_gib for each in shown]
        noise = [
            cost * each.cpu.relative_mad
            for cost, each in zip(costs, shown, strict=True)
        ]
        axes.barh(
            range(len(shown)), costs, xerr=noise, color=COLORS[0], ecolor=COLORS[5]
        )
        rows_axis(axes, [each.setting.name for each in shown])
        axes.set_xlabel("CPU seconds per GiB")

    return chart(
        key,
        "CPU time",
        "For each GiB of guest memory, of all threads together, in the median round; "
        "thin bars are the noise (MAD)." + drawn_of(shown, case.figures, "settings"),
        draw,
        Table(
            ("setting", "CPU s/GiB", "noise"),
            [
                (
                    each.setting.name,
                    f"{each.cpu_seconds_per_gib:.3f}",
                    format_noise(each.cpu),
                )
                for each in case.figures
            ],
            drawn=places(shown, case.figures),
        ),
        height=1 + ROW_INCHES * len(shown),
    )
