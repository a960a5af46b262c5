# SPDX-License-Identifier: LGPL-2.1-or-later
"""How far one submitter reaches: measured where there are CPUs, and simulated.

    python -m benchmarks.scaling measure --out scaling.json
    python -m benchmarks.scaling simulate scaling.json

The first measures this machine: the queue's constants, the time of requests in
their handlers, and the queue itself with a few threads.  The second needs only
that file: it holds the model's prediction against what was measured, and then
asks it for more threads than there are CPUs.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from mmap import mmap
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks import process
from benchmarks.programs import build_queue_constants
from benchmarks.queue_model import Case, Costs, saturation, simulate, sleepless
from migcomp._core import BenchJob, BenchWorker
from migcomp.bench.designs import LOOP
from migcomp.bench.pages import PAGE_SIZE, guest_pages
from migcomp.bench.queue import open_handler
from migcomp.measure import machine

SCHEMA = "migcomp.queue-scaling/1"
CODECS = (("zstd", 1), ("zstd", 3), ("lz4", 1), ("zlib", 1))
THREADS = (1, 2, 4, 8)
REQUESTS_PER_THREAD = 4
#: One page is the ancestor's and QEMU's request, 128 are ours.
REQUEST_PAGES = (1, 8, 128)
_QUANTILES = 64
_MANY = (16, 64, 256)
_QUEUES = (1, 2, 4, 8)
#: Of a simulation: for each worker, and at least.
_SIMULATED, _SIMULATED_LEAST = 40, 4000


@dataclass(frozen=True)
class Work:
    """Requests of some codec; ``service`` are quantiles of their time in the
    handler, ``crowding`` how much longer it is when all CPUs do the same.

    ``measured`` is nanoseconds per request by number of threads.
    """

    codec: str
    level: int
    request_pages: int
    service: tuple[float, ...]
    crowding: float
    measured: Mapping[int, float]

    @property
    def name(self) -> str:
        return f"{self.codec}-{self.level}"

    @property
    def mean(self) -> float:
        return fmean(self.service)


@dataclass(frozen=True)
class Study:
    cpus: int
    costs: Costs
    works: tuple[Work, ...]


# --- Measuring ----------------------------------------------------------------


def _constants(program: Path, rounds: int) -> dict[str, float]:
    costs: dict[str, float] = json.loads(
        process.run([str(program), str(rounds)]).stdout
    )
    empty = BenchJob(requests=1_000_000)
    return {**costs, "other": empty.round(LOOP, 1, 1, 0)["wall_ns"] / empty.requests}


class _Subject:
    """Requests of some codec, and what they took in rounds.

    All subjects take their turn in each round, so that a disturbance of some
    seconds spoils a round of a few of them, and no median.
    """

    def __init__(self, codec: str, level: int, request_pages: int, memory: mmap):
        opened = open_handler(codec, level)
        assert opened is not None
        self._info = {
            "codec": codec,
            "level": level,
            "provider": f"{opened.info.provider} {opened.info.version}".strip(),
            "request_pages": request_pages,
        }
        self._job = BenchJob(
            memory=memory,
            library=opened.library,
            level=level,
            request_size=request_pages * PAGE_SIZE,
        )
        self._alone: list[float] = []
        self._crowding: list[float] = []
        self._served: list[list[int]] = []
        self._measured: dict[int, list[float]] = {n: [] for n in THREADS}

    def take_round(self) -> None:
        alone = self._round(LOOP, 1)
        self._alone.append(alone)
        self._crowding.append(self._crowded() / alone)
        self._served.append(self._serve())
        for threads, measured in self._measured.items():
            measured.append(self._round("workqueue", threads))

    def result(self) -> dict[str, Any]:
        return {
            **self._info,
            "service": self._service(),
            "crowding": max(1.0, median(self._crowding)),
            "measured": {str(n): values for n, values in self._measured.items()},
        }

    def _round(self, design: str, threads: int) -> float:
        """Nanoseconds per request."""
        sample = self._job.round(design, threads, REQUESTS_PER_THREAD, 0)
        if sample["lost"] or sample["repeated"] or sample["wrong"]:
            raise click.ClickException(f"{design} is at fault: {sample}")
        return sample["wall_ns"] / self._job.requests

    def _crowded(self) -> float:
        """The bare loop on all CPUs at once."""
        walls: list[float] = []
        threads = [
            threading.Thread(target=lambda: walls.append(self._round(LOOP, 1)))
            for _ in range(machine().usable_cpus)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return fmean(walls)

    def _serve(self) -> list[int]:
        """The time that each request takes, and a little of Python's."""
        worker = BenchWorker(self._job)
        times = []
        for index in range(self._job.requests):
            start = time.perf_counter_ns()
            worker.serve(index)
            times.append(time.perf_counter_ns() - start)
        return times

    def _service(self) -> list[float]:
        """Quantiles of the time in the handler, brought to the mean of the bare
        loop, which has no Python in it."""
        times = [median(rounds) for rounds in zip(*self._served, strict=True)]
        cuts = quantiles(times, n=_QUANTILES + 1)
        return [cut * median(self._alone) / fmean(cuts) for cut in cuts]


def _take_study(memory: int, repeat: int, rounds: int) -> dict[str, Any]:
    here = machine()
    pages = guest_pages(memory)
    subjects = [
        _Subject(codec, level, request_pages, pages)
        for codec, level in CODECS
        for request_pages in REQUEST_PAGES
    ]
    constants = []
    with tempfile.TemporaryDirectory() as folder:
        program = build_queue_constants(Path(folder))
        for _ in range(repeat):
            constants.append(_constants(program, rounds))
            for subject in subjects:
                subject.take_round()
    return {
        "schema": SCHEMA,
        "machine": asdict(here),
        "memory": memory,
        "constants": {
            name: median(each[name] for each in constants) for name in constants[0]
        },
        "works": [subject.result() for subject in subjects],
    }


def read_study(text: str) -> Study:
    """Raises ValueError when ``text`` is not what ``measure`` wrote."""
    try:
        content = json.loads(text)
        if content["schema"] != SCHEMA:
            raise ValueError(f"is of schema {content['schema']}, not {SCHEMA}")
        return Study(
            content["machine"]["usable_cpus"],
            Costs(**content["constants"]),
            tuple(
                Work(
                    codec=work["codec"],
                    level=work["level"],
                    request_pages=work["request_pages"],
                    service=tuple(work["service"]),
                    crowding=work["crowding"],
                    measured={
                        int(threads): sorted(values)[len(values) // 2]
                        for threads, values in work["measured"].items()
                    },
                )
                for work in content["works"]
            ),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"lacks {error}") from error


# --- Asking the model ---------------------------------------------------------


def predict(study: Study, work: Work, workers: int, cpus: int) -> float:
    """Nanoseconds per request; crowded when the CPUs are those of ``study``."""
    crowding = work.crowding if workers > 1 and cpus == study.cpus else 1.0
    case = Case(
        workers=workers,
        requests_per_thread=REQUESTS_PER_THREAD,
        cpus=cpus,
        service=[time * crowding for time in work.service],
        requests=max(_SIMULATED_LEAST, _SIMULATED * workers),
    )
    return simulate(case, study.costs)


def deviations(study: Study) -> Iterator[tuple[Work, int, float, float]]:
    """Work, threads, measured and predicted nanoseconds per request."""
    for work in study.works:
        for threads, measured in work.measured.items():
            yield work, threads, measured, predict(study, work, threads, study.cpus)


def speed(work: Work, ns_per_request: float) -> float:
    """GB/s of guest memory."""
    return work.request_pages * PAGE_SIZE / ns_per_request


# --- Reports ------------------------------------------------------------------


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, box=None, title_justify="left", title_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if not number else "right")
    return table


def _costs_table(study: Study) -> Table:
    table = _table("Constants, ns", "step", "cost")
    for name, value in asdict(study.costs).items():
        table.add_row(name, f"{value:,.0f}")
    table.add_row("submitter, in all", f"{study.costs.submitter:,.0f}")
    return table


def _deviation_table(study: Study) -> Table:
    table = _table(
        f"Prediction against measurement, {study.cpus} CPUs, us per request",
        "codec",
        "pages",
        "threads",
        "measured",
        "predicted",
        "deviation",
    )
    for work, threads, measured, predicted in deviations(study):
        table.add_row(
            work.name,
            str(work.request_pages),
            str(threads),
            f"{measured / 1e3:,.1f}",
            f"{predicted / 1e3:,.1f}",
            f"{100 * (predicted / measured - 1):+.0f} %",
        )
    return table


def _scaling_table(study: Study) -> Table:
    table = _table(
        "One queue, a CPU for each thread: GB/s by workers, share of the ideal",
        "codec",
        "pages",
        "us each",
        "saturates at",
        "sleepless to",
        *map(str, _MANY),
    )
    for work in study.works:
        cells = []
        for workers in _MANY:
            took = predict(study, work, workers, workers + 1)
            share = work.mean / workers / took
            cells.append(f"{speed(work, took):.1f} {100 * share:.0f} %")
        table.add_row(
            work.name,
            str(work.request_pages),
            f"{work.mean / 1e3:,.1f}",
            f"{saturation(work.mean, study.costs):,.0f}",
            f"{sleepless(work.mean, study.costs):,.0f}",
            *cells,
        )
    return table


def _remedies_table(study: Study) -> Table:
    workers = _MANY[-1]
    table = _table(
        f"{workers} workers among several queues, each with a submitter: GB/s",
        "codec",
        "pages",
        *(f"{queues} queue{'s' if queues > 1 else ''}" for queues in _QUEUES),
    )
    for work in study.works:
        each = [workers // queues for queues in _QUEUES]
        table.add_row(
            work.name,
            str(work.request_pages),
            *(
                f"{queues * speed(work, predict(study, work, n, n + 1)):.1f}"
                for queues, n in zip(_QUEUES, each, strict=True)
            ),
        )
    return table


def _report(study: Study, console: Console) -> None:
    for table in (_costs_table, _deviation_table, _scaling_table, _remedies_table):
        console.print(table(study))
        console.print()


@click.group()
def main() -> None:
    """How one submitter scales: measured, and simulated beyond."""


@main.command("measure")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--memory-mib", type=click.IntRange(1), default=64, show_default=True)
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=100, show_default=True)
def measure_command(out: Path, memory_mib: int, repeat: int, rounds: int) -> None:
    """Measure this machine, and report."""
    content = json.dumps(_take_study(memory_mib << 20, repeat, rounds), indent=1)
    out.write_text(content + "\n")
    _report(read_study(content), Console())


@main.command("simulate")
@click.argument("study", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def simulate_command(study: Path) -> None:
    """Report on what another run has measured."""
    try:
        known = read_study(study.read_text())
    except ValueError as error:
        raise click.ClickException(f"{study} {error}") from error
    _report(known, Console())


if __name__ == "__main__":
    main()
