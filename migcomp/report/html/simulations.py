# SPDX-License-Identifier: LGPL-2.1-or-later
"""Simulated migrations on a page: what became of them, and how they went in time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migcomp.errors import ResultsError
from migcomp.report.html.charts import COLORS, NEUTRAL, Chart, Table, chart
from migcomp.report.simulation_json import SCHEMA
from migcomp.small_file import read_small
from migcomp.units import format_count, format_seconds, format_size, quoted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: A longer file is none: it would have tens of thousands of rounds.
_SIZE_MOST = 16 << 20
_SENT = ("normal", "duplicate", "compressed", "xbzrle", "deduplicated", "skipped")


@dataclass(frozen=True)
class Round:
    """``start``, ``end``: virtual seconds; ``dirty`` and ``left``: bytes to be sent
    then; ``rate``: Mbit/s on the link; ``throttle``: percent."""

    start: float
    end: float
    dirty: float
    left: float
    sent: float
    rate: float
    cpu: float
    throttle: float
    stopped: bool


@dataclass(frozen=True)
class Simulation:
    """What a file of ``migcomp simulate --json`` tells."""

    title: str
    answer: str
    link: float  # Mbit/s of payload
    rounds: Sequence[Round]


@dataclass(frozen=True)
class Migration:
    """A simulation, ready for the page."""

    key: str
    title: str
    answer: str
    charts: Sequence[Chart]


def read_simulation(path: str) -> Simulation | None:
    """None if it is no file that ``migcomp simulate --json`` wrote, but may be a
    sweep's.

    Raises ResultsError for one that is damaged, or cannot be read, and for what
    another command wrote.
    """
    with suppress(OSError):  # which is told when it is read
        if Path(path).stat().st_size > _SIZE_MOST:
            return None
    text = read_small(path, _SIZE_MOST, ResultsError)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        name = str(schema)
        if name.startswith("migcomp.") and not name.startswith("migcomp.sweep/"):
            raise ResultsError(
                f"{path} has the schema {quoted(name)}, of which no page is made; give "
                "what migcomp bench sweep, or simulate --json of one migration, wrote"
            )
        return None
    try:
        return _simulation(found)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(
            f"{path} is damaged: it is of migcomp simulate --json, and tells no "
            f"migration; run that again"
        ) from error


def _number(record: Mapping[str, Any], name: str) -> float:
    value = record[name]
    if not isinstance(value, int | float) or not 0 <= value < 1e30:
        raise ValueError(name)
    return float(value)


def _simulation(found: Mapping[str, Any]) -> Simulation:
    size = _number(found, "page-size")
    rounds = [_round(each, size) for each in found["progress-history"]]
    if not rounds:
        raise ValueError("progress-history")
    link = found["link"]
    engine = found["engine"]
    bandwidth = _number(link, "bandwidth-bits-per-second") / 1e6
    return Simulation(
        title=f"{found['images'][0]}, {engine['name']} over "
        f"{format_count(bandwidth)} Mbit/s",
        answer=f"{_outcome(found)} Engine: {engine['description']}. "
        f"Guest: {found['guest']}.",
        link=_number(link, "payload-bytes-per-second") * 8 / 1e6,
        rounds=rounds,
    )


def _round(record: Mapping[str, Any], size: float) -> Round:
    start = _number(record, "start-ns") / 1e9
    dirty = _number(record, "dirty-pages")
    pages = sum(_number(record, f"{name}-pages") for name in _SENT)
    return Round(
        start=start,
        end=start + _number(record, "duration-ns") / 1e9,
        dirty=dirty * size,
        left=max(dirty - pages, 0) * size,
        sent=_number(record, "wire-bytes"),
        rate=_number(record, "transfer-rate-mbs"),
        cpu=_number(record, "cpu-ns") / 1e9,
        throttle=_number(record, "throttle-pcent"),
        stopped=bool(record["guest-stopped"]),
    )


def _outcome(found: Mapping[str, Any]) -> str:
    told = found["query-migrate"]
    total = format_seconds(_number(told, "total-time") / 1e3)
    sent = format_size(_number(found, "wire-bytes"))
    cpu = format_seconds(_number(found, "cpu-seconds"))
    if not found["converged"]:
        return f"Cancelled after {total}: {found['reason']}; {sent} over the link."
    stopped = format_seconds(_number(told, "downtime") / 1e3)
    return (
        f"{total} in all, the guest stopped for {stopped}, {sent} over the link, {cpu} "
        "of CPU time."
    )


# --- Charts ---------------------------------------------------------------------------


def migration(simulation: Simulation, key: str) -> Migration:
    """``key`` begins the names of its charts."""
    charts = [_waiting(simulation, f"{key}-waiting"), _rates(simulation, f"{key}-rate")]
    if any(each.throttle for each in simulation.rounds):
        charts.append(_throttle(simulation, f"{key}-throttle"))
    return Migration(key, simulation.title, simulation.answer, charts)


def _waiting(simulation: Simulation, key: str) -> Chart:
    rounds = simulation.rounds

    def draw(axes: Axes, narrow: bool) -> None:
        times = [time for each in rounds for time in (each.start, each.end)]
        waiting = [size for each in rounds for size in (each.dirty, each.left)]
        mib = [size / 2**20 for size in waiting]
        axes.fill_between(times, mib, color=COLORS[0], alpha=0.3, linewidth=0)
        axes.plot(times, mib, color=COLORS[0], linewidth=1.5)
        for each in rounds:
            if each.stopped:
                axes.axvspan(each.start, each.end, color=COLORS[5], alpha=0.4, lw=0)
        _time_axis(axes, "MiB to be sent")

    last = rounds[-1]
    stopped = f" From {format_seconds(last.start)} on the guest is stopped, which is "
    return chart(
        key,
        "Memory that waits to be sent",
        "It falls while pages are sent, and jumps where the pages that the guest wrote "
        "meanwhile are counted."
        + (f"{stopped}marked." if last.stopped else " The guest runs all the time."),
        draw,
        _table(simulation),
    )


def _rates(simulation: Simulation, key: str) -> Chart:
    return _steps(
        simulation,
        key,
        "Throughput",
        "What each round gave to the socket, which for a moment may take more than the "
        "link; the broken line is all that the link carries.",
        "Mbit/s",
        lambda each: each.rate,
        limit=simulation.link,
    )


def _throttle(simulation: Simulation, key: str) -> Chart:
    return _steps(
        simulation,
        key,
        "Throttling",
        "The share of its time that the guest's CPUs are held back.",
        "%",
        lambda each: each.throttle,
    )


def _steps(
    simulation: Simulation,
    key: str,
    title: str,
    description: str,
    unit: str,
    value: Callable[[Round], float],
    limit: float | None = None,
) -> Chart:
    """A level line for each round that took time."""
    rounds = [each for each in simulation.rounds if each.end > each.start]

    def draw(axes: Axes, narrow: bool) -> None:
        if rounds:
            edges = [each.start for each in rounds] + [rounds[-1].end]
            axes.stairs(
                list(map(value, rounds)), edges, color=COLORS[2], fill=True, alpha=0.5
            )
        if limit is not None:
            axes.axhline(limit, color=NEUTRAL, linestyle="--", linewidth=1)
        _time_axis(axes, unit)

    return chart(key, title, description, draw, _table(simulation), height=2.4)


def _time_axis(axes: Axes, unit: str) -> None:
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel("seconds since the migration began")
    axes.set_ylabel(unit)


def _table(simulation: Simulation) -> Table:
    return Table(
        ("round", "from", "time", "dirty", "sent", "Mbit/s", "CPU", "throttle"),
        [
            (
                f"{number}{' (stopped)' if each.stopped else ''}",
                format_seconds(each.start),
                format_seconds(each.end - each.start),
                format_size(each.dirty),
                format_size(each.sent),
                format_count(each.rate),
                format_seconds(each.cpu),
                f"{each.throttle:.0f} %",
            )
            for number, each in enumerate(simulation.rounds, 1)
        ],
    )
