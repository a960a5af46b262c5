# SPDX-License-Identifier: LGPL-2.1-or-later
"""The summary of a run on the terminal: one screen, what one asks first on top."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from migcomp.report.advice import advice
from migcomp.report.memory_map import memory_map
from migcomp.report.parts import (
    class_table,
    map_columns,
    map_parts,
    plain_table,
    print_indented,
    print_text,
    short_name,
)
from migcomp.report.printable import printable
from migcomp.results import Machine, RequestTimes, RunResult, Settings, Worker
from migcomp.units import (
    format_bit_rate,
    format_count,
    format_rate,
    format_seconds,
    format_share,
    format_size,
    many,
)

_BESIDE = 150  # from this width on, the map stands beside the figures
_MAP_ROWS = 8
_WORKERS_SHOWN = 4  # by name; of more, the least and the most
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


def render(result: RunResult, console: Console) -> None:
    """Print the summary of ``result`` in the width that ``console`` has."""
    figures = _figures(result)
    classes = class_table(
        result, result.settings.page_size, dedup=result.settings.dedup
    )
    console.print(_headline(result))
    console.print()
    if console.width >= _BESIDE:
        beside = Table.grid(padding=(0, 4, 0, 0))
        beside.add_row(
            Group(figures, Text(), classes),
            Group(*_map(result, console), Text(), _workers(result)),
        )
        print_indented(console, beside)
    else:
        print_indented(console, figures)
        console.print()
        print_indented(console, classes)
        console.print()
        print_indented(console, *_map(result, console))
    console.print()
    print_text(console, _how(result))
    print_text(console, _where(result.machine))
    for sentence in advice(result):
        print_text(console, f"Note: {sentence}", style="yellow")


def _headline(result: RunResult) -> Text:
    guest, sent = format_size(result.image_bytes), format_size(result.stream_bytes)
    took = format_seconds(result.wall_seconds)
    match result.operation:
        case "restore":
            text = f"{sent} restored to {guest} in {took}"
            names = (
                short_name(result.stream, "stdin"),
                short_name(result.image, "stdout"),
            )
        case "verify":
            text = f"{guest} in {sent} checked in {took}, "
            text += "equal" if result.image else "sound"
            names = (
                short_name(result.stream, "stdin"),
                short_name(result.image, "stdin"),
            )
        case _:
            text = f"{guest} compressed to {sent} in {took}"
            text += "" if result.stream else ", not kept"
            names = (
                short_name(result.image, "stdin"),
                short_name(result.stream, "stdout"),
            )
    joint = " and " if result.operation == "verify" else " to "
    return Text(f"{joint.join(filter(None, names))}: {text}", style="bold")


def _figures(result: RunResult) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="cyan")
    table.add_column()
    table.add_row("rate", _rates(result))
    table.add_row(
        "guest memory",
        f"{format_rate(result.image_bytes_per_second)}, "
        f"{format_count(result.pages_per_second)} pages/s; "
        f"non-zero {format_rate(result.nonzero_bytes_per_second)}",
    )
    table.add_row(
        "output" if result.operation == "run" else "input",
        f"{format_rate(result.stream_bytes_per_second)}, "
        f"{format_bit_rate(result.stream_bytes_per_second)}",
    )
    table.add_row("CPU", _cpu(result))
    queue = result.queue
    table.add_row(
        "workqueue",
        f"busy {format_share(queue.busy, queue.requests)} of "
        f"{many(queue.requests, 'request')}; "
        f"depth {queue.depth_mean:.1f} mean, {queue.depth_max} most",
    )
    table.add_row("per request", _percentiles(result.request_times))
    return table


def _rates(result: RunResult) -> Text:
    text = Text(f"{result.image_rate:.2f}", style="bold")
    text.append(" image / stream", style="not bold")
    if result.compression_rate:
        text.append(
            f"; compression rate {result.compression_rate:.2f} of compressed pages",
            style="not bold",
        )
    return text


def _cpu(result: RunResult) -> str:
    workers = [worker.cpu_seconds for worker in result.workers]
    if not workers:
        shown = "no workers"
    elif len(workers) == 1:
        shown = f"worker {format_seconds(workers[0])}"
    elif len(workers) <= _WORKERS_SHOWN:
        shown = "workers " + ", ".join(map(format_seconds, workers))
    else:
        shown = (
            f"{len(workers)} workers {format_seconds(min(workers))} to "
            f"{format_seconds(max(workers))}"
        )
    return (
        f"{result.cpu_seconds_per_gib:.2f} s/GiB; {shown}; "
        f"submitter {format_seconds(result.submitter_cpu_seconds)}"
    )


def _percentiles(times: RequestTimes) -> str:
    """In one unit, unless they lie too far apart for that."""
    percentiles = {
        "p50": times.p50,
        "p90": times.p90,
        "p99": times.p99,
        "p99.9": times.p999,
        "most": times.most,
    }
    named = {name: time for name, time in percentiles.items() if time is not None}
    unit = max(
        (unit for unit, size in _NANOSECONDS.items() if times.p50 >= size / 2),
        key=_NANOSECONDS.__getitem__,
        default="ns",
    )
    size = _NANOSECONDS[unit]
    if times.most < 10_000 * size:
        shown = (f"{name} {_digits(t / size)}" for name, t in named.items())
        return f"{', '.join(shown)} {unit}"
    return ", ".join(f"{name} {format_seconds(t / 1e9)}" for name, t in named.items())


def _digits(number: float) -> str:
    return f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2}f}"


def _map(result: RunResult, console: Console) -> list[RenderableType]:
    chart = memory_map(
        result.blocks,
        result.regions,
        result.settings.page_size,
        map_columns(console.width - 2),
        _MAP_ROWS,
    )
    return map_parts(chart, console)


def _workers(result: RunResult) -> Table:
    """For wide screens: what each thread did."""
    table = plain_table(
        "worker", "requests", "CPU", "of wall", "sleeps", "spins", "wake-ups"
    )
    numbered = list(enumerate(result.workers))
    for number, worker in numbered[:_WORKERS_SHOWN]:
        table.add_row(str(number), *_worker_cells(worker, result.wall_seconds))
    if len(numbered) > _WORKERS_SHOWN:
        rest = _sum([worker for _, worker in numbered[_WORKERS_SHOWN:]])
        table.add_row(
            f"{_WORKERS_SHOWN} to {len(numbered) - 1}",
            *_worker_cells(rest, result.wall_seconds),
        )
    table.add_row(
        "submitter",
        format_count(result.queue.submitted),
        format_seconds(result.submitter_cpu_seconds),
        format_share(result.submitter_cpu_seconds, result.wall_seconds),
        format_count(result.queue.waits),
        format_count(result.queue.spins),
        format_count(result.queue.wakeups),
    )
    return table


def _worker_cells(worker: Worker, wall_seconds: float) -> tuple[str, ...]:
    return (
        format_count(worker.requests),
        format_seconds(worker.cpu_seconds),
        format_share(worker.cpu_seconds, wall_seconds),
        format_count(worker.sleeps),
        format_count(worker.spins),
        format_count(worker.wakeups),
    )


def _sum(workers: list[Worker]) -> Worker:
    return Worker(
        requests=sum(worker.requests for worker in workers),
        cpu_seconds=sum(worker.cpu_seconds for worker in workers),
        sleeps=sum(worker.sleeps for worker in workers),
        spins=sum(worker.spins for worker in workers),
        wakeups=sum(worker.wakeups for worker in workers),
    )


def _how(result: RunResult) -> str:
    settings, codec = result.settings, result.codec
    library = printable(" ".join(filter(None, (codec.provider, codec.version))))
    parts = [
        f"{printable(codec.name)} level {settings.level} by {library}"
        if codec.name != "none"
        else "no compression",
        _grouping(settings),
        f"{many(settings.threads, 'thread')} x "
        f"{many(settings.requests_per_thread, 'request')}{_request_size(settings)}",
    ]
    if settings.handler:
        parts.append(f"handler {printable(settings.handler)}")
    return "; ".join(parts)


def _request_size(settings: Settings) -> str:
    if settings.request_pages == settings.packet_pages and settings.grouping != "page":
        return ""
    return f" of {many(settings.request_pages, 'page')}"


def _grouping(settings: Settings) -> str:
    match settings.grouping:
        case "packet":
            return f"packets of {settings.packet_pages} pages"
        case "stream":
            return (
                f"{many(settings.channels, 'stream')} flushed every "
                f"{settings.packet_pages} pages"
            )
        case _:
            return "page by page"


def _where(machine: Machine) -> str:
    return (
        f"{machine.cpu}, {many(machine.usable_cpus, 'usable CPU')}, "
        f"{format_size(machine.memory_bytes)}, {machine.kernel}, "
        f"Python {machine.python}, load {machine.load_average:.2f}"
    )
