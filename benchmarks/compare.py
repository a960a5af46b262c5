# SPDX-License-Identifier: LGPL-2.1-or-later
"""All contenders on one image, round by round, against the targets.

python -m benchmarks.compare IMAGE
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console

from benchmarks.contenders import Contender
from benchmarks.metadata import metadata
from benchmarks.peers import Setup, contenders
from benchmarks.qemu_compress import RecordError, recorded
from benchmarks.rounds import ROUNDS, measure, select, warm
from benchmarks.samples import Sample
from benchmarks.tables import costs_table, targets_table, times_table
from benchmarks.targets import TARGETS, Verdict, evaluate

SCHEMA = "migcomp.benchmark/1"


def to_json(
    setup: Setup,
    chosen: Sequence[Contender],
    measured: Mapping[str, Sequence[Sample]],
    verdicts: Sequence[Verdict],
    machine: Mapping[str, object],
) -> dict[str, object]:
    """Everything, every sample included."""
    return {
        "schema": SCHEMA,
        "image": {"path": str(setup.image), "bytes": setup.image.stat().st_size},
        "machine": machine,
        "contenders": [
            {
                "name": contender.name,
                "description": contender.description,
                "missing": contender.missing,
                "samples": [dict(s) for s in measured.get(contender.name, ())],
            }
            for contender in chosen
        ],
        "targets": [
            {
                "name": verdict.target.name,
                "numerator": verdict.target.numerator,
                "denominator": verdict.target.denominator,
                "quantity": verdict.target.quantity,
                "wanted": verdict.target.wanted,
                "measured": verdict.value.median if verdict.value else None,
                "mad": verdict.value.mad if verdict.value else None,
                "verdict": verdict.text,
            }
            for verdict in verdicts
        ],
    }


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rounds", type=click.IntRange(1), default=ROUNDS, show_default=True)
@click.option("--only", default="", help="Names or patterns, separated by commas.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every sample there as JSON.",
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where outputs are written; a temporary folder by default.",
)
@click.option(
    "--guest-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A capture folder; takes QEMU's own time from paused-compress.json.",
)
def main(
    image: Path,
    rounds: int,
    only: str,
    out: Path | None,
    folder: Path | None,
    guest_dir: Path | None,
) -> None:
    """Compare migcomp with the bare loop and with its peers on IMAGE."""
    console = Console()
    with tempfile.TemporaryDirectory(dir=folder, prefix="migcomp-") as scratch:
        setup = Setup(image.resolve(), Path(scratch))
        everybody = contenders(setup)
        try:
            if guest_dir is not None:
                everybody.append(recorded(guest_dir))
            chosen = select(everybody, only)
        except (RecordError, ValueError) as error:
            raise click.ClickException(str(error)) from error
        taking_part = [c for c in chosen if not c.missing]
        before = metadata(setup.folder)
        warm(image)
        with console.status("preparing") as status:
            measured = measure(
                taking_part,
                rounds,
                lambda number, name: status.update(
                    f"round {number + 1} of {rounds}: {name}"
                ),
            )
    verdicts = evaluate(TARGETS, measured)
    if out is not None:
        results = to_json(setup, chosen, measured, verdicts, before)
        out.write_text(json.dumps(results, indent=1) + "\n")
    for table in (
        times_table(taking_part, measured),
        costs_table(taking_part, measured),
        targets_table(verdicts),
    ):
        if table.row_count:
            console.print(table)
    for contender in chosen:
        if contender.missing:
            console.print(f"Left out: {contender.name}: {contender.missing}.")
    if rounds < ROUNDS:
        console.print(f"Fewer than {ROUNDS} rounds: too few to conclude anything from.")


if __name__ == "__main__":
    # The outputs are large: a kill must not leave them behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    main()
