# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp capture``: memory images of a guest or process that runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from migcomp.cli.files import STANDARD, check_output, writing
from migcomp.cli.options import force_option, report_options
from migcomp.cli.progress import Progress, progress
from migcomp.cli.signals import run_to_its_end
from migcomp.cli.summary import beside, print_json
from migcomp.cli.types import FILE, Count, Number
from migcomp.report.printable import printable
from migcomp.units import format_seconds, format_size

if TYPE_CHECKING:
    from migcomp.capture.process import ProcessCapture
    from migcomp.capture.qmp import GuestCapture, Wish
    from migcomp.results import Block

SCHEMA = "migcomp.capture/1"
#: What is told of a series of snapshots, in their folder.
NOTES = "capture.json"

_SUFFIXES = {"pmemsave": "raw", "dump": "elf", "migrate": "qemu"}
_OF_GUESTS = ("method", "pause", "rounds", "interval", "dirty_rate")


@click.command(short_help="Take a memory image of what runs.")
@click.argument("socket", type=FILE, required=False)
@click.option(
    "--pid", type=Count(), metavar="PID", help="Capture this process, not a guest."
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=FILE,
    required=True,
    help="The image to write; with --rounds a folder.  With --pid, - is standard "
    "output.",
)
@click.option(
    "--method",
    type=click.Choice(list(_SUFFIXES)),
    default="pmemsave",
    show_default=True,
    help="What QEMU writes: a raw image, an ELF core (dump-guest-memory), or a "
    "migration stream.",
)
@click.option("--pause", is_flag=True, help="Stop the guest while QEMU writes.")
@click.option(
    "--rounds",
    type=Count(),
    metavar="N",
    help="Take N snapshots: round0.raw and so on in the folder FILE, and capture.json "
    "with when each was taken.",
)
@click.option(
    "--interval",
    type=Number(0, 86400),
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="How long the guest runs between two rounds.",
)
@click.option(
    "--dirty-rate",
    type=click.IntRange(1, 60),
    metavar="SECONDS",
    help="Before each snapshot, have QEMU measure for so long how fast the guest "
    "dirties memory (calc-dirty-rate).",
)
@force_option
@report_options
@click.pass_context
def command(
    context: click.Context,
    socket: str | None,
    pid: int | None,
    output: str,
    method: str,
    pause: bool,
    rounds: int | None,
    interval: float,
    dirty_rate: int | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    """Write the memory of a guest or of a process to a file.

    SOCKET is QEMU's QMP monitor: a unix socket's path, or HOST:PORT.  QEMU writes
    the file itself.  The guest is left as it was found, running or stopped, also
    after Ctrl-C; after a migration, a stopped guest's status is postmigrate.
    Without --pause, pages of pmemsave may be of different moments.

    With --pid it is a raw image of the process's private memory: anonymous
    mappings, heap and stacks.  The process runs on meanwhile.
    """
    if (socket is None) == (pid is None):
        raise click.UsageError("name either a QMP SOCKET or a process with --pid")
    if pid is not None:
        for name in _OF_GUESTS:
            if context.get_parameter_source(name) != ParameterSource.DEFAULT:
                option = name.replace("_", "-")
                raise click.UsageError(f"--{option} is for guests, not with --pid")
        _capture_process(pid, output, force, as_json, quiet, color)
    elif socket is not None:
        from migcomp.capture.qmp import Wish

        wish = Wish(method, pause, interval, dirty_rate or 0)
        paths = _paths(output, rounds, _SUFFIXES[method])
        notes = None if rounds is None else str(Path(output) / NOTES)
        with _folder(Path(output), rounds is not None), writing(output):
            _capture_guest(socket, paths, notes, wish, force, as_json, quiet, color)


def _paths(output: str, rounds: int | None, suffix: str) -> list[str]:
    if output == STANDARD:
        raise click.UsageError("QEMU writes the file itself; name one with -o")
    if rounds is None:
        return [output]
    return [str(Path(output) / f"round{n}.{suffix}") for n in range(rounds)]


@contextmanager
def _folder(path: Path, wanted: bool) -> Iterator[None]:
    """For the snapshots; one that we made and left empty goes away again."""
    made = wanted and not path.exists()
    if wanted:
        with writing(str(path)):
            path.mkdir(exist_ok=True)
    try:
        yield
    finally:
        if made:
            # Not if snapshots are in it.
            with suppress(OSError):
                path.rmdir()


class Meter:
    """Progress in bytes, of which the total is known only when it begins."""

    def __init__(self, verb: str, quiet: bool, color: str, stack: ExitStack) -> None:
        self._verb, self._quiet, self._color = verb, quiet, color
        self._stack = stack.enter_context(ExitStack())
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

    def stop(self) -> None:
        self._stack.close()


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
    file = beside(output)
    if as_json:
        print_json(_process_to_json(result, output), file)
    elif not quiet:
        click.echo(_process_text(result, output), file)


def _capture_guest(
    address: str,
    paths: list[str],
    notes: str | None,
    wish: Wish,
    force: bool,
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    from migcomp.capture.qmp import capture_guest
    from migcomp.outputs import OutputFile, check_free

    if notes is not None:
        check_free(notes, force=force)
    with ExitStack() as stack:
        meters = [
            Meter("capturing" if len(paths) == 1 else f"round {n}", quiet, color, stack)
            for n in range(len(paths))
        ]

        def watch(number: int, done: int, total: int) -> None:
            if number:
                meters[number - 1].stop()
            meters[number](done, total)

        result = run_to_its_end(
            capture_guest(address, paths, wish, force=force, watch=watch)
        )
    if notes is not None:
        import json

        with OutputFile(notes, force=force) as sink:
            sink.write(f"{json.dumps(_guest_to_json(result), indent=2)}\n".encode())
    if as_json:
        print_json(_guest_to_json(result), sys.stdout)
    elif not quiet:
        click.echo(_guest_text(result))


def _guest_text(result: GuestCapture) -> str:
    lines = [
        f"{printable(result.address)}: QEMU {result.qemu}, guest found "
        f"{result.found}, left {result.left}"
    ]
    for snapshot in result.snapshots:
        line = (
            f"{format_size(snapshot.size)} written to {printable(snapshot.path)} "
            f"({snapshot.format}) in {format_seconds(snapshot.seconds)}"
        )
        if snapshot.dirty_rate is not None:
            line += f"; {snapshot.dirty_rate.get('dirty-rate')} MiB/s got dirty before"
        lines.append(line)
    blocks = result.snapshots[0].blocks
    # Without options, a raw image is one block from 0 on.
    if len(blocks) > 1 or any(block.guest_address for block in blocks):
        lines += _block_options(blocks)
    return "\n  ".join(lines)


def _guest_to_json(result: GuestCapture) -> dict[str, object]:
    from migcomp.report.json import block_to_json

    return {
        "schema": SCHEMA,
        "source": {"socket": result.address, "qemu": result.qemu},
        "method": result.wish.method,
        "paused": result.wish.pause,
        "interval": result.wish.interval,
        "guest": {"found": result.found, "left": result.left},
        "images": [
            {
                "path": snapshot.path,
                "format": snapshot.format,
                "bytes": snapshot.size,
                "taken": snapshot.started - result.snapshots[0].started,
                "seconds": snapshot.seconds,
                "blocks": [block_to_json(block) for block in snapshot.blocks],
                "dirty-rate": snapshot.dirty_rate,
            }
            for snapshot in result.snapshots
        ],
    }


def _block_options(blocks: tuple[Block, ...]) -> list[str]:
    """How to have a raw image read with its addresses."""
    return [
        "its blocks, for migcomp run, explain and convert:",
        *(
            f"--block {block.name}:{block.guest_address:#x}:{block.length:#x}"
            for block in blocks
        ),
    ]


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
    return "\n  ".join((sentence, *_block_options(result.blocks)))


def _process_to_json(result: ProcessCapture, output: str) -> dict[str, object]:
    from migcomp.report.json import block_to_json

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
