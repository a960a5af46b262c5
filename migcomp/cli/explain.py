# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp explain``: where an image's memory goes, and what would help."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from migcomp.cli.files import STANDARD, check_distinct, check_input, writing
from migcomp.cli.options import (
    force_option,
    format_option,
    image_options,
    report_options,
    threads_option,
)
from migcomp.cli.progress import Phases, phases
from migcomp.cli.summary import print_json
from migcomp.cli.types import FILE, Size

if TYPE_CHECKING:
    from migcomp.explain.results import Explanation
    from migcomp.results import Block

_INTERVAL_SECONDS = 0.1


@click.command(short_help="Tell where the memory goes and what would help.")
@click.argument("image", type=FILE)
@click.option(
    "--previous",
    metavar="IMAGE",
    type=FILE,
    help="An earlier image of the same guest: tell what sending only changes saves.",
)
@click.option(
    "--sample",
    type=Size(),
    default="64MiB",
    show_default=True,
    help="Memory to try compression on; 16 packets of 512KiB at least.",
)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="The same seed draws the same sample.",
)
@click.option(
    "--png",
    metavar="FILE",
    type=FILE,
    help="Draw it.  Needs pip install 'migcomp[html]', as --html does.",
)
@click.option(
    "--html", metavar="FILE", type=FILE, help="Write a page with pictures and figures."
)
@threads_option
@format_option
@image_options
@force_option
@report_options
def command(
    image: str,
    previous: str | None,
    sample: int,
    seed: int,
    png: str | None,
    html: str | None,
    threads: int | None,
    image_format: str | None,
    page_size: int,
    pad: bool,
    layout: tuple[Block, ...],
    diffs: tuple[str, ...],
    force: bool,
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    """Tell where the memory in IMAGE goes, and what would help.

    Every page is looked at: its class, the entropy of its bytes, and whether it
    equals an earlier one.  Each way to send less is tried on a sample: what it
    would save, and what it costs.  - is standard input.
    """
    from migcomp.explain.explain import explain
    from migcomp.images.open import open_image

    for path in filter(None, (image, previous)):
        check_input(path)
    if STANDARD in (png, html):
        raise click.UsageError("the report goes to standard output; name a file")
    if image == previous == STANDARD:
        raise click.UsageError("standard input is one image only; name the other")
    if png and html and os.path.realpath(png) == os.path.realpath(html):
        raise click.UsageError("--png and --html need different names")
    with ExitStack() as stack:
        draws = [
            _output(stack, path, kind, (image, previous), force)
            for path, kind in ((png, "png"), (html, "html"))
            if path is not None
        ]
        source = stack.enter_context(
            open_image(
                image,
                page_size=page_size,
                layout=layout,
                pad=pad,
                format=image_format,
                diffs=diffs,
            )
        )
        earlier = previous and stack.enter_context(
            open_image(previous, page_size=source.page_size, pad=pad)
        )
        with phases(quiet=quiet, color=color) as watch:
            found = explain(
                source,
                earlier or None,
                sample_bytes=sample,
                seed=seed,
                threads=threads,
                progress=watch and _now_and_then(watch),
            )
        for draw in draws:
            draw(found)
    _show(found, as_json, quiet, color)


def _now_and_then(watch: Phases) -> Phases:
    """To draw after each packet would take longer than to look at it."""
    shown, last = 0.0, ""

    def tell(doing: str, done: int, total: int) -> None:
        nonlocal shown, last
        if doing != last or time.monotonic() > shown + _INTERVAL_SECONDS:
            watch(doing, done, total)
            shown, last = time.monotonic(), doing

    return tell


def _output(
    stack: ExitStack,
    path: str,
    kind: str,
    sources: tuple[str | None, ...],
    force: bool,
) -> Callable[[Explanation], None]:
    """Takes the name before the work, and says at once what is missing."""
    from migcomp.outputs import OutputFile
    from migcomp.report.html.charts import require_extra
    from migcomp.report.html.explain import to_html, to_png
    from migcomp.stream.sink import write_all

    require_extra()
    for source in filter(None, sources):
        check_distinct(source, path)
    target = stack.enter_context(OutputFile(path, force=force))
    make = to_png if kind == "png" else to_html

    def draw(found: Explanation) -> None:
        with writing(path):
            write_all(target, make(found))

    return draw


def _show(found: Explanation, as_json: bool, quiet: bool, color: str) -> None:
    if as_json:
        from migcomp.report.explain_json import to_json

        print_json(to_json(found))
    elif not quiet:
        from migcomp.report.console import open_console
        from migcomp.report.explain import render

        with writing(STANDARD):
            render(found, open_console(sys.stdout, color))
