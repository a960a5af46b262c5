# SPDX-License-Identifier: LGPL-2.1-or-later
"""How commands end whose pipes close, or that are interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import (
    COMMAND,
    command,
    environment,
    image_bytes,
    program,
)


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


# --- Pipes ---------------------------------------------------------------------


def test_a_reader_that_goes_away(image: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.raw"
    large.write_bytes(image_bytes() * 8)
    for arguments in (
        ["run", large, "-o", "-"],
        ["sample", "--size", "4MiB", "-o", "-"],
    ):
        with started(*arguments) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.read(10)
            process.stdout.close()
            assert process.wait(30) == 141
            assert process.stderr.read() == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["codecs"],
        ["run", "{}"],
        ["run", "{}", "--json"],
        ["completion", "bash"],
    ],
)
def test_a_reader_that_never_came(image: Path, arguments: list[str]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = program(*(a.format(image) for a in arguments), stdout=theirs)
    os.close(theirs)
    assert done.code == 141
    assert done.errors == ""


def test_standard_streams_that_are_closed(image: Path) -> None:
    for redirection in (">&-", "2>&-", "<&- >&- 2>&-"):
        line = f"{' '.join(COMMAND)} run {image} {redirection}"
        done = subprocess.run(
            ["sh", "-c", line], capture_output=True, env=environment(), check=False
        )
        assert done.returncode == 0
        assert done.stderr == b""


@pytest.mark.parametrize(
    "arguments",
    [
        "run {image} -o -",
        "restore {stream} -o -",
        "sample --size 1MiB -o -",
        "convert {image} - --to raw",
    ],
)
def test_data_for_a_standard_output_that_is_closed(
    image: Path, stream: Path, arguments: str
) -> None:
    line = f"{' '.join(COMMAND)} {arguments.format(image=image, stream=stream)} >&-"
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, env=environment(), check=False
    )
    assert done.returncode == 7
    assert done.stderr == (
        b"migcomp: standard output is closed; redirect it, or name a file\n"
    )


# --- Signals -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "terminated"),
    ],
)
def test_a_signal_leaves_no_output(
    tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    output = tmp_path / "x.migc"
    with started("run", "-", "-o", output) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(image_bytes() * 2)
        process.stdin.flush()
        wait_for_partial_output(tmp_path)
        time.sleep(0.3)  # until it waits for more input
        process.send_signal(number)
        assert process.wait(30) == code
        assert process.stderr.read().decode() == f"migcomp: {word}\n"
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_workers_work(tmp_path: Path) -> None:
    image = tmp_path / "guest.raw"
    command("sample", "--size", "16MiB", "-o", image)
    output = tmp_path / "x.migc"
    with started("run", image, "-l", "22", "-t", "1", "-o", output) as process:
        assert process.stderr
        wait_for_partial_output(tmp_path)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b"migcomp: interrupted\n"
    assert list(tmp_path.iterdir()) == [image]


@pytest.mark.parametrize(
    "raised",
    [
        "raise KeyboardInterrupt",
        # What Python before 3.12 makes of it while a class is made.
        "raise RuntimeError from KeyboardInterrupt()",
    ],
)
@pytest.mark.parametrize("module", ["click", "migcomp.cli.signals", "migcomp.cli.run"])
def test_ctrl_c_while_the_program_starts(module: str, raised: str) -> None:
    script = f"""
import sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            {raised}

sys.meta_path.insert(0, Finder())
sys.argv = ["migcomp", "run", "x"]
from migcomp.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env=environment(),
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == "migcomp: interrupted\n"


def wait_for_partial_output(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not any(p.name.endswith(".partial") for p in folder.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
