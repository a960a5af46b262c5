# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp capture``: a memory image of a process that runs."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from migcomp.cli.files import STANDARD, check_output, writing
from migcomp.cli.options import Count, force_option, report_options
from migcomp.cli.progress import Progress, progress
from migcomp.cli.summary import print_json
from migcomp.report.printable import printable
from migcomp.units import format_seconds, format_size

if TYPE_CHECKING:
    from migcomp.capture.process import ProcessCapture

SCHEMA = "migcomp.capture/1"


@click.command(short_help="Take a memory image of what runs.")
@click.option(
    "--pid", type=Count(), metavar="PID", required=True, help="The process to capture."
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(),
    required=True,
    help="The image to write; - is standard output.",
)
@force_option
@report_options
def command(
    pid: int,
    output: str,
    force: bool,
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    """Write the private memory of the process PID to a raw image.

    The process runs on meanwhile.
    """
    _capture_process(pid, output, force, as_json, quiet, color)


class Meter:
    """Progress in bytes, of which the total is known only when it begins."""

    def __init__(self, verb: str, quiet: bool, color: str, stack: ExitStack) -> None:
        self._verb, self._quiet, self._color = verb, quiet, color
        self._stack = stack
        self._begun = False
        self._watch: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        page = 4096
        if not self._begun:
            self._begun = True
            self._watch = self._stack.enter_context(
                progress(
                    self._verb,
                    total // page,
                    page,
                    quiet=self._quiet,
                    color=self._color,
                )
            )
        if self._watch is not None:
            self._watch(done // page, done)


def _capture_process(
    pid: int, output: str, force: bool, as_json: bool, quiet: bool, color: str
) -> None:
    from migcomp.capture.process import capture_process
    from migcomp.outputs import OutputFile

    check_output(output)
    with (
        ExitStack() as stack,
        writing(output),
        OutputFile(output, force=force) as sink,
    ):
        meter = Meter("capturing", quiet, color, stack)
        result = capture_process(pid, sink, meter)
    file = sys.stderr if output == STANDARD else sys.stdout
    if as_json:
        print_json(_process_to_json(result, output), file)
    elif not quiet:
        click.echo(_process_text(result, output), file)


def _process_text(result: ProcessCapture, output: str) -> str:
    """The report, and how to have the image read with the addresses."""
    sentence = (
        f"process {result.pid} ({printable(result.command)}): "
        f"{format_size(result.image_bytes)} written to {printable(output)} in "
        f"{format_seconds(result.seconds)}; {format_size(result.stored_bytes)} of it "
        "is not zero"
    )
    if result.vanished_bytes:
        sentence += (
            f", {format_size(result.vanished_bytes)} went away while it was read and "
            "is zero"
        )
    options = (
        f"--block {block.name}:{block.guest_address:#x}:{block.length:#x}"
        for block in result.blocks
    )
    return "\n  ".join((sentence, "its blocks, for migcomp run and convert:", *options))


def _process_to_json(result: ProcessCapture, output: str) -> dict[str, object]:
    from migcomp.report.parts import block_to_json

    return {
        "schema": SCHEMA,
        "source": {"pid": result.pid, "command": result.command},
        "images": [
            {
                "path": output,
                "format": "raw",
                "bytes": result.image_bytes,
                "stored-bytes": result.stored_bytes,
                "vanished-bytes": result.vanished_bytes,
                "seconds": result.seconds,
                "blocks": [block_to_json(block) for block in result.blocks],
            }
        ],
    }
