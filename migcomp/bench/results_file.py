# SPDX-License-Identifier: LGPL-2.1-or-later
"""The file of a sweep: JSON Lines, appended to sample by sample.

The first line is the plan, with the schema; the others are machines, each before
its first sample, and samples.  Each line goes to the disk before the next run, so
that a kill loses no more than the run under way; a last line without its end is
what a kill left, and counts for nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import fields
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NoReturn, Self

from migcomp.bench.sweep_results import (
    Sweep,
    SweepMachine,
    SweepPlan,
    SweepSample,
    SweptImage,
)
from migcomp.errors import OutputError, ResultsError
from migcomp.images.image import PAGE_SIZES
from migcomp.outputs import OutputFile
from migcomp.records import from_record, to_record
from migcomp.stream.sink import write_all
from migcomp.units import many

SCHEMA = "migcomp.sweep/1"

#: What differs between two machines, in words.
_WORDS = {
    "host": "machine",
    "cpu": "CPU",
    "cpus": "number of CPUs",
    "cores": "number of cores",
    "usable_cpus": "number of usable CPUs",
    "memory_bytes": "size of memory",
    "python": "Python",
    "migcomp": "version of migcomp",
    "codecs": "library of a codec",
}

#: What can differ of an image, in words, and else by its option.
_IMAGE_WORDS = {
    "bytes": "the size in bytes",
    "format": "the format",
    "page_size": "the page size",
    "given_format": "--image-format",
    "layout": "--block",
    "diffs": "--diff",
    "pad": "--pad",
}

#: No line of ours is that long.
_LINE_MOST = 16 << 20


def read_results(path: str) -> Sweep:
    """The sweep in ``path``, complete or not; ``-`` is standard input.

    Raises ResultsError.
    """
    try:
        with _opened(path) as file:
            return _read(path, _lines(path, file))
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error


def _opened(path: str) -> BinaryIO:
    if path == "-":
        # Not /dev/stdin: a socket has no name to be opened by.
        return open(0, "rb", closefd=False)
    return Path(path).open("rb")


class ResultsFile:
    """Appends to a sweep's file, which is made if there is none.

    ``sweep`` is what it holds already.  Raises ResultsError for a file of another
    plan, or one that another process appends to, OutputError for one that cannot be
    made, and OSError.
    """

    def __init__(self, path: str, plan: SweepPlan) -> None:
        self.path = path
        exists = Path(path).exists()
        if exists and not Path(path).is_file():
            raise ResultsError(f"{path} is no regular file, which samples could be in")
        first = _line({"schema": SCHEMA, "kind": "plan"} | to_record(plan))
        if not exists:
            _begin(path, first)
        self._file = FileIO(path, "rb+")
        try:
            self._lock()
            # What is empty, or was cut off before the plan was whole, is begun anew.
            head = self._file.read(len(first))
            if head != first and first.startswith(head):
                self.sweep = Sweep(plan, ())
                self._file.seek(0)
                self._append(first)
            else:
                self.sweep = read_results(path)
                self._check_plan(plan)
                self._cut_off_rest()
            self._machines = {machine.id for machine in self.sweep.machines}
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def check_machine(self, here: SweepMachine) -> None:
        """That what is added will have been measured where the rest was.

        Raises ResultsError.
        """
        for machine in self.sweep.machines:
            if machine != here:
                raise ResultsError(
                    f"{self.path} holds samples of {_other(machine, here)}; go on "
                    "there, or give another -o"
                )

    def add(self, machine: SweepMachine, sample: SweepSample) -> None:
        """Both are on the disk when this returns.  Raises OSError."""
        if machine.id not in self._machines:
            self._append(_line({"kind": "machine"} | to_record(machine)))
            self._machines.add(machine.id)
        self._append(_line({"kind": "sample"} | to_record(sample)))

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResultsError(
                f"{self.path} is being written by another sweep; wait for its end, or "
                "give another -o"
            ) from None

    def _check_plan(self, plan: SweepPlan) -> None:
        if self.sweep.plan != plan:
            what = _difference(self.sweep.plan, plan)
            raise ResultsError(
                f"{self.path} is of another sweep: {what}; repeat the command that "
                "began it, or give another -o"
            )

    def _append(self, line: bytes) -> None:
        write_all(self._file, line)
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


def _line(record: dict[str, object]) -> bytes:
    text = json.dumps(record, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def _begin(path: str, first: bytes) -> None:
    """Makes the file with its plan in it, so that nobody ever reads less."""
    try:
        with OutputFile(path) as file:
            write_all(file, first)
            os.fdatasync(file.fileno())
    except OutputError:
        # Another sweep may have begun it in this moment; its lock tells.
        if not Path(path).exists():
            raise
    folder = os.open(Path(path).resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _other(theirs: SweepMachine, ours: SweepMachine) -> str:
    """As in ``another kernel (Linux 6.1)``: what is the first to differ."""
    for field in fields(SweepMachine):
        there, here = getattr(theirs, field.name), getattr(ours, field.name)
        if field.name == "id" or there == here:
            continue
        what = _WORDS.get(field.name, field.name)
        shown = "" if field.name == "codecs" else f" ({there})"
        return f"another {what}{shown}"
    return "another machine"


def _difference(there: SweepPlan, here: SweepPlan) -> str:
    """As in ``it has 5 rounds, and this command 7``: what is the first to differ of two
    plans that are not equal."""
    paths = [[image.path for image in plan.images] for plan in (there, here)]
    if told := _first_to_differ("image", *paths):
        return told
    for image, other in zip(there.images, here.images, strict=True):
        for field in fields(SweptImage):
            was, now = getattr(image, field.name), getattr(other, field.name)
            if was != now:
                what = _IMAGE_WORDS.get(field.name, field.name)
                if {type(was), type(now)} <= {int, str}:
                    return f"of {image.path} {what} is {was} there, and {now} here"
                return f"of {image.path} {what} differs"
    names = [[setting.name for setting in plan.settings] for plan in (there, here)]
    if told := _first_to_differ("setting", *names):
        return told
    return f"it has {many(there.rounds, 'round')}, and this command {here.rounds}"


def _first_to_differ(what: str, there: list[str], here: list[str]) -> str:
    """Empty if they are equal."""
    ours, theirs = set(here), set(there)
    for name in there:
        if name not in ours:
            return f"it has the {what} {name}, and this command has not"
    for name in here:
        if name not in theirs:
            return f"this command has the {what} {name}, and it has not"
    return "" if there == here else f"its {what}s are in another order"


def _lines(path: str, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
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
    seen: set[tuple[int, int, int]] = set()
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
                key = (sample.image, sample.setting, sample.round)
                if key in seen:
                    raise ValueError("it repeats a sample")
                seen.add(key)
                samples.append(sample)
        except (ValueError, RecursionError) as error:
            if plan is None:
                _refuse_all(path)
            nested = isinstance(error, RecursionError)
            _refuse(path, number, "it is nested too deeply" if nested else str(error))
    if plan is None:
        _refuse_all(path)
    return Sweep(plan, tuple(machines.values()), tuple(samples))


def _plan(path: str, content: object) -> SweepPlan:
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema == SCHEMA:
        plan = from_record(SweepPlan, content)
        for setting in plan.settings:
            if not setting.name.isprintable():
                raise ValueError("a name holds what cannot be printed")
            if setting.threads < 1:
                raise ValueError("a setting has no threads")
        if not all(image.page_size in PAGE_SIZES for image in plan.images):
            raise ValueError("no guest has pages of such a size")
        return plan
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
    result = sample.result
    measured = min(result.image_bytes, result.stream_bytes, result.wall_seconds * 1e9)
    if measured < 1:
        raise ValueError("it measured nothing")
    if result.settings.page_size != plan.images[sample.image].page_size:
        raise ValueError("its pages are not those of the image")
    if min(_counts(sample)) < 0:
        raise ValueError("it counts less than nothing")
    if result.missing_bytes or result.lost_bytes:
        raise ValueError("no run loses anything")


def _counts(sample: SweepSample) -> Iterator[float]:
    """All that figures are made of, and charts have an axis for."""
    result = sample.result
    yield from (sample.load, sample.cached_share or 0, *(sample.page_sizes or ()))
    yield from (result.submitter_cpu_seconds, result.compressed_bytes)
    yield from (worker.cpu_seconds for worker in result.workers)
    yield from vars(result.pages).values()
    yield from vars(result.queue).values()
    yield from (time for time in vars(result.request_times).values() if time)
    for region in result.regions:
        yield from (region.first_page, region.bytes_out, *vars(region.pages).values())
    for block in result.blocks:
        yield from (block.length, block.guest_address)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _refuse(path: str, number: int, why: str) -> NoReturn:
    raise ResultsError(f"{path} is damaged in line {number}: {why}")


def _refuse_all(path: str) -> NoReturn:
    raise ResultsError(f"{path} is no file of results that migcomp bench sweep wrote")
