# SPDX-License-Identifier: LGPL-2.1-or-later
"""A sweep on the terminal: what to take for which link, then every setting."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migcomp.bench.sweep_figures import Figures
from migcomp.bench.sweep_results import Sweep, SweepMachine
from migcomp.report.bars import bar
from migcomp.report.links import about, format_links
from migcomp.report.parts import distinct_names, print_indented, print_text
from migcomp.report.printable import printable
from migcomp.report.sweep_advice import advice
from migcomp.report.sweep_figures import ImageFigures, by_image, format_noise
from migcomp.units import (
    format_bit_rate,
    format_rate,
    format_seconds,
    format_share,
    format_size,
    many,
)

#: With as many columns there is room for what a queue and its requests did.
_WIDE = 120
_BAR_MOST = 48
_FRONT = "bold"


def render(sweep: Sweep, console: Console) -> None:
    """Print ``sweep`` in the width that ``console`` has."""
    names = distinct_names(image.path for image in sweep.plan.images)
    for figures in by_image(sweep):
        name = names[figures.image.path]
        print_text(console, f"{name}: {_what(sweep, figures)}", style="bold")
        console.print()
        print_indented(console, Text("best for a link", style="cyan"), _links(figures))
        console.print()
        print_indented(console, _settings(figures, console))
        console.print()
    print_text(
        console,
        "medians; * worth having: no other has its rate and its speed, but for noise "
        "(MAD of the time); links and what helps are told by the pages that are not "
        "zero, which QEMU sends as a few bytes anyway",
    )
    if narrow := about(best for figures in by_image(sweep) for best in figures.best):
        print_text(console, narrow)
    for machine in sweep.machines:
        print_text(console, _where(machine))
    for sentence in advice(sweep):
        print_text(console, f"Note: {printable(sentence)}", style="yellow")


def _what(sweep: Sweep, figures: ImageFigures) -> str:
    return (
        f"{format_size(figures.image.bytes)}, {many(len(figures.figures), 'setting')} "
        f"in {many(sweep.plan.rounds, 'round')}"
    )


def _links(figures: ImageFigures) -> Table:
    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_column(justify="right", no_wrap=True)
    for _ in range(3):
        grid.add_column(no_wrap=True)
    for best in figures.best:
        found = figures.figures[best.index]
        grid.add_row(
            format_links(best, format_bit_rate),
            Text(found.setting.name, style=_FRONT),
            f"rate {found.rate:.2f}",
            format_rate(found.speed),
        )
    last = figures.best[-1].fastest if figures.best else 0.0
    grid.add_row(
        f"from {format_bit_rate(last)}" if last else "any link",
        "no compression",
        "",
        "",
    )
    return grid


def _settings(figures: ImageFigures, console: Console) -> Table:
    wide = console.width >= _WIDE
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("setting", no_wrap=True)
    table.add_column("", no_wrap=True)
    headings = ["rate", "MB/s", "MAD", "CPU s/GiB", "helps below"]
    if wide:
        headings += ["p50", "p99", "busy"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("MB/s", no_wrap=True)
    most = max(f.speed for f in figures.figures)
    room = min(_BAR_MOST, console.width - _WIDE + 12)
    for i, found in enumerate(figures.figures):
        on_front = i in figures.front
        row = [found.setting.name, "*" if on_front else "", *_cells(found)]
        if wide:
            row += [
                _time(found.request_seconds("p50")),
                _time(found.request_seconds("p99")),
                format_share(found.busy_share, 1),
                bar(found.speed / most, 0, room, console.options.ascii_only),
            ]
        table.add_row(*row, style=_FRONT if on_front else None)
    return table


def _cells(found: Figures) -> list[str]:
    link = found.point.break_even
    return [
        f"{found.rate:.2f}",
        format_rate(found.speed).removesuffix(" MB/s"),
        format_noise(found.wall),
        f"{found.cpu_seconds_per_gib:.2f}",
        format_bit_rate(link) if link else "no link",
    ]


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else format_seconds(seconds)


def _where(machine: SweepMachine) -> str:
    libraries = ", ".join(
        " ".join(filter(None, (codec.provider, codec.version)))
        for codec in machine.codecs
        if codec.name != "none"
    )
    governor = f", governor {machine.governor}" if machine.governor else ""
    return printable(
        f"{machine.host}: {machine.cpu}, {many(machine.usable_cpus, 'usable CPU')} on "
        f"{many(machine.cores, 'core')}, {format_size(machine.memory_bytes)}"
        f"{governor}, {machine.kernel}, Python {machine.python}, "
        f"migcomp {machine.migcomp}, {libraries}"
    )
