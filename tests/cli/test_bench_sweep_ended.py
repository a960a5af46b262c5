# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sweeps that something ends: Ctrl-C, a kill, a full disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from migcomp.bench.results_file import read_results
from tests.cli.conftest import (
    COMMAND,
    environment,
)
from tests.cli.test_bench_sweep import LITTLE
from tests.cli.test_terminal import on_terminal


def started(image: Path, results: Path, *more: str) -> subprocess.Popen[bytes]:
    """A sweep that would take long, with some samples taken already."""
    base = ("bench", "sweep", image, "-o", results, *LITTLE, "--rounds", "900")
    process = subprocess.Popen(
        [*COMMAND, *base, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
    )
    while process.poll() is None:
        if results.exists() and results.read_bytes().count(b"\n") > 5:
            break
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_an_interrupt_says_how_to_go_on(
    image: Path, tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    results = tmp_path / "results"
    with started(image, results) as process:
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert output == b""
    count = len(read_results(str(results)).samples)
    assert errors.decode().splitlines()[-2:] == [
        f"migcomp: {results} has {count:,} of 1,802 samples; the same command goes on "
        "from there",
        f"migcomp: {word}",
    ]


def test_ctrl_c_reaches_processes_too(image: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with started(image, results, "--executor", "processes:2") as process:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    lines = errors.decode().splitlines()
    assert all(line.startswith("migcomp: ") for line in lines)
    assert lines[-1] == "migcomp: interrupted"
    for pid in {sample.pid for sample in read_results(str(results)).samples}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_kill_loses_the_sample_under_way_only(image: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with started(image, results) as process:
        process.kill()
        process.communicate(timeout=30)
    before = read_results(str(results)).samples
    assert len(before) >= 4
    with started(image, results) as process:
        while len(after := read_results(str(results)).samples) < len(before) + 4:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=30)
    assert after[: len(before)] == before
    assert len({(s.setting, s.round) for s in after}) == len(after)
    assert len({s.pid for s in after}) == 2


def test_a_kill_ends_its_processes_too(image: Path, tmp_path: Path) -> None:
    with started(image, tmp_path / "results", "--executor", "processes:2") as process:
        process.kill()
        # They have its outputs, which end with the last of them.
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL


def test_a_full_disk_says_how_to_go_on(image: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    limited = ["bash", "-c", 'ulimit -f 16; trap "" XFSZ; exec "$@"', "-", *COMMAND]
    done = subprocess.run(
        [*limited, "bench", "sweep", image, "-o", results, *LITTLE, "--rounds", "50"],
        capture_output=True,
        env=environment(),
        check=False,
        timeout=60,
    )
    assert done.returncode == 7
    lines = done.stderr.decode().splitlines()
    assert "the same command goes on from there" in lines[-2]
    assert lines[-1].startswith(f"migcomp: {results} cannot be written: File too large")
    count = len(read_results(str(results)).samples)
    assert f" has {count} of " in lines[-2]


def test_processes_that_cannot_be_had(image: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    limited = ["bash", "-c", 'ulimit -n 16; exec "$@"', "-", *COMMAND]
    base = ("bench", "sweep", image, "-o", results, *LITTLE, "-q")
    done = subprocess.run(
        [*limited, *base, "--executor", "processes:16"],
        capture_output=True,
        env=environment(),
        check=False,
        timeout=60,
    )
    assert done.stderr.decode().splitlines()[-1] == (
        "migcomp: a process cannot be started: Too many open files; take fewer with "
        "--executor processes:N"
    )
    assert done.returncode == 12


def test_on_a_terminal(image: Path, tmp_path: Path) -> None:
    shown = on_terminal("bench", "sweep", image, "-o", tmp_path / "one", *LITTLE)
    assert "sweeping" in shown
    assert "of 100.0" not in shown
    assert re.search(r"11 of 12, \d:\d\d left", shown)
    assert "\x1b[1m" in shown
    assert (
        on_terminal(
            "bench", "sweep", image, "-o", tmp_path / "two", *LITTLE, "-q", columns=40
        )
        == ""
    )
