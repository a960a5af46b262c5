# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench queue``: what handing pages to threads costs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from migcomp.cli.files import STANDARD, writing
from migcomp.cli.options import max_requests, max_threads, report_options
from migcomp.cli.progress import steps
from migcomp.cli.summary import print_json
from migcomp.cli.types import Count, CountList, Name, NameList, Size
from migcomp.units import parse_size

_PAGE_SIZE = 4096
_COST_NS = 10_000
_COST_NS_MOST = 100_000_000
_REQUEST_PAGES_MOST = 1024  # 4 MiB


def _handlers() -> Sequence[str]:
    from migcomp.bench.queue import HANDLERS

    return HANDLERS


def _designs() -> Sequence[str]:
    from migcomp.bench.designs import DESIGNS

    return [design.name for design in DESIGNS]


class _Memory(Size):
    """Whole pages; a number alone means GiB."""

    name = "memory"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            size = parse_size(f"{value}GiB")
        except ValueError:
            size = super().convert(value, param, ctx)
        if not size or size % _PAGE_SIZE:
            self.fail(f"{value!r} is no number of pages of 4 KiB", param, ctx)
        return size


@click.command(short_help="Pages through work queues, by threads and requests.")
@click.option(
    "-t",
    "--threads",
    type=CountList(max_threads),
    metavar="LIST",
    default="2",
    show_default=True,
    help="Worker threads: 4, or 1,2,4, or 1-4.",
)
@click.option(
    "-r",
    "--requests-per-thread",
    type=CountList(max_requests),
    metavar="LIST",
    default="4",
    show_default=True,
    help="Requests that each thread has in hand.",
)
@click.option(
    "-m",
    "--memory",
    type=_Memory(),
    metavar="SIZE",
    default="1",
    show_default=True,
    help="Pages for each round, in GiB, or as in 16MiB.",
)
@click.option(
    "-c",
    "--repeat",
    type=Count(),
    metavar="N",
    default=3,
    show_default=True,
    help="Rounds.",
)
@click.option(
    "--handler",
    type=Name("handler", _handlers),
    default="zlib",
    show_default=True,
    help="What is done with a request: nothing, a fixed amount of work, or its pages "
    "compressed as one block.",
)
@click.option("--level", type=int, metavar="N", help="Of the codec.  [default: 1]")
@click.option(
    "--cost-ns",
    type=Count(lambda: _COST_NS_MOST),
    metavar="N",
    help=f"Work of a request with --handler cost.  [default: {_COST_NS}]",
)
@click.option(
    "--request-pages",
    type=Count(lambda: _REQUEST_PAGES_MOST),
    metavar="N",
    default=1,
    show_default=True,
    help="Pages to a request.",
)
@click.option(
    "--design",
    "designs",
    type=NameList("designs", _designs),
    metavar="LIST",
    help="Work queues to run, as in workqueue,one-lock.  [default: workqueue]",
)
@click.option("--compare", is_flag=True, help="Run all designs.")
@report_options
def command(
    threads: tuple[int, ...],
    requests_per_thread: tuple[int, ...],
    memory: int,
    repeat: int,
    handler: str,
    level: int | None,
    cost_ns: int | None,
    request_pages: int,
    designs: tuple[str, ...] | None,
    compare: bool,
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    """Take pages through work queues and tell what the hand-over costs.

    Every page must come back once, and rightly done; exit code 9 says that one
    did not.

    \b
    Designs:
      workqueue     ours: bitmaps and events, no lock
      thread-locks  a mutex and a condition for each thread, as in QEMU's
                    compress; one request to a thread, whatever -r says
      one-lock      one queue under one mutex
      executor      Python's ThreadPoolExecutor
      simplequeue   Python threads and queue.SimpleQueue
    """
    from migcomp.bench.queue import CODECS, FIXED, measure, open_handler
    from migcomp.bench.queue_results import Plan

    if cost_ns is not None and handler != FIXED:
        raise click.UsageError("--cost-ns is for --handler cost")
    if level is not None and handler not in CODECS:
        raise click.UsageError(f"--level is for --handler {', '.join(CODECS)}")
    if compare and designs:
        raise click.UsageError("--compare runs all designs, and --design those named")
    codec = open_handler(handler, level)
    plan = Plan(
        handler=handler,
        level=codec.level if codec else 0,
        cost_ns=(cost_ns or _COST_NS) if handler == FIXED else 0,
        designs=tuple(_designs()) if compare else designs or ("workqueue",),
        threads=threads,
        requests_per_thread=requests_per_thread,
        request_pages=request_pages,
        memory=memory,
        repeat=repeat,
    )
    with steps("measuring", quiet=quiet, color=color) as watch:
        try:
            result = measure(plan, codec, progress=watch)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    if as_json:
        from migcomp.report.queue_json import to_json

        print_json(to_json(result))
    elif not quiet:
        from migcomp.report.console import open_console
        from migcomp.report.queue_bench import render

        with writing(STANDARD):
            render(result, open_console(sys.stdout, color, least_width=60))
