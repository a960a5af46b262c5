# SPDX-License-Identifier: LGPL-2.1-or-later
"""What reading a format costs: ``migcomp run`` on one memory, written in several.

    python -m benchmarks.formats IMAGE

Formats that hold pages as they are should take no longer than the raw image.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import process
from benchmarks.rounds import ROUNDS, warm
from benchmarks.samples import ratios
from migcomp.bench.statistics import summarize

FORMATS = ("raw", "elf", "lime", "qemu")
#: Times of the raw image that the others may take.
WANTED = 1.15
_SEED = 20181105
_MIGCOMP = (sys.executable, "-m", "migcomp")


def write(image: Path, folder: Path) -> dict[str, Path]:
    """The image in each format, through a pipe: a hole would need no reading."""
    paths = {}
    for format in FORMATS:
        paths[format] = folder / format
        with paths[format].open("wb") as file:
            command = [*_MIGCOMP, "convert", str(image), "-", "--to", format, "-q"]
            subprocess.run(command, stdout=file, check=True)
    return paths


def measure(
    paths: dict[str, Path], rounds: int, options: Sequence[str]
) -> dict[str, list[float]]:
    """Seconds of each run, as its own report tells them, in shuffled order."""
    order = random.Random(_SEED)
    seconds: dict[str, list[float]] = {format: [] for format in paths}
    for path in paths.values():
        warm(path)
    for _ in range(rounds):
        for format in order.sample(list(paths), len(paths)):
            command = [*_MIGCOMP, "run", str(paths[format]), "--json", *options]
            report = json.loads(process.run(command).stdout)
            seconds[format].append(report["time"]["wall-seconds"])
    return seconds


def table(seconds: dict[str, list[float]]) -> Table:
    rows = Table("format", "seconds", "MAD", "times raw", "wanted", box=None)
    for format, samples in seconds.items():
        here = summarize(samples)
        ratio = summarize(ratios(samples, seconds["raw"])).median
        rows.add_row(
            format,
            f"{here.median:.3f}",
            f"{here.mad:.3f}",
            f"{ratio:.3f}",
            f"at most {WANTED}" if format != "raw" else "",
        )
    return rows


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rounds", type=click.IntRange(1), default=ROUNDS, show_default=True)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the formats are written: a tmpfs with room for five times IMAGE.",
)
@click.option("--codec", default="zstd", show_default=True)
def main(image: Path, rounds: int, folder: Path | None, codec: str) -> None:
    """Time migcomp run on IMAGE in several formats, round by round."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        seconds = measure(write(image, Path(work)), rounds, ["--codec", codec])
    Console().print(table(seconds))


if __name__ == "__main__":
    main()
