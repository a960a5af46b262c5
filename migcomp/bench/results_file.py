# SPDX-License-Identifier: LGPL-2.1-or-later
"""The file of a sweep: JSON Lines, appended to sample by sample.

The first line is the plan, with the schema; the others are machines, each before
its first sample, and samples.  Each line goes to the disk before the next run, so
that a kill loses no more than the run under way; a last line without its end is
what a kill left, and counts for nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import NoReturn

from migcomp.bench.records import from_record, to_record
from migcomp.bench.sweep_results import Sweep, SweepMachine, SweepPlan, SweepSample
from migcomp.errors import ResultsError

SCHEMA = "migcomp.sweep/1"

#: No line of ours is that long.
_LINE_MOST = 16 << 20


def read_results(path: str) -> Sweep:
    """The sweep in ``path``, complete or not.  Raises ResultsError."""
    try:
        with Path(path).open("rb") as file:
            return _read(path, _lines(path, file))  # type: ignore[arg-type]
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error


class ResultsFile:
    """Appends to a sweep's file, which is made if there is none.

    ``sweep`` is what it holds already.  Raises ResultsError for a file of another
    plan, and OSError.
    """

    def __init__(self, path: str, plan: SweepPlan) -> None:
        self.path = path
        fresh = not Path(path).exists()
        if fresh:
            self.sweep = Sweep(plan, ())
        else:
            self.sweep = read_results(path)
            if self.sweep.plan != plan:
                raise ResultsError(
                    f"{path} holds the results of another sweep ("
                    f"{_difference(self.sweep.plan, plan)}); give another -o"
                )
        self._machines = {machine.id for machine in self.sweep.machines}
        self._file = FileIO(path, "xb" if fresh else "rb+")
        try:
            if fresh:
                self._append({"schema": SCHEMA, "kind": "plan"} | to_record(plan))
                _sync_folder(path)
            else:
                self._cut_off_rest()
        except BaseException:
            self.close()
            raise

    def add(self, machine: SweepMachine, sample: SweepSample) -> None:
        """Both are on the disk when this returns.  Raises OSError."""
        if machine.id not in self._machines:
            self._append({"kind": "machine"} | to_record(machine))
            self._machines.add(machine.id)
        self._append({"kind": "sample"} | to_record(sample))

    def close(self) -> None:
        self._file.close()

    def _append(self, record: dict[str, object]) -> None:
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
        rest = memoryview(line + b"\n")
        while rest:
            rest = rest[self._file.write(rest) or 0 :]
        os.fdatasync(self._file.fileno())

    def _cut_off_rest(self) -> None:
        """Takes away a last line that is not whole."""
        end = self._file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65536)
            self._file.seek(start)
            newline = self._file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        self._file.truncate(end)
        self._file.seek(end)


def _sync_folder(path: str) -> None:
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _difference(theirs: SweepPlan, ours: SweepPlan) -> str:
    for what in ("images", "settings", "rounds"):
        if getattr(theirs, what) != getattr(ours, what):
            return f"its {what} are others"
    return ""


def _lines(path: str, file: FileIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(_LINE_MOST):
        number += 1
        if not line.endswith(b"\n"):
            if len(line) < _LINE_MOST:
                return
            _refuse(path, number, "it is too long")
        yield number, line


def _read(path: str, lines: Iterator[tuple[int, bytes]]) -> Sweep:
    plan: SweepPlan | None = None
    machines: dict[str, SweepMachine] = {}
    samples: list[SweepSample] = []
    for number, line in lines:
        try:
            content = json.loads(line, parse_constant=_no_number)
            if plan is None:
                plan = _plan(path, content)
                continue
            kind = content.get("kind") if isinstance(content, dict) else None
            if kind == "machine":
                machine = from_record(SweepMachine, content)
                machines[machine.id] = machine
            elif kind == "sample":
                sample = from_record(SweepSample, content)
                _check(sample, plan, machines)
                samples.append(sample)
        except (ValueError, RecursionError) as error:
            if plan is None:
                _refuse_all(path)
            _refuse(path, number, str(error))
    if plan is None:
        _refuse_all(path)
    return Sweep(plan, tuple(machines.values()), tuple(samples))


def _plan(path: str, content: object) -> SweepPlan:
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema == SCHEMA:
        return from_record(SweepPlan, content)
    if isinstance(schema, str) and schema.startswith("migcomp.sweep/"):
        raise ResultsError(
            f"{path} has the schema {schema[:40]!r}; this version of migcomp reads "
            f"{SCHEMA}"
        )
    raise ValueError("it is no plan")


def _check(
    sample: SweepSample, plan: SweepPlan, machines: dict[str, SweepMachine]
) -> None:
    for what, number, count in (
        ("image", sample.image, len(plan.images)),
        ("setting", sample.setting, len(plan.settings)),
        ("round", sample.round, plan.rounds + 1),
    ):
        if not 0 <= number < count:
            raise ValueError(f"the plan has no {what} {number}")
    if sample.machine not in machines:
        raise ValueError(f"no machine {sample.machine!r} came before")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _refuse(path: str, number: int, why: str) -> NoReturn:
    raise ResultsError(f"{path} is damaged in line {number}: {why}")


def _refuse_all(path: str) -> NoReturn:
    raise ResultsError(f"{path} is no file of results that migcomp bench sweep wrote")
