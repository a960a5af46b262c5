# SPDX-License-Identifier: LGPL-2.1-or-later
"""A benchmark of work queues on the terminal: speed, cost, and a plot."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migcomp.bench.queue_results import EMPTY, QueueBench, Series
from migcomp.report.bars import bar
from migcomp.report.parts import print_indented, print_text
from migcomp.report.printable import printable
from migcomp.report.queue_advice import advice
from migcomp.results import Machine
from migcomp.units import (
    format_count,
    format_rate,
    format_seconds,
    format_share,
    format_size,
    many,
)

_STYLES = ("green", "yellow", "magenta", "cyan", "blue")
_BAR_LEAST = 10
_WIDE = 80  # from here on there are two blanks between columns


def render(result: QueueBench, console: Console) -> None:
    """Print ``result`` in the width that ``console`` has."""
    print_text(console, _headline(result), style="bold")
    console.print()
    gap = 2 if console.width >= _WIDE else 1
    for table in (_speed(result, gap), _cost(result, gap)):
        print_indented(console, table, least_width=_WIDE)
        console.print()
    print_indented(console, *_plot(result, console))
    console.print()
    print_text(console, _how(result))
    print_text(console, _where(result.machine))
    for sentence in advice(result):
        print_text(console, f"Note: {sentence}", style="yellow")


def _headline(result: QueueBench) -> str:
    plan = result.plan
    each = f"{many(plan.requests, 'request')} of {many(plan.request_pages, 'page')}"
    if plan.handler == EMPTY:
        return f"{each}, nothing to do"
    loop = format_seconds(result.loop_ns_per_request().median / 1e9)
    return f"{each}, {loop} of work each"


def _speed(result: QueueBench, gap: int) -> Table:
    table = _table(gap, "ns/request", "MAD", "pages/s", "MB/s", "of ideal")
    for series in result.series:
        cost, efficiency = result.ns_per_request(series), result.efficiency(series)
        table.add_row(
            *_name(series),
            format_count(cost.median),
            f"{100 * cost.relative_mad:.1f} %" if cost.rounds > 1 else "-",
            format_count(result.pages_per_second(series)),
            format_rate(result.bytes_per_second(series)).removesuffix(" MB/s"),
            f"{100 * efficiency.median:.0f} %" if efficiency else "-",
        )
    return table


def _cost(result: QueueBench, gap: int) -> Table:
    table = _table(gap, "CPU ns", "busy", "wake-ups", "spins", "idle CPU")
    for series in result.series:
        table.add_row(
            *_name(series),
            format_count(result.cpu_ns_per_request(series)),
            format_share(result.busy_rate(series), 1),
            _each(result.wakeups(series)),
            _each(result.spins(series)),
            format_share(result.idle_cpu(series), 1),
        )
    return table


def _table(gap: int, *headings: str) -> Table:
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("design", no_wrap=True)
    for heading in ("queue", *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _name(series: Series) -> tuple[str, str]:
    return series.design, _size(series)


def _size(series: Series) -> str:
    return f"{series.threads} x {series.requests_per_thread}"


def _each(count: float | None) -> str:
    """A count for each request."""
    return "-" if count is None else f"{count:.3f}" if count < 10 else f"{count:,.0f}"


def _plot(result: QueueBench, console: Console) -> list[Text | Table]:
    """Pages per second, a bar for each row; dots go on to what is ideal."""
    speeds = [result.pages_per_second(series) for series in result.series]
    efficiencies = [result.efficiency(series) for series in result.series]
    ideals = [
        speed / efficiency.median if efficiency else 0.0
        for speed, efficiency in zip(speeds, efficiencies, strict=True)
    ]
    names = [f"{s.design} {s.threads} x {s.requests_per_thread}" for s in result.series]
    most = max(*speeds, *ideals, 0.0)
    width = max(_BAR_LEAST, console.width - 4 - max(map(len, names)))
    styles = dict(
        zip(dict.fromkeys(s.design for s in result.series), _STYLES, strict=False)
    )
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    for series, name, speed, ideal in zip(
        result.series, names, speeds, ideals, strict=True
    ):
        drawn = bar(speed / most, ideal / most, width, console.options.ascii_only)
        grid.add_row(name, Text(drawn, style=styles[series.design]))
    heading = Text("pages per second", style="cyan")
    heading.append(
        f"  {format_count(most)} at full width"
        + ("; dots up to the ideal" if any(ideals) else ""),
        style="default",
    )
    return [heading, grid]


def _how(result: QueueBench) -> str:
    plan, codec = result.plan, result.codec
    work = f"handler {plan.handler}"
    if codec is not None:
        library = printable(" ".join(filter(None, (codec.provider, codec.version))))
        work += f" level {plan.level} by {library}, compression rate "
        work += f"{plan.memory / result.bytes_out:.2f}"
    return (
        f"{format_size(plan.memory)} in {many(plan.repeat, 'round')}, medians; {work}; "
        "queue is threads x requests; CPU, wake-ups and spins are for each request; "
        "ideal is the bare loop divided among threads or CPUs"
    )


def _where(machine: Machine) -> str:
    return (
        f"{machine.cpu}, {many(machine.usable_cpus, 'usable CPU')}, {machine.kernel}, "
        f"Python {machine.python}, load {machine.load_average:.2f}"
    )
