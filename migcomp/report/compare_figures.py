# SPDX-License-Identifier: LGPL-2.1-or-later
"""The figures of a comparison of two sweeps, a row for each setting."""

from __future__ import annotations

from migcomp.bench.compare import Comparison, Pair
from migcomp.report.sweep_figures import SETTING_COLUMNS, mark, number
from migcomp.report.tables import Column, FigureTable, Value


def _ratio(value: Value) -> str:
    return f"{number(value):.3f}"


_COLUMNS = (
    *SETTING_COLUMNS,
    Column(
        "speed-before-bytes-per-second",
        "Guest memory in a second, in the first sweep.",
        "MB/s before",
        lambda value: f"{number(value) / 1e6:.0f}",
    ),
    Column(
        "speed-after-bytes-per-second",
        "Guest memory in a second, in the second sweep.",
        "after",
        lambda value: f"{number(value) / 1e6:.0f}",
    ),
    Column("speed-ratio", "Second speed over the first.", "speed", _ratio),
    Column(
        "significant",
        "The difference of the times is more than noise.",
        "p < 0.01",
        mark,
    ),
    Column("rounds-least", "Samples counted, of the sweep that has fewer.", "rounds"),
    Column("p-value", "Of the U test on the times of the rounds.", "p", _ratio),
    Column("noise-ratio", "The larger relative MAD of the two."),
    Column("rate-ratio", "Second compression rate over the first.", "rate", _ratio),
)


def compare_table(comparison: Comparison) -> FigureTable:
    return FigureTable("compare", _COLUMNS, [_row(pair) for pair in comparison.pairs])


def _row(pair: Pair) -> dict[str, Value]:
    return {
        "image": pair.before.image.path,
        **vars(pair.before.setting),
        "speed-before-bytes-per-second": pair.before.speed,
        "speed-after-bytes-per-second": pair.after.speed,
        "speed-ratio": pair.speed_ratio,
        "significant": pair.significant,
        "rounds-least": min(pair.before.wall.rounds, pair.after.wall.rounds),
        "p-value": pair.p_value,
        "noise-ratio": pair.noise,
        "rate-ratio": pair.rate_ratio,
    }
