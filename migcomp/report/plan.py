# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plan on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migcomp.plan.advice import commands, format_time, sureness, verdict
from migcomp.plan.plan import Plan, Row
from migcomp.report.parts import print_indented, print_text
from migcomp.units import format_count, format_seconds, format_size

_INDENT = "    "
_COLUMNS = (
    "total",
    "stopped",
    "con-\nverges",
    "bytes",
    "CPU",
    "pays up to\nMbit/s",
)


def render(plan: Plan, console: Console) -> None:
    """Print ``plan`` in the width that ``console`` has; commands are not wrapped."""
    good = plan.best.good(plan.question)
    for sentence in verdict(plan):
        print_text(console, sentence, style="bold green" if good else "bold red")
    console.print()
    print_indented(console, _table(plan))
    console.print()
    for sentence in sureness(plan):
        print_text(console, sentence)
    console.print()
    found, qemu = commands(plan), plan.question.qemu
    there = "on the destination, started with -incoming defer"
    _print_commands(console, f"{qemu}, QMP, {there}", found.qmp_destination)
    _print_commands(console, "QMP, on the source", found.qmp_source)
    _print_commands(console, f"or in the monitors: {there}", found.hmp_destination)
    _print_commands(console, "monitor, on the source", found.hmp_source)
    libvirt = "or with libvirt instead"
    if found.libvirt:
        libvirt += " ({}.{} or later)".format(*found.libvirt)
    _print_commands(console, libvirt, found.virsh)
    meanwhile = "and while that runs, in another shell"
    _print_commands(console, meanwhile, found.virsh_meanwhile)


def _table(plan: Plan) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("way", no_wrap=True)
    for heading in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for row in plan.rows:
        best = row is plan.best
        found = row.prediction
        converges = found.converges
        table.add_row(
            f"{'*' if best else ' '} {row.candidate}",
            format_time(found.seconds) if converges else "-",
            format_time(found.downtime) if converges else "-",
            _converges(row),
            format_size(found.wire_bytes) if converges else "-",
            format_seconds(found.cpu_seconds) if converges else "-",
            _pays(row),
            style="bold" if best else "",
        )
    return table


def _converges(row: Row) -> str:
    found = row.prediction
    if found.converges and found.throttle_percentage:
        return f"at {found.throttle_percentage} %"
    return "yes" if found.converges else "no"


def _pays(row: Row) -> str:
    if not row.candidate.work:
        return ""
    if row.break_even is None:
        return "any"
    return format_count(row.break_even * 8 / 1e6) if row.break_even else "none"


def _print_commands(console: Console, title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    print_text(console, f"{title}:", style="cyan")
    for line in lines:
        console.print(Text(_INDENT + line), soft_wrap=True)
