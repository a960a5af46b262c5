# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a contender is, and how each kind of them is measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import process
from benchmarks.samples import Sample


@dataclass(frozen=True)
class Contender:
    """``measure`` takes one sample; ``missing`` says why it cannot, if so.

    ``prepare`` runs once, before the first round, and is not measured.
    """

    name: str
    description: str
    measure: Callable[[], Sample]
    missing: str = ""
    prepare: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Program:
    """A whole process, from start to exit.

    It writes ``output`` by itself, or on standard output (``to_stdout``).
    """

    command: Sequence[str]
    output: Path
    to_stdout: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self) -> Sample:
        self.output.unlink(missing_ok=True)
        finished = process.run(
            self.command,
            environment=self.environment,
            stdout=self.output if self.to_stdout else None,
        )
        size = self.output.stat().st_size
        # At once, so that the kernel does not write it out while others run.
        self.output.unlink()
        return {
            "wall_seconds": finished.wall_seconds,
            "cpu_seconds": finished.cpu_seconds,
            "bytes_out": size,
        }


@dataclass(frozen=True)
class Engine:
    """Only what ``migcomp run`` without an output reports of itself."""

    command: Sequence[str]

    def __call__(self) -> Sample:
        report = json.loads(process.run(self.command).stdout)
        return {
            "wall_seconds": report["time"]["wall-seconds"],
            "cpu_seconds": report["time"]["cpu-seconds"],
            "bytes_out": report["stream"]["bytes"],
        }


@dataclass(frozen=True)
class Limit:
    """Only the bare loop's own time; see limit.c."""

    command: Sequence[str]

    def __call__(self) -> Sample:
        report = json.loads(process.run(self.command).stdout)
        return {
            key: report[key] for key in ("wall_seconds", "cpu_seconds", "bytes_out")
        }


@dataclass(frozen=True)
class Memory:
    """The most anonymous memory that any of ``commands`` takes.

    ``outputs`` are removed after each.
    """

    commands: Sequence[Sequence[str]]
    outputs: Sequence[Path]
    python: str

    def __call__(self) -> Sample:
        interpreter = process.anonymous_of_interpreter(self.python, "migcomp")
        peak = 0
        for command in self.commands:
            peak = max(peak, process.anonymous_peak(command))
            for output in self.outputs:
                output.unlink(missing_ok=True)
        return {
            "anonymous_mib": (peak - interpreter) / 2**20,
            "interpreter_mib": interpreter / 2**20,
        }


#: Of its thread: a name for each number of requests that a queue is tried with.
QUEUE_PATTERNS = {
    1: "lockstep-1",
    4: "pipelined-4",
    16: "pipelined-16",
    64: "pipelined-64",
}


@dataclass(frozen=True)
class QueueCost:
    """Nanoseconds per empty request of ``design`` with one worker.

    Of each size, by ``migcomp bench queue``.
    """

    design: str
    requests: int

    def __call__(self) -> Sample:
        command = [sys.executable, "-m", "migcomp", "bench", "queue", "--json"]
        command += ["--design", self.design, "--handler", "empty", "-t", "1"]
        command += ["-r", ",".join(map(str, QUEUE_PATTERNS))]
        command += ["-m", f"{4 * self.requests}KiB", "-c", "1"]
        report = json.loads(process.run(command).stdout)
        return {
            QUEUE_PATTERNS[row["requests-per-thread"]]: row["ns-per-request"]["median"]
            for row in report["series"]
        }
