# SPDX-License-Identifier: LGPL-2.1-or-later
"""Places where samples are taken: processes, and workers that die."""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import Any

import pytest

from migcomp.bench.executors import place_of, spread
from migcomp.bench.results_file import ResultsFile, read_results
from migcomp.bench.sweep import State, run_sweep, swept_image, tasks
from migcomp.bench.sweep_results import Setting, SweepPlan, SweptImage
from migcomp.bench.sweep_run import Task
from migcomp.errors import ExecutorError, ResultsError
from tests.cli.conftest import image_bytes
from tests.unit.test_sweep import PLAN, fake


@pytest.fixture
def image(tmp_path: Path) -> SweptImage:
    path = tmp_path / "guest.raw"
    path.write_bytes(image_bytes(600))
    return swept_image(str(path), 4096)


class Mortal(Executor):
    """Runs tasks at once, until ``lives`` are done; then it is broken."""

    def __init__(self, lives: int, log: list[Task]) -> None:
        self._lives = lives
        self._log = log

    def submit(self, _fn: Any, task: Task) -> Any:  # type: ignore[override]
        future: Future[Any] = Future()
        if self._lives < -1:
            raise BrokenExecutor
        self._lives -= 1
        if self._lives < 0:
            future.set_exception(BrokenExecutor())
        else:
            self._log.append(task)
            future.set_result(fake(task))
        return future


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("lives", [1, 4, 7, 1000])
def test_dead_workers_are_replaced_and_lose_nothing(width: int, lives: int) -> None:
    log: list[Task] = []
    found = list(spread(tasks(PLAN), lambda: Mortal(lives, log), width))
    keys = Counter((sample.setting, sample.round) for _, sample in found)
    assert keys == Counter((t.setting_number, t.round) for t in tasks(PLAN))
    assert len(log) == 36


class Failing(Executor):
    """Runs tasks at once; every third fails, from the fourth on."""

    def __init__(self) -> None:
        self.done: list[Task] = []

    def submit(self, _fn: Any, task: Task) -> Any:  # type: ignore[override]
        future: Future[Any] = Future()
        if self.done and len(self.done) % 3 == 0:
            future.set_exception(ResultsError("it failed"))
        else:
            future.set_result(fake(task))
        self.done.append(task)
        return future


def test_a_task_that_fails_loses_none_that_are_done() -> None:
    executor = Failing()
    found = []

    def collect() -> None:
        for _, sample in spread(tasks(PLAN), lambda: executor, 8):
            found.append((sample.setting, sample.round))

    with pytest.raises(ResultsError, match="it failed"):
        collect()
    done = {(t.setting_number, t.round) for t in executor.done}
    failed = {(t.setting_number, t.round) for t in executor.done[3::3]}
    assert len(found) == len(set(found)) > 3
    assert set(found) == done - failed


def test_what_kills_its_worker_is_named() -> None:
    with pytest.raises(
        ExecutorError, match=r"3 times in a row .* over zstd-\d packet x2"
    ):
        list(spread(tasks(PLAN), lambda: Mortal(0, []), 1))


def test_processes(image: SweptImage, tmp_path: Path) -> None:
    plan = SweepPlan((image,), (Setting("lz4", 1, "page", 1),), 5)
    path = str(tmp_path / "results")
    with ResultsFile(path, plan) as file, place_of("processes:2") as place:
        assert place.here
        run_sweep(file, place.runner, width=place.width)
    samples = read_results(path).samples
    assert len(samples) == 6
    assert os.getpid() not in {sample.pid for sample in samples}
    assert len({sample.result.stream_bytes for sample in samples}) == 1


def test_a_process_that_is_killed_loses_no_finished_sample(
    image: SweptImage, tmp_path: Path
) -> None:
    plan = SweepPlan((image,), (Setting("lz4", 1, "page", 1),), 20)
    path = str(tmp_path / "results")
    killed: list[int] = []

    def kill(state: State) -> None:
        if state.done in (5, 10):
            pid = read_results(path).samples[-1].pid
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    with ResultsFile(path, plan) as file, place_of("processes") as place:
        run_sweep(file, place.runner, width=place.width, told=kill)
    samples = read_results(path).samples
    assert sorted(sample.round for sample in samples) == list(range(21))
    pids = list(dict.fromkeys(sample.pid for sample in samples))
    assert pids[:2] == killed
    assert len(pids) == 3


@pytest.mark.parametrize(
    "name", ["threads", "processes:0", "processes:x", "dask:x", "dask://host"]
)
def test_places_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="is none of processes, processes:N and dask"):
        place_of(name)
