# SPDX-License-Identifier: LGPL-2.1-or-later
"""zlib page by page: migcomp against QEMU's own compress capability.

    python -m benchmarks.qemu_compress --guest-dir FOLDER
    python -m benchmarks.qemu_compress --live CAPTURE_SCRIPT

FOLDER holds what a capture of a paused guest left: ``paused.raw``, the memory,
and ``paused-compress.json``, what QEMU said of migrating that guest to a file
with compress, zlib at level 1 and 2 threads.  QEMU's time was taken when the
capture was made: another moment, perhaps another load.  With --live the
capture is made now, right before migcomp is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from benchmarks.contenders import Contender
from benchmarks.peers import Setup, contenders
from benchmarks.rounds import ROUNDS, measure, select, warm
from benchmarks.samples import Sample
from benchmarks.tables import targets_table, times_table
from benchmarks.targets import TARGETS, evaluate

NAME = "qemu-compress"

_IMAGE = "paused.raw"
_RECORD = "paused-compress.json"
_EXPECTED = {"compress-level": 1, "compress-threads": 2}


class RecordError(Exception):
    """A record that cannot be compared with."""


def recorded(folder: Path) -> Contender:
    """QEMU as a contender that repeats what it said when the guest was captured."""
    sample = read_record(folder / _RECORD)
    return Contender(
        NAME,
        "QEMU's compress, zlib page, 2 threads, as recorded at the capture",
        lambda: sample,
    )


def read_record(path: Path) -> Sample:
    """Raises RecordError."""
    try:
        record = json.loads(path.read_text())
        state = record["query-migrate"]
        parameters = record["parameters"]
        wrong = {
            key: parameters.get(key)
            for key, value in _EXPECTED.items()
            if parameters.get(key) != value
        }
        if wrong or not record["capabilities"].get("compress"):
            raise RecordError(f"{path} is not of compress with {_EXPECTED}")
        if state["status"] != "completed":
            raise RecordError(f"{path} is of a migration that {state['status']}")
        return {
            "wall_seconds": state["total-time"] / 1000,
            "bytes_out": state["ram"]["transferred"],
        }
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(f"{path} is no record of a migration: {error!r}") from error


def capture(script: Path, folder: Path) -> None:
    """Boots the guest that the targets name, and captures it into ``folder``."""
    subprocess.run(
        [
            *(sys.executable, str(script), "--profile", "heap", "--memory", "1024"),
            *("--no-live", "--out", str(folder)),
        ],
        check=True,
    )


def report(folder: Path, rounds: int, console: Console) -> None:
    with tempfile.TemporaryDirectory(prefix="migcomp-") as scratch:
        setup = Setup((folder / _IMAGE).resolve(), Path(scratch))
        ours = select(contenders(setup), "run-zlib-page,run-libdeflate-page")
        chosen = [*(c for c in ours if not c.missing), recorded(folder)]
        warm(setup.image)
        with console.status("measuring"):
            measured = measure(chosen, rounds, lambda _number, _name: None)
    targets = [target for target in TARGETS if target.denominator == NAME]
    console.print(times_table(chosen, measured))
    console.print(targets_table(evaluate(targets, measured)))
    for contender in ours:
        if contender.missing:
            console.print(f"Left out: {contender.name}: {contender.missing}.")
    if rounds < ROUNDS:
        console.print(f"Fewer than {ROUNDS} rounds: too few to conclude anything from.")


@click.command()
@click.option(
    "--guest-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="What a capture left; its record of QEMU is of that moment.",
)
@click.option(
    "--live",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The capture script; boots a guest and takes QEMU's time now.",
)
@click.option("--rounds", type=click.IntRange(1), default=ROUNDS, show_default=True)
def main(guest_dir: Path | None, live: Path | None, rounds: int) -> None:
    """Compare migcomp with QEMU's compress capability."""
    console = Console()
    if (guest_dir is None) == (live is None):
        raise click.UsageError("give either --guest-dir or --live")
    try:
        if guest_dir is not None:
            console.print(
                "QEMU's time was recorded when the guest was captured, not now: "
                "the two sides did not run under the same conditions."
            )
            report(guest_dir, rounds, console)
        if live is not None:
            with tempfile.TemporaryDirectory(prefix="migcomp-") as folder:
                capture(live, Path(folder))
                report(Path(folder), rounds, console)
    except RecordError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
