# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench queue``; no test here looks at a time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from migcomp.bench import designs, queue
from migcomp.bench.designs import DESIGNS
from migcomp.bench.queue_results import Sample
from tests.cli.conftest import COMMAND, command, environment, program, sentence
from tests.cli.test_terminal import on_terminal

SMALL = ("bench", "queue", "-m", "1MiB", "-c", "1")


@pytest.fixture(autouse=True)
def no_idling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(designs, "IDLE_NS", 1000)


def test_the_defaults_are_those_of_its_ancestor() -> None:
    text = " ".join(command("bench", "queue", "--help").text.split())
    for letter, default in (("t", "2"), ("r", "4"), ("m", "1"), ("c", "3")):
        assert re.search(rf"-{letter}, --[^[]*\[default: {default}\]", text), letter


def test_lists_of_threads_and_requests() -> None:
    done = command(*SMALL, "-t", "1,3-4", "-r", "2,1", "--json")
    assert done.code == 0, done.errors
    content = done.json
    assert content["schema"] == "migcomp.bench-queue/1"
    assert [
        (row["design"], row["threads"], row["requests-per-thread"])
        for row in content["series"]
    ] == [("workqueue", t, r) for t in (1, 3, 4) for r in (2, 1)]
    assert content["plan"]["handler"] == "zlib"
    assert content["plan"]["level"] == 1
    assert content["requests"] == 256
    assert content["codec"]["name"] == "zlib"
    assert 0 < content["bytes-out"] < 1 << 20


@pytest.mark.parametrize(
    ("memory", "requests"),
    [("16KiB", 4), ("0.0078125", 2048), ("8M", 2048), ("1", 1 << 18)],
)
def test_a_number_alone_is_gib(memory: str, requests: int) -> None:
    done = command(*SMALL, "-m", memory, "--handler", "empty", "--json")
    assert done.json["requests"] == requests


def test_every_design_can_be_compared() -> None:
    names = [design.name for design in DESIGNS]
    done = command(*SMALL, "--compare", "--handler", "cost", "--cost-ns", "100")
    assert done.code == 0, done.errors
    for name in names:
        assert len(re.findall(rf"^  {name} ", done.text, re.M)) == 3
    done = command(*SMALL, "--design", "one-lock,executor,one-lock", "--json")
    assert [row["design"] for row in done.json["series"]] == ["one-lock", "executor"]


def test_one_request_to_a_thread_is_one_row_for_each_number_of_threads() -> None:
    chosen = ("--design", "thread-locks,one-lock", "-t", "1,2", "-r", "2,4")
    done = command(*SMALL, *chosen, "--handler", "empty", "--json")
    rows = done.json["series"]
    assert [(r["design"], r["threads"], r["requests-per-thread"]) for r in rows] == [
        ("thread-locks", 1, 1),
        ("thread-locks", 2, 1),
        *(("one-lock", t, r) for t in (1, 2) for r in (2, 4)),
    ]


def test_requests_of_many_pages() -> None:
    done = command(*SMALL, "--request-pages", "100", "--handler", "lz4", "--json")
    assert done.json["requests"] == 3
    assert done.json["pages"] == 256


def test_quiet_checks_and_says_nothing() -> None:
    done = command(*SMALL, "-q")
    assert (done.code, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-t", "0"], "'0' is not a positive number"),
        (["-t", "1,,2"], "'' is not a positive number"),
        (["-t", "4-1"], "'4-1' runs backwards"),
        (["-t", "1-"], "'1-' is no range, such as 1-4"),
        (["-t", "2,-4"], "'-4' is no range, such as 1-4"),
        (["-t", "1-9999999999"], "9999999999 is more than 1024"),
        (["-t", "two"], "'two' is not a positive number"),
        (["-r", "65"], "65 is more than 64"),
        (["-c", "0"], "'0' is not a positive number"),
        (["-m", "0"], "'0' is no number of pages"),
        (["-m", "5000B"], "'5000B' is no number of pages"),
        (["-m", "much"], "'much' is not a size"),
        (["-m", "64TiB", "--request-pages", "1024"], "of pages are more than the"),
        (["-m", "1E", "--handler", "empty"], "more than 2,147,483,648"),
        (["--handler", "gzip"], "'gzip' is not one of empty, cost, zlib, zstd, lz4"),
        (["--design", "workqueue,bus"], "'bus' is not one of workqueue, thread-locks"),
        (["--design", "workqueue", "--compare"], "--compare runs all designs"),
        (["--cost-ns", "5"], "--cost-ns is for --handler cost"),
        (["--handler", "cost", "--cost-ns", "100000001"], "is more than 100000000"),
        (["--handler", "empty", "--level", "1"], "--level is for --handler zlib"),
        (["--request-pages", "1025"], "1025 is more than 1024"),
    ],
)
def test_values_that_are_wrong(arguments: list[str], words: str) -> None:
    done = command(*SMALL, *arguments)
    assert done.code == 2
    assert re.search(words, " ".join(done.errors.split()))
    assert done.stdout == b""


def test_a_codec_that_is_missing() -> None:
    done = program(*SMALL, MIGCOMP_LIBZ="none", MIGCOMP_LIBDEFLATE="none")
    assert done.code == 5
    assert "native codecs only" in sentence(done)
    done = command(*SMALL, "--level", "99")
    assert done.code == 2
    assert "zlib has levels" in sentence(done)


def test_a_design_that_loses_a_page_has_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Leaky:
        name = "workqueue"

        def round(self, job: object, threads: int, requests: int) -> Sample:
            return Sample(1, 1, 1, 1, 1, 0, lost=3, repeated=0, wrong=0)

    monkeypatch.setattr(
        queue.measure, "__kwdefaults__", {"designs": [Leaky()], "progress": None}
    )
    done = command(*SMALL)
    assert done.code == 9
    assert sentence(done) == (
        "workqueue with 2 threads and 4 requests to each lost 3 of 256 requests: "
        "its figures are worth nothing"
    )


def test_ctrl_c_ends_at_once() -> None:
    # Would take hours.
    process = subprocess.Popen(
        [*COMMAND, "bench", "queue", "-m", "4096", "--handler", "cost"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    with process:
        while _cpu_seconds(process.pid) < 1 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=30)
        finally:
            process.kill()  # or a failure would wait for those hours
    assert process.returncode == 130
    assert (output, errors) == (b"", b"migcomp: interrupted\n")


def _cpu_seconds(pid: int) -> float:
    """More than starting takes means that it measures."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_on_a_terminal() -> None:
    arguments = (*SMALL, "--handler", "empty", "-t", "1,2")
    shown = on_terminal(*arguments)
    assert "preparing" in shown
    assert "measuring" in shown
    assert "2 of 3" in shown
    assert "None" not in shown
    assert "█" in shown
    assert "\x1b[" in shown
    plain = on_terminal(*arguments, "--color", "never", "-q", columns=40)
    assert plain == ""
