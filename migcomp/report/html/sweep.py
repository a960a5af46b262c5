# SPDX-License-Identifier: LGPL-2.1-or-later
"""The results of sweeps as a page: the answer first, then charts, then all figures;
and behind them simulated migrations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from migcomp.bench.sweep_figures import Figures
from migcomp.bench.sweep_results import Sweep, SweepMachine
from migcomp.report.html.charts import Chart, Table
from migcomp.report.html.page import page
from migcomp.report.html.simulations import Simulation, migration
from migcomp.report.html.sweep_case import (
    Case,
    answer,
    best_range,
    cases,
    link_rows,
    titles,
)
from migcomp.report.html.sweep_charts import charts
from migcomp.report.sweep_advice import advice
from migcomp.units import format_rate, format_size, many

#: Told how many of how many parts are done.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Cell:
    """``value`` sorts; a number, or text."""

    text: str
    value: float | str


@dataclass(frozen=True)
class Row:
    cells: Sequence[Cell]
    best: bool


@dataclass(frozen=True)
class Section:
    """One image: ``front`` and ``links`` answer, ``rows`` has everything."""

    key: str
    title: str
    answer: str
    front: Table
    links: Table
    charts: Sequence[Chart]
    headings: Sequence[str]
    rows: Sequence[Row]


def to_html(
    sweeps: Mapping[str, Sweep],
    simulations: Sequence[Simulation] = (),
    progress: Progress | None = None,
) -> bytes:
    """One file that needs nothing else; ``sweeps`` by the paths of their files.

    Raises ResultsError and ExtraMissing.
    """
    names = titles(sweeps)
    found = [
        case for path, sweep in sweeps.items() for case in cases(path, sweep, names)
    ]
    total = len(found) + len(simulations)

    def step(done: int) -> None:
        if progress is not None:
            progress(done, total)

    sections, migrations = [], []
    for number, case in enumerate(found):
        step(number)
        sections.append(_section(case, f"image-{number + 1}"))
    for number, simulation in enumerate(simulations):
        step(len(found) + number)
        migrations.append(migration(simulation, f"migration-{number + 1}"))
    return page(
        "sweep.html",
        title=_title([section.title for section in sections], len(migrations)),
        sections=sections,
        migrations=migrations,
        notes=_notes(sweeps),
        measured=_measured(sweeps),
    )


def _title(images: Sequence[str], migrations: int) -> str:
    if not images:
        return f"How {many(migrations, 'simulated migration')} went"
    shown = ", ".join(images[:3])
    if len(images) > 3:
        shown += f" and {len(images) - 3} more"
    return f"What compressing {shown} costs and brings"


def _section(case: Case, key: str) -> Section:
    return Section(
        key=key,
        title=case.title,
        answer=answer(case),
        front=_front(case),
        links=_links(case),
        charts=charts(case, key),
        headings=(
            "setting",
            "rate",
            "stream",
            "MB/s",
            "non-zero rate",
            "non-zero MB/s",
            "noise %",
            "CPU s/GiB",
            "p50 ms",
            "p99 ms",
            "rounds",
            "outliers",
        ),
        rows=[
            Row(_cells(each, case, number), number in case.front)
            for number, each in enumerate(case.figures)
        ],
    )


def _front(case: Case) -> Table:
    rows = [
        (
            f"{place} {case.figures[number].setting.name}",
            best_range(case, number),
            f"{case.points[number].rate:.2f}",
            f"{case.points[number].speed / 1e6:,.0f}",
            f"{case.figures[number].cpu_seconds_per_gib:.2f}",
        )
        for place, number in enumerate(case.front, 1)
    ]
    return Table(
        ("worth having", "best on links", "rate", "non-zero MB/s", "CPU s/GiB"),
        rows,
        words=2,
    )


def _links(case: Case) -> Table:
    rows = []
    for row in link_rows(case):
        rows.append(
            (
                row.link,
                row.best.setting.name if row.best else "as it is",
                f"{row.guest_bytes_per_second / row.plain_bytes_per_second:.2f}",
                format_rate(row.guest_bytes_per_second),
            )
        )
    return Table(("link", "take", "times as fast", "guest memory"), rows, words=2)


def _cells(each: Figures, case: Case, number: int) -> list[Cell]:
    point = case.points[number]

    def figure(value: float, digits: int) -> Cell:
        return Cell(f"{value:,.{digits}f}", value)

    def milliseconds(name: str) -> Cell:
        seconds = each.request_seconds(name)
        return Cell("", -1) if seconds is None else figure(seconds * 1e3, 3)

    stream = each.result.stream_bytes
    return [
        Cell(each.setting.name, each.setting.name),
        figure(each.rate, 2),
        Cell(format_size(stream), stream),
        figure(each.speed / 1e6, 0),
        figure(point.rate, 2),
        figure(point.speed / 1e6, 0),
        Cell("", -1) if each.wall.rounds < 2 else figure(100 * each.noise, 1),
        figure(each.cpu_seconds_per_gib, 3),
        milliseconds("p50"),
        milliseconds("p99"),
        figure(each.wall.rounds, 0),
        figure(len(each.outliers), 0),
    ]


def _notes(sweeps: Mapping[str, Sweep]) -> list[str]:
    """Why the figures may mislead."""
    if len(sweeps) == 1:
        return [sentence for sweep in sweeps.values() for sentence in advice(sweep)]
    return [
        f"{path}: {sentence}"
        for path, sweep in sweeps.items()
        for sentence in advice(sweep)
    ]


def _measured(sweeps: Mapping[str, Sweep]) -> list[str]:
    """Whence the figures come."""
    lines = []
    for path, sweep in sweeps.items():
        lines.append(f"{path}: {many(len(sweep.samples), 'sample')}.")
        lines += map(_machine, sweep.machines)
    if not sweeps:
        return lines
    lines.append(
        "Rates and speeds that are compared with links are of pages that are not "
        "zero, which is what compression and the link have to do with.  Times are "
        "medians of the rounds.  Either the link or the compressor limits a setting; "
        "the time to decompress is not counted."
    )
    return lines


def _machine(machine: SweepMachine) -> str:
    libraries = ", ".join(
        " ".join(filter(None, (codec.name, "by", codec.provider, codec.version)))
        for codec in machine.codecs
        if codec.name != "none"
    )
    governor = f", governor {machine.governor}" if machine.governor else ""
    return (
        f"{machine.host}: {machine.cpu}, {many(machine.usable_cpus, 'usable CPU')} of "
        f"{machine.cpus}{governor}, {format_size(machine.memory_bytes)}, "
        f"{machine.kernel}, Python {machine.python}, migcomp {machine.migcomp}; "
        f"{libraries}."
    )
