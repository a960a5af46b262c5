# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench sweep --executor dask://``, on a cluster of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from migcomp.bench.results_file import read_results
from tests.cli.conftest import COMMAND, environment, program, sentence

LITTLE = ("--set", "quick", "-c", "lz4,zstd", "-t", "1")
pytestmark = pytest.mark.timeout(900)
PATIENCE_SECONDS = 200  # of a busy machine, where a minute was nearly needed

Start = Callable[[], "subprocess.Popen[bytes]"]


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of Dask's, which ends with the block."""
    running = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, Start]]:
    """Its address, and what starts a worker with one thread."""
    pytest.importorskip("distributed")
    told = tmp_path / "scheduler.json"
    options = ("--no-dashboard", "--scheduler-file", str(told))
    where = ("--host", "127.0.0.1", "--port", "0")
    with ExitStack() as stack:
        run = ("distributed.cli.dask_scheduler", *options, *where)
        stack.enter_context(process(*run))
        wait_for(told.exists)
        wait_for(lambda: told.read_text().endswith("}"))

        def start() -> subprocess.Popen[bytes]:
            run = ("distributed.cli.dask_worker", *options, "--nthreads", "1")
            folder = ("--no-nanny", "--local-directory", str(tmp_path))
            return stack.enter_context(process(*run, *folder))

        yield json.loads(told.read_text())["address"].removeprefix("tcp://"), start


def test_a_worker_that_is_killed_loses_no_finished_sample(
    scheduler: tuple[str, Start], image: Path, tmp_path: Path
) -> None:
    address, start = scheduler
    workers = [start(), start()]
    with import_module("distributed").Client(address) as client:
        client.wait_for_workers(2, timeout=PATIENCE_SECONDS)
    results = tmp_path / "results"
    arguments = ("--executor", f"dask://{address}", "--rounds", "100", *LITTLE, "-q")
    base = ("bench", "sweep", str(image), "-o", str(results))

    def pids() -> set[int]:
        return {sample.pid for sample in read_results(str(results)).samples}

    sweep = subprocess.Popen(
        [*COMMAND, *base, *arguments], stderr=subprocess.PIPE, env=environment()
    )
    with sweep:
        wait_for(lambda: results.exists() and len(pids()) == 2)
        before = read_results(str(results)).samples
        workers[0].kill()
        _, told = sweep.communicate(timeout=PATIENCE_SECONDS)
    assert (sweep.returncode, told) == (0, b""), told.decode()
    found = read_results(str(results))
    assert found.samples[: len(before)] == before
    keys = [(s.setting, s.round) for s in found.samples]
    assert len(set(keys)) == len(keys) == found.wanted == 4 * 101
    assert pids() == {worker.pid for worker in workers}
    # The one that was killed took none of the last.
    assert {s.pid for s in found.samples[-5:]} == {workers[1].pid}


@pytest.mark.long
def test_what_is_lost_in_mid_run_ends_it(
    scheduler: tuple[str, Start], image: Path, tmp_path: Path
) -> None:
    address, start = scheduler
    worker = start()
    with import_module("distributed").Client(address) as client:
        client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
    results = tmp_path / "results"
    base = ("bench", "sweep", str(image), "-o", str(results), *LITTLE)
    with subprocess.Popen(
        [*COMMAND, *base, "--rounds", "900", "--executor", f"dask://{address}"],
        stderr=subprocess.PIPE,
        env=environment(),
    ) as sweep:
        wait_for(
            lambda: results.exists() and len(read_results(str(results)).samples) > 4
        )
        worker.kill()
        _, told = sweep.communicate(timeout=PATIENCE_SECONDS)
    assert sweep.returncode == 12
    lines = told.decode().splitlines()
    assert lines[-1] == "migcomp: all workers of the Dask cluster are gone"
    count = len(read_results(str(results)).samples)
    assert lines[-2].startswith(f"migcomp: {results} has {count} of 3,604 samples; ")
    assert all(line.startswith("migcomp: ") for line in lines), told.decode()


def test_an_image_that_a_worker_does_not_have(
    scheduler: tuple[str, Start], image: Path, tmp_path: Path
) -> None:
    """Which is there for those who read the error."""
    address, start = scheduler
    start()
    with import_module("distributed").Client(address) as client:
        client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
    base = ("bench", "sweep", image.name, "-o", "results", *LITTLE)
    done = subprocess.run(
        [*COMMAND, *base, "--executor", f"dask://{address}", "-q"],
        cwd=image.parent,
        capture_output=True,
        env=environment(),
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.stderr.decode().splitlines()[-1] == (
        "migcomp: on a worker of the Dask cluster: guest.raw cannot be opened: No such "
        "file or directory"
    )
    assert done.returncode == 3


def test_clusters_that_cannot_be_had(
    scheduler: tuple[str, Start], image: Path, tmp_path: Path
) -> None:
    address, _ = scheduler
    base = ("bench", "sweep", image, "-o", tmp_path / "results", *LITTLE, "--executor")
    done = program(*base, f"dask://{address}")
    assert done.code == 12
    assert sentence(done) == f"the Dask cluster at {address} has no workers"
    (tmp_path / "distributed.py").write_text("raise ImportError")
    done = program(*base, f"dask://{address}", PYTHONPATH=str(tmp_path))
    assert done.code == 12
    assert sentence(done).endswith("a package: pip install 'migcomp[dask]'")
    assert not (tmp_path / "results").exists()


@pytest.mark.long
def test_a_scheduler_that_does_not_answer(image: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    base = ("bench", "sweep", image, "-o", tmp_path / "results", *LITTLE, "--executor")
    done = program(*base, "dask://127.0.0.1:9")
    assert done.code == 12
    assert sentence(done).startswith("no Dask scheduler answers at 127.0.0.1:9: ")
    assert not (tmp_path / "results").exists()
