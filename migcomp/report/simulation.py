# SPDX-License-Identifier: LGPL-2.1-or-later
"""A simulated migration on the terminal: the answer, its rounds, a time line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migcomp.precopy.results import Round, SimulationResult
from migcomp.report.parts import (
    INDENT,
    print_indented,
    print_text,
    short_name,
)
from migcomp.report.printable import printable
from migcomp.units import (
    format_bit_rate,
    format_count,
    format_rate,
    format_seconds,
    format_size,
    many,
)

_SHOWN = 12
_HEADINGS = ("time", "dirty", "sent", "zero", "bytes", "Mbit/s", "CPU")
#: Columns that a narrow screen can do without.
_SPARED = ("zero", "Mbit/s", "CPU")


def render(result: SimulationResult, console: Console) -> None:
    """Print ``result`` in the width that ``console`` has."""
    style = "bold green" if result.converged else "bold red"
    for sentence in _answer(result):
        print_text(console, sentence, style=style)
    console.print()
    print_indented(console, _figures(result))
    console.print()
    print_indented(console, _rounds(result, console))
    console.print()
    print_indented(console, *_time_line(result, console))
    console.print()
    for sentence in (*_how(result), *_doubts(result)):
        print_text(console, sentence)


def _answer(result: SimulationResult) -> list[str]:
    name = short_name(result.images[0], "standard input")
    total = _seconds(result.rounds[-1].end_ns / 1e9)
    size = format_size(result.memory_bytes)
    if not result.converged:
        return [
            f"{name}: {size} not migrated: cancelled after {total}, because "
            f"{result.reason}"
        ]
    down = _seconds(result.rounds[-1].seconds)
    return [
        f"{name}: {size} migrated in {total}, with the guest stopped for {down}",
        *_overrun(result),
    ]


def _overrun(result: SimulationResult) -> list[str]:
    """Why the guest was stopped for longer than it may be."""
    last, link = result.rounds[-1], result.link.bytes_per_second
    limit = result.parameters.downtime_limit / 1000
    if not last.stopped or last.seconds <= limit:
        return []
    waiting = last.waiting_bytes / link
    reckoned = last.threshold_bytes / limit if limit else 0.0
    if last.seconds - waiting <= limit:
        why = (
            f"{format_seconds(waiting)} of it went by while "
            f"{format_size(last.waiting_bytes)} that QEMU had written before left the "
            "kernel's buffer, of which QEMU does not know"
        )
    elif reckoned > link:
        why = (
            f"QEMU reckoned with {format_bit_rate(reckoned)}, and the link carries "
            f"{format_bit_rate(link)} of data"
        )
    else:
        why = "more was left than QEMU reckoned with"
    return [f"That is longer than the downtime limit: {why}"]


def _figures(result: SimulationResult) -> Table:
    statistics, ram = result.statistics, result.statistics.ram
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    seconds = result.rounds[-1].end_ns / 1e9
    rate = result.wire_bytes / seconds if seconds else 0.0
    handled = sum(r.sent.handled for r in result.rounds)
    unchanged = sum(r.unchanged_pages for r in result.rounds)
    rows = {
        "converged": "yes" if result.converged else "no",
        "over the link": f"{format_size(result.wire_bytes)}, {format_rate(rate)}, "
        f"{format_bit_rate(rate)} (link {format_bit_rate(result.link.bandwidth / 8)})",
        "CPU": f"{format_seconds(result.cpu_seconds)} on the source",
        "pages": f"{format_count(handled)} sent, {format_count(ram.duplicate)} of them "
        f"zero; {format_count(unchanged)} again without need (fake dirty)",
    }
    sleep_us = statistics.dirty_limit_throttle_time_per_round
    if statistics.cpu_throttle_percentage:
        rows["guest"] = f"throttled, {statistics.cpu_throttle_percentage} % at last"
    elif sleep_us:
        rows["guest"] = (
            f"a vCPU slept {format_seconds(sleep_us / 1e6)} each time its ring was full"
        )
    for name, text in rows.items():
        grid.add_row(name, text)
    return grid


def _rounds(result: SimulationResult, console: Console) -> Table:
    """No cell is ever cut off: what there is no room for is left out, the least
    interesting first, which --json has."""
    table = _round_table(result, 2)
    for left_out in ((), _SPARED[:1], _SPARED[:2], _SPARED):
        if _width(table, console) <= console.width - INDENT:
            break
        table = _round_table(result, 1, left_out)
    return table


def _width(table: Table, console: Console) -> int:
    unlimited = console.options.update_width(10 * console.width)
    return console.measure(table, options=unlimited).maximum


def _round_table(
    result: SimulationResult, gap: int, left_out: Sequence[str] = ()
) -> Table:
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("round", no_wrap=True)
    headings = [heading for heading in _HEADINGS if heading not in left_out]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    rounds = result.rounds
    shown = rounds if len(rounds) <= _SHOWN else (*rounds[: _SHOWN - 3], *rounds[-3:])
    for round_ in shown:
        if len(rounds) > _SHOWN and round_ is rounds[-3]:
            table.add_row(f"{len(rounds) - _SHOWN} more")
        cells = _cells(round_)
        table.add_row(_name(round_), *(cells[heading] for heading in headings))
    return table


def _cells(round_: Round) -> dict[str, str]:
    """By heading."""
    rate = format_bit_rate(round_.bytes_per_second).removesuffix(" Mbit/s")
    texts = (
        _seconds(round_.seconds),
        format_count(round_.dirty_pages),
        format_count(round_.sent.handled),
        format_count(round_.sent.duplicate),
        format_size(round_.sent.wire_bytes),
        rate if round_.seconds else "-",
        _seconds(round_.cpu_ns / 1e9),
    )
    return dict(zip(_HEADINGS, texts, strict=True))


def _seconds(seconds: float) -> str:
    return format_seconds(seconds) if seconds else "0 s"


def _name(round_: Round) -> str:
    if round_.iteration == 1:
        return "1 bulk"
    return f"{round_.iteration} {'stopped' if round_.stopped else 'dirty'}"


def _time_line(result: SimulationResult, console: Console) -> list[Text]:
    """A cell for each part of the total time."""
    marks = ("#", "+", "x") if console.options.ascii_only else ("█", "▒", "X")
    last = result.rounds[-1]
    end = last.end_ns
    width = max(16, min(64, console.width - 24))
    line = Text()
    for cell in range(width):
        middle = (cell + 0.5) * end / width
        here = next((r for r in result.rounds if middle < r.end_ns), last)
        kind = 2 if here.stopped else 0 if here.iteration == 1 else 1
        line.append(marks[kind], ("blue", "yellow", "red")[kind])
    line.append(f"  {_seconds(end / 1e9)}")
    legend = f"{marks[0]} bulk round  {marks[1]} dirty rounds  {marks[2]} guest stopped"
    return [Text("time line", style="cyan"), line, Text(legend)]


def _how(result: SimulationResult) -> list[str]:
    parameters = result.parameters
    limit = (
        f"max-bandwidth {format_rate(parameters.max_bandwidth)}"
        if parameters.max_bandwidth
        else "no bandwidth limit"
    )
    costs = f"CPU time {'' if result.measured else 'from '}{printable(result.costs)}"
    return [
        f"{result.engine_description}; {limit}, downtime-limit "
        f"{parameters.downtime_limit} ms; {printable(result.guest)}",
        f"{costs}; {many(len(result.rounds), 'round')} simulated in "
        f"{format_seconds(result.real_seconds)}, and the other side found equal"
        if result.converged
        else costs,
    ]


def _doubts(result: SimulationResult) -> list[str]:
    if result.engine != "compress" or not result.measured:
        return []
    return [
        "compress-threads' time depends on how long a page's hand-over to a thread "
        "takes, which a busy machine measures otherwise than an idle one; this one's "
        f"load average was {result.machine.load_average:.1f}, with "
        f"{many(result.machine.usable_cpus, 'CPU')}"
    ]
