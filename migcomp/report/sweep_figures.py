# SPDX-License-Identifier: LGPL-2.1-or-later
"""The figures of a sweep's settings, a row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from migcomp.bench.pareto import Best, best_links, front
from migcomp.bench.statistics import Summary
from migcomp.bench.sweep_figures import Figures
from migcomp.bench.sweep_results import Sweep, SweptImage
from migcomp.report.tables import Column, FigureTable, Value
from migcomp.units import format_bit_rate, format_seconds


@dataclass(frozen=True)
class ImageFigures:
    """All settings of one image that were measured, in the order of the plan."""

    image: SweptImage
    figures: tuple[Figures, ...]

    @cached_property
    def front(self) -> frozenset[int]:
        """Numbers of the settings worth having, as pareto.front tells them."""
        return frozenset(front([f.point for f in self.figures]))

    @cached_property
    def best(self) -> tuple[Best, ...]:
        """The best for each link, zero pages left out of account."""
        return tuple(best_links([f.point for f in self.figures]))


def by_image(sweep: Sweep) -> tuple[ImageFigures, ...]:
    """Those images of which anything was measured."""
    found = (
        ImageFigures(image, tuple(map(Figures, sweep.series_of(image))))
        for image in sweep.plan.images
    )
    return tuple(figures for figures in found if figures.figures)


# --- Columns -------------------------------------------------------------------------


def _fixed(digits: int) -> Callable[[Value], str]:
    return lambda value: f"{number(value):.{digits}f}"


def _mb(value: Value) -> str:
    return f"{number(value) / 1e6:.0f}"


def _percent(value: Value) -> str:
    return f"{100 * number(value):.1f} %"


def _seconds(value: Value) -> str:
    return format_seconds(number(value))


def mark(value: Value) -> str:
    return "yes" if value else ""


def number(value: Value) -> float:
    """Of a column that holds numbers."""
    assert isinstance(value, int | float)
    return value


SETTING_COLUMNS = (
    Column("image", "Path of the image.", "image", label=True),
    Column("codec", "Codec.", "codec", label=True),
    Column("level", "Level of the codec.", "level", label=True),
    Column("grouping", "What is compressed together.", "grouping", label=True),
    Column("dedup", "Equal pages are sent once.", "dedup", mark, label=True),
    Column("threads", "Worker threads.", "threads", label=True),
)
_COLUMNS = (
    *SETTING_COLUMNS,
    Column("rounds", "Samples counted."),
    Column("rate", "Image bytes over stream bytes.", "rate", _fixed(2)),
    Column(
        "guest-bytes-per-second",
        "Guest memory compressed in a second, by the median round.",
        "MB/s",
        _mb,
    ),
    Column(
        "noise-ratio",
        "Median absolute deviation of the time, over its median.",
        "MAD",
        _percent,
    ),
    Column("wall-seconds", "Median time of a run.", "time", _seconds),
    Column("wall-mad-seconds", "Median absolute deviation of the time."),
    Column(
        "cpu-seconds-per-gib",
        "CPU seconds of all threads for a GiB of guest memory.",
        "CPU s/GiB",
        _fixed(2),
    ),
    Column("stream-bytes", "Bytes of the stream."),
    Column("nonzero-rate", "Bytes of pages that are not zero over stream bytes."),
    Column(
        "break-even-bytes-per-second",
        "The link below which it helps.",
        "helps below",
        lambda value: format_bit_rate(number(value)),
    ),
    Column("busy-ratio", "Requests that found none free.", "busy", _percent),
    Column("request-p50-seconds", "Median time of a request.", "p50", _seconds),
    Column("request-p99-seconds", "99th percentile of it.", "p99", _seconds),
    Column("request-p999-seconds", "99.9th percentile of it."),
    Column("outliers", "Samples far from all others."),
    Column(
        "front", "No other has its rate and its speed, but for noise.", "front", mark
    ),
    Column("best-from-bytes-per-second", "The slowest link it is the best for."),
    Column("best-to-bytes-per-second", "The fastest link it is the best for."),
)


def sweep_table(sweep: Sweep) -> FigureTable:
    rows = [row for figures in by_image(sweep) for row in _rows(figures)]
    return FigureTable("sweep", _COLUMNS, rows)


def _rows(figures: ImageFigures) -> list[dict[str, Value]]:
    best = {b.index: b for b in figures.best}
    return [
        _row(f, i in figures.front, best.get(i)) for i, f in enumerate(figures.figures)
    ]


def _row(figures: Figures, on_front: bool, best: Best | None) -> dict[str, Value]:
    return {
        "image": figures.image.path,
        **vars(figures.setting),
        "rounds": figures.wall.rounds,
        "rate": figures.rate,
        "guest-bytes-per-second": figures.speed,
        "noise-ratio": figures.noise if figures.wall.rounds > 1 else None,
        "wall-seconds": figures.wall.median,
        "wall-mad-seconds": figures.wall.mad if figures.wall.rounds > 1 else None,
        "cpu-seconds-per-gib": figures.cpu_seconds_per_gib,
        "stream-bytes": figures.result.stream_bytes,
        "nonzero-rate": figures.nonzero_rate,
        "break-even-bytes-per-second": figures.point.break_even,
        "busy-ratio": figures.busy_share,
        "request-p50-seconds": figures.request_seconds("p50"),
        "request-p99-seconds": figures.request_seconds("p99"),
        "request-p999-seconds": figures.request_seconds("p999"),
        "outliers": len(figures.outliers),
        "front": on_front,
        "best-from-bytes-per-second": best.slowest if best else None,
        "best-to-bytes-per-second": best.fastest if best else None,
    }


def format_noise(summary: Summary) -> str:
    """MAD in percent of the median; one round tells nothing of it."""
    return f"{100 * summary.relative_mad:.1f} %" if summary.rounds > 1 else "-"
