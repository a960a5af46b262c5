# SPDX-License-Identifier: LGPL-2.1-or-later
"""An evacuation on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migcomp.fleet.advice import format_duration, missed, notes, verdict
from migcomp.fleet.results import Evacuation, FleetResult
from migcomp.report.parts import plain_table, print_indented, print_text
from migcomp.report.printable import printable
from migcomp.units import (
    format_bit_rate,
    format_count,
    format_share,
    format_size,
)

#: Rows of a table; --json has all.
_SHOWN = 12
_NAME_WIDTH = 24


def render(result: FleetResult, console: Console) -> None:
    """Print ``result`` in the width that ``console`` has."""
    asked, plain = result.asked, result.plain
    first, *warnings = verdict(result)
    good = asked.seconds <= plain.seconds and not asked.forced
    print_text(console, printable(first), style="bold green" if good else "bold yellow")
    for sentence in warnings:
        print_text(console, printable(sentence), style="bold red")
    console.print()
    print_indented(console, _summary(result))
    console.print()
    print_indented(console, _guests(result))
    if len(asked.hosts) > 1:
        console.print()
        print_indented(console, _hosts(result))
    console.print()
    print_indented(console, _links(asked))
    console.print()
    for sentence in notes(result):
        print_text(console, printable(sentence))


_FIGURES: tuple[tuple[str, Callable[[Evacuation], str]], ...] = (
    ("evacuation", lambda each: format_duration(each.seconds)),
    ("worst downtime", lambda each: format_duration(each.worst.downtime)),
    ("  of guest", lambda each: _name(each.worst.name)),
    ("not converged", lambda each: format_count(len(each.forced))),
    ("over the limit", lambda each: format_count(len(missed(each)))),
    ("over the links", lambda each: format_size(each.wire_bytes)),
    ("CPU time", lambda each: format_duration(each.cpu_seconds)),
    ("taken from guests", lambda each: _taken(each)),
)


def _summary(result: FleetResult) -> Table:
    """A column for each way."""
    table = plain_table("", *(_heading(each) for each in result.evacuations))
    for name, figure in _FIGURES:
        cells = (Text(figure(each)) for each in result.evacuations)
        table.add_row(name, *cells)
    return table


def _heading(evacuation: Evacuation) -> str:
    if evacuation.way.method == "none":
        return "without compression"
    return str(evacuation.way)


def _taken(evacuation: Evacuation) -> str:
    taken = sum(host.taken for host in evacuation.hosts)
    if taken < 1e-3:
        return "nothing"
    share = format_share(evacuation.taken_share, 1)
    return f"{format_duration(taken)} ({share})"


def _name(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 3]}..."


def _guests(result: FleetResult) -> Table:
    """By the tables of the file they are in, those that are alike together."""
    asked = result.asked
    table = plain_table("guests", "number", "memory", "each takes", "bytes", "stopped")
    number = 0
    kinds = {name: each for each in result.fleet.leaving for name in each.names}
    for name, group in groupby(asked.guests, key=lambda guest: kinds[guest.name].name):
        number += 1
        if number > _SHOWN:
            continue
        alike = [*group]
        forced = sum(not guest.converged for guest in alike)
        table.add_row(
            Text(_name(name)),
            format_count(len(alike)),
            format_size(alike[0].memory),
            _span([guest.seconds for guest in alike]),
            format_size(sum(guest.wire_bytes for guest in alike)),
            format_duration(max(guest.downtime for guest in alike))
            + (" !" if forced else ""),
        )
    if number > _SHOWN:
        table.add_row(f"and {format_count(number - _SHOWN)} more kinds")
    if asked.forced:
        table.add_row("! by force")
    return table


def _span(values: list[float]) -> str:
    """From the least to the most, if that differs to the eye."""
    least, most = format_duration(min(values)), format_duration(max(values))
    return most if least == most else f"{least} to {most}"


def _hosts(result: FleetResult) -> Table:
    table = plain_table("hosts", "guests", "empty after", "CPU time", "from guests")
    hosts = sorted(result.asked.hosts, key=lambda host: -host.seconds)
    for host in hosts[:_SHOWN]:
        table.add_row(
            Text(_name(host.name)),
            format_count(host.guests),
            format_duration(host.seconds),
            format_duration(host.cpu_seconds),
            format_share(host.taken, host.wanted),
        )
    if len(hosts) > _SHOWN:
        table.add_row(f"and {format_count(len(hosts) - _SHOWN)} more")
    return table


def _links(evacuation: Evacuation) -> Table:
    """The busiest first."""
    table = plain_table("links", "for data", "carried", "mean use", "most")
    links = sorted(evacuation.links, key=lambda link: -link.mean)
    for link in links[:_SHOWN]:
        table.add_row(
            Text(_name(link.name)),
            format_bit_rate(link.bytes_per_second),
            format_size(link.wire_bytes),
            format_share(link.mean, 1),
            format_share(link.most, 1),
        )
    if len(links) > _SHOWN:
        table.add_row(f"and {format_count(len(links) - _SHOWN)} more")
    return table
