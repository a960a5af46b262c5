# SPDX-License-Identifier: LGPL-2.1-or-later
"""The report of a comparison on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from benchmarks.contenders import Contender
from benchmarks.samples import Sample, ratios, values_of
from benchmarks.targets import Verdict
from migcomp.bench.statistics import summarize

#: The bare loop that does the same work, by the end of a contender's name.
_LIMITS = {
    f"{kind}-{work}": f"limit-{work}"
    for kind in ("engine", "run")
    for work in (
        "zstd-page",
        "zstd-page-1t",
        "zstd-packet",
        "lz4-page",
        "zlib-page",
        "libdeflate-page",
    )
} | {
    "engine-zstd-page-8t": "limit-zstd-page",
    "run-zstd-packet-dedup": "limit-zstd-packet",
    "zstandard-multi": "limit-zstd-page",
    "executor-zstandard": "limit-zstd-page",
    "blosc2-zstd": "limit-zstd-page",
}


def times_table(
    contenders: Sequence[Contender], measured: Mapping[str, Sequence[Sample]]
) -> Table:
    """Contenders that take time to write bytes; README.md says what they are."""
    table = Table(title="Times")
    table.add_column("contender", no_wrap=True)
    for column in ("wall s", "MAD", "fastest", "CPU s", "MB out"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("of limit", justify="right")
    for contender in contenders:
        samples = measured.get(contender.name, ())
        walls = values_of(samples, "wall_seconds")
        if not walls:
            continue
        wall = summarize(walls)
        cpu = values_of(samples, "cpu_seconds")
        out = values_of(samples, "bytes_out")
        table.add_row(
            contender.name,
            f"{wall.median:.3f}",
            f"{100 * wall.relative_mad:.1f} %",
            f"{wall.least:.3f}",
            f"{summarize(cpu).median:.2f}" if cpu else "-",
            f"{summarize(out).median / 1e6:.1f}" if out else "-",
            _of_limit(contender.name, measured),
        )
    return table


def _of_limit(name: str, measured: Mapping[str, Sequence[Sample]]) -> str:
    """Speed as a share of the bare loop's."""
    limits = values_of(measured.get(_LIMITS.get(name, ""), ()), "wall_seconds")
    if not limits:
        return "-"
    shares = summarize(ratios(limits, values_of(measured[name], "wall_seconds")))
    return f"{shares.median:.2f}"


def costs_table(
    contenders: Sequence[Contender], measured: Mapping[str, Sequence[Sample]]
) -> Table:
    """Everything else that was measured."""
    table = Table(title="Costs")
    table.add_column("contender")
    table.add_column("quantity")
    for column in ("median", "MAD", "least"):
        table.add_column(column, justify="right", no_wrap=True)
    for contender in contenders:
        samples = measured.get(contender.name, ())
        if not samples or "wall_seconds" in samples[0]:
            continue
        for quantity in samples[0]:
            cost = summarize(values_of(samples, quantity))
            table.add_row(
                contender.name,
                quantity,
                _number(cost.median),
                f"{100 * cost.relative_mad:.1f} %",
                _number(cost.least),
            )
    return table


def targets_table(verdicts: Sequence[Verdict]) -> Table:
    table = Table(title="Targets")
    table.add_column("target")
    for column in ("wanted", "measured", "MAD"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict")
    for verdict in verdicts:
        value = verdict.value
        style = "" if value is None else "green" if verdict.met else "red"
        table.add_row(
            verdict.target.name,
            verdict.target.wanted,
            _number(value.median) if value else "-",
            f"{100 * value.relative_mad:.1f} %" if value else "-",
            verdict.text,
            style=style,
        )
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
