# SPDX-License-Identifier: LGPL-2.1-or-later
"""Simulated migrations against those of a real QEMU: pages, bytes and times.

    python -m benchmarks.predictions [--rounds N] [--out FILE] [--folder DIR]

Boots a guest of 128 MiB under QEMU 7.2 in software emulation, migrates it in each
setting of ``tests/interop/migrations.py``, and predicts that from what went over
the link, and from snapshots taken before.  What a page costs QEMU's compress-threads
is found once by migrating another image, a generated one.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import click

from benchmarks.metadata import metadata
from migcomp.capture.qmp import Wish, capture_guest
from migcomp.errors import MigcompError
from migcomp.images.sample import SampleImage
from migcomp.precopy.costs import Costs, load_costs, measured_costs
from migcomp.precopy.dirty_fit import fit, intervals_of_snapshots
from migcomp.precopy.dirty_model import DirtyModel, ModelledGuest
from migcomp.precopy.results import SimulationResult
from migcomp.precopy.snapshots import Snapshots
from tests.interop.machine import MEMORY_MIB, initramfs, machine, missing
from tests.interop.migrations import (
    Fact,
    Guests,
    Setting,
    predict,
    settings,
    simulated,
)

_PAGE_SIZE = 4096
_SNAPSHOTS = 5
_APART = 0.5
#: Of the image on which compress-threads are calibrated.
_CALIBRATION = Setting(
    "calibration",
    "compress",
    live=False,
    parameters={"max-bandwidth": 10**12, "compress-threads": 2},
)
_STEPS = 14  # of a bisection, to a microsecond


@dataclass(frozen=True)
class Row:
    """``basis``: what the prediction is from.  Times are milliseconds; the first of
    each pair is QEMU's."""

    setting: str
    basis: str
    normal: tuple[int, int]
    duplicate: tuple[int, int]
    syncs: tuple[int, int]
    transferred: tuple[int, int]
    total_time: tuple[int, int]
    downtime: tuple[int, int]


def row(fact: Fact, basis: str, result: SimulationResult) -> Row:
    said, found = fact.said, result.statistics
    ram, ours = said["ram"], found.ram
    return Row(
        fact.setting.name,
        basis,
        (ram["normal"], ours.normal),
        (ram["duplicate"], ours.duplicate),
        (ram["dirty-sync-count"], ours.dirty_sync_count),
        (ram["transferred"], ours.transferred),
        (said["total-time"], found.total_time),
        (said["downtime"], found.downtime or 0),
    )


# --- Costs -------------------------------------------------------------------------


def calibrated(
    folder: Path, initrd: Path, pipe: float, others: Sequence[Fact]
) -> Costs:
    """This machine's costs of ``others`` and of compressing another image, where what
    it takes QEMU to hand a page to a thread is such that this takes as long as it
    took QEMU."""
    image = folder / "calibration.raw"
    with image.open("wb") as file:
        file.truncate(MEMORY_MIB << 20)
        for offset, data in SampleImage("heap", MEMORY_MIB << 20).extents():
            file.seek(offset)
            file.write(data)
    stream = folder / "calibration.qemu"
    with machine(folder / "calibration-plain", initrd, memory=image) as guest:
        guest.migrate(stream)
    with machine(folder / "calibration", initrd, memory=image) as guest:
        said = guest.send(
            f"exec:cat > {folder / 'calibration-compressed.qemu'}",
            *_CALIBRATION.capabilities,
            parameters=_CALIBRATION.parameters,
        )
    fact = Fact(_CALIBRATION, stream, said)
    costs = _stored([fact, *others], folder, pipe)
    low, high = 0, 10**6
    for _ in range(_STEPS):
        middle = (low + high) // 2
        tried = predict(fact, replace(costs, handover_ns=middle), pipe)
        if tried.statistics.total_time < said["total-time"]:
            low = middle
        else:
            high = middle
    return replace(costs, handover_ns=high)


def _stored(facts: Sequence[Fact], folder: Path, pipe: float) -> Costs:
    """What it takes here to migrate so, measured once and the same from then on."""
    measured = measured_costs(_PAGE_SIZE)
    for fact in facts:
        predict(fact, measured, pipe)
    path = folder / "costs.json"
    path.write_text(json.dumps(measured.to_json()))
    return load_costs(str(path), _PAGE_SIZE)


# --- Predictions ---------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """Snapshots of a guest that runs, ``seconds`` apart."""

    paths: list[str]
    seconds: list[float]

    def snapshots(self) -> Snapshots:
        return Snapshots(self.paths, self.seconds)

    def model(self, pages: int) -> DirtyModel:
        return fit(intervals_of_snapshots(self.paths, self.seconds), pages)


def series(guests: Guests) -> Series:
    with guests.running() as (guest, folder):
        # QEMU serves one monitor at a time.
        guest.close()
        paths = [str(folder / f"round{number}.qemu") for number in range(_SNAPSHOTS)]
        wish = Wish("migrate", interval=_APART)
        result = asyncio.run(capture_guest(str(folder / "qmp"), paths, wish))
    started = [each.started for each in result.snapshots]
    apart = [after - before for before, after in pairwise(started)]
    return Series(paths, apart)


def predictions(
    facts: Sequence[Fact], seen: Series, costs: Costs, pipe: float
) -> Iterator[Row]:
    model: DirtyModel | None = None
    for fact in facts:
        basis = "recording" if fact.setting.live else "image"
        yield row(fact, basis, predict(fact, costs, pipe))
        if not fact.setting.live:
            continue
        with seen.snapshots() as guest, guest.memory() as memory:
            result = simulated(fact.setting, memory, guest, costs, pipe)
        yield row(fact, "snapshots", result)
        with seen.snapshots() as guest, guest.memory() as memory:
            model = model or seen.model(memory.pages)
            modelled = ModelledGuest(model, memory)
            result = simulated(fact.setting, memory, modelled, costs, pipe)
        yield row(fact, "model", result)


# --- The report ----------------------------------------------------------------------


_COLUMNS: tuple[tuple[str, Callable[[Row], tuple[int, int]]], ...] = (
    ("normal", lambda row: row.normal),
    ("zero", lambda row: row.duplicate),
    ("syncs", lambda row: row.syncs),
    ("MB", lambda row: row.transferred),
    ("ms", lambda row: row.total_time),
    ("ms down", lambda row: row.downtime),
)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """In Markdown: what QEMU said, and by how much the prediction is off; medians."""
    heads = ["setting", "predicted from", *(head for head, _ in _COLUMNS)]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for setting, basis in dict.fromkeys((row.setting, row.basis) for row in rows):
        same = [row for row in rows if (row.setting, row.basis) == (setting, basis)]
        cells = [setting, basis]
        for head, of in _COLUMNS:
            said = statistics.median(of(row)[0] for row in same)
            off = statistics.median(of(row)[1] - of(row)[0] for row in same)
            cells.append(_FORMS.get(head, _number)(said, off))
        yield f"| {' | '.join(cells)} |"


def _number(said: float, off: float) -> str:
    return f"{said:,.0f} {off:+,.0f}" if off else f"{said:,.0f}"


def _megabytes(said: float, off: float) -> str:
    return f"{said / 1e6:.2f} {100 * off / said:+.2f} %"


def _share(said: float, off: float) -> str:
    return f"{said:,.0f} {100 * off / said:+.1f} %"


_FORMS = {"MB": _megabytes, "ms": _share}


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), help="All rows and the machine, as JSON."
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the guests' files go; a tmpfs takes the disk out of it.",
)
def main(rounds: int, out: Path | None, folder: Path | None) -> None:
    """Hold simulated migrations against a real QEMU's.

    Prints a table: what QEMU said, and by how much the prediction is off.
    """
    if missing():
        raise click.ClickException(f"needs {missing()}")
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="migcomp-") as scratch:
            report = compare(Path(scratch), rounds)
    except MigcompError as error:
        raise click.ClickException(str(error)) from error
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n")


def compare(folder: Path, rounds: int) -> dict[str, object]:
    """Prints the table; all that was found, for JSON.  Raises MigcompError."""
    initrd = initramfs(folder)
    guests = Guests(folder, initrd)
    seen = series(guests)
    chosen = [*settings()]
    facts = [guests.migrate(each) for _ in range(rounds) for each in chosen]
    others = [f for f in facts[: len(chosen)] if f.setting.engine != "compress"]
    costs = calibrated(folder, initrd, guests.pipe, others)
    rows = [*predictions(facts, seen, costs, guests.pipe)]
    for line in table(rows):
        click.echo(line)
    click.echo(
        f"A pipe takes {guests.pipe / 1e6:,.0f} MB/s, handing a page to one of "
        f"QEMU's threads {costs.handover_ns / 1000:,.0f} us."
    )
    return {
        "metadata": metadata(folder),
        "pipe": guests.pipe,
        "costs": costs.to_json(),
        "snapshots-apart": seen.seconds,
        "model": asdict(seen.model(MEMORY_MIB << 8)),
        "rows": [asdict(each) for each in rows],
    }


if __name__ == "__main__":
    main()
