# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench sweep``, and what reads its file; no test here looks at a time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from migcomp.bench.results_file import ResultsFile, read_results
from migcomp.bench.sweep_results import Sweep
from tests.cli.conftest import (
    COMMAND,
    Outcome,
    command,
    environment,
    image_bytes,
    program,
    sentence,
)
from tests.cli.test_terminal import on_terminal
from tests.sweeps import MACHINE, make_sweep, setting

LITTLE = ("-c", "lz4,zstd", "-g", "page", "-t", "1", "--set", "quick")


def sweep(image: Path, results: Path, *more: str) -> Outcome:
    return command("bench", "sweep", image, "-o", results, *LITTLE, *more)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a small sweep."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "guest.raw").write_bytes(image_bytes())
    assert sweep(folder / "guest.raw", folder / "results").code == 0
    return folder / "results"


def test_a_sweep(image: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = sweep(image, results)
    assert done.code == 0, done.errors
    assert "best for a link" in done.text
    lines = done.errors.splitlines()
    assert lines[0] == "migcomp: warm-up, 0 of 12 samples"
    assert re.fullmatch(r"migcomp: round 5, 11 of 12 samples, \d:\d\d left", lines[-1])
    found = read_results(str(results))
    assert [s.name for s in found.plan.settings] == ["lz4-1 page x1", "zstd-1 page x1"]
    assert Counter(s.round for s in found.samples) == dict.fromkeys(range(6), 2)


def test_all_of_it_was_done(done: Path) -> None:
    before = done.read_bytes()
    again = sweep(done.parent / "guest.raw", done, "--json")
    assert again.code == 0
    assert again.errors == ""
    assert len(again.json["samples"]) == 12
    assert done.read_bytes() == before


def test_two_images_and_lists(image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.raw"
    other.write_bytes(image_bytes(100, seed=2))
    results = tmp_path / "results"
    lists = ("-c", "zlib", "-l", "1-2,9", "-g", "page,stream", "-t", "1", "-q")
    more = ("--dedup", "both", "--rounds", "6")
    done = command("bench", "sweep", image, other, "-o", results, *lists, *more)
    assert (done.code, done.stdout, done.stderr) == (0, b"", b"")
    found = read_results(str(results))
    assert len(found.plan.settings) == 3 * 2 * 2
    assert found.plan.rounds == 6
    assert len(found.samples) == found.wanted == 12 * 2 * 7


def test_a_plan_from_a_file(image: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('rounds = 5\n[[sweep]]\ncodec = "lz4"\nlevel = [1, 2]\nthreads = 1')
    results = tmp_path / "results"
    chosen = ("--plan", str(plan), "-l", "2", "-q")
    done = command("bench", "sweep", image, "-o", results, *chosen)
    assert done.code == 0, done.errors
    (found,) = read_results(str(results)).plan.settings
    assert found.name == "lz4-2 packet x1"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-c", "gzip"], 2, "'gzip' is not one of zstd, lz4, zlib, none"),
        (["-l", "x"], 2, "'x' is not a level, or levels as in 1-9"),
        (["-l", "3-1"], 2, "'3-1' runs backwards"),
        (["-l", "1-1001"], 2, "are more than 1000 levels"),
        (["-l", "99"], 5, "lz4 has levels"),
        (["-g", "book"], 2, "'book' is not one of page, packet, stream"),
        (["-t", "0"], 2, "'0' is not a positive number"),
        (["--rounds", "4"], 2, "a sweep takes 5 to 1000 rounds: fewer cannot tell"),
        (["--plan", "none.toml", "--set", "full"], 2, "--plan takes the place of"),
        (["--executor", "threads"], 2, "'threads' is none of processes, processes:N"),
        (["--format", "csv", "--json"], 2, "--json is --format json"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    image: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    results = tmp_path / "results"
    base = [a for a in ("--set", "quick") if "--set" not in arguments]
    if not {"-c", "-l"} & set(arguments):
        base += ["-c", "lz4"]
    if "-l" in arguments:
        base += ["-c", "lz4"]
    done = command("bench", "sweep", image, "-o", results, *base, *arguments)
    assert done.code == code
    assert words in sentence(done)
    assert not results.exists()


def test_plans_that_cannot_be_read(image: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    base = ("bench", "sweep", image, "-o", tmp_path / "results", "--plan", plan)
    done = command(*base)
    assert done.code == 2
    assert "plan.toml cannot be read: No such file" in sentence(done)
    plan.write_text("rounds = 5")
    done = command(*base)
    assert done.code == 2
    assert "plan.toml has no table [[sweep]]" in sentence(done)


def test_images_that_cannot_be_swept(image: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = sweep(Path("-"), results)
    assert (done.code, done.stdout) == (2, b"")
    assert "standard input can be read only once" in sentence(done)
    done = command("bench", "sweep", image, image, "-o", results, *LITTLE)
    assert done.code == 2
    assert "an image is named twice" in sentence(done)
    done = sweep(tmp_path / "none.raw", results)
    assert done.code == 3
    assert "none.raw cannot be opened: No such file" in sentence(done)
    assert not results.exists()


def test_files_of_others_are_left_alone(image: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.write_bytes(image.read_bytes())
    done = sweep(image, results)
    assert done.code == 10
    assert "is no file of results that migcomp bench sweep wrote" in sentence(done)
    assert results.read_bytes() == image.read_bytes()
    done = sweep(image, tmp_path / "no" / "results")
    assert done.code == 7
    assert "results cannot be written: No such file" in sentence(done)
    results.unlink()
    assert sweep(image, results, "-q").code == 0
    done = sweep(image, results, "--rounds", "6")
    assert done.code == 10
    assert "with other rounds; repeat the command that began it" in sentence(done)
    text = results.read_text()
    kernel = os.uname().release
    results.write_text(text.replace(kernel, "1.0"))
    done = sweep(image, results)
    assert done.code == 10
    assert re.search(r"holds samples of another kernel \(.*1\.0\)", sentence(done))


def test_a_codec_that_is_missing(image: Path, tmp_path: Path) -> None:
    base = (
        "bench",
        "sweep",
        image,
        "-o",
        tmp_path / "results",
        "-t",
        "1",
        "-g",
        "page",
    )
    done = program(*base, "--set", "quick", MIGCOMP_LIBLZ4="none")
    assert done.code == 0, done.errors
    assert "migcomp: left out: no library for lz4 was found" in done.errors
    done = program(*base, "-c", "lz4,zstd", MIGCOMP_LIBLZ4="none")
    assert done.code == 5
    assert "no library for lz4" in sentence(done)


# --- Interrupted ---------------------------------------------------------------------


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


def test_on_a_terminal(image: Path, tmp_path: Path) -> None:
    shown = on_terminal("bench", "sweep", image, "-o", tmp_path / "one", *LITTLE)
    assert "sweeping" in shown
    assert re.search(r"11 of 12, \d:\d\d left", shown)
    assert "\x1b[1m" in shown
    assert (
        on_terminal(
            "bench", "sweep", image, "-o", tmp_path / "two", *LITTLE, "-q", columns=40
        )
        == ""
    )


# --- show, compare, check, export ----------------------------------------------------


@pytest.mark.parametrize("name", ["text", "json", "csv", "markdown", "prometheus"])
def test_every_format(done: Path, name: str) -> None:
    shown = command("bench", "show", done, "--format", name)
    assert shown.code == 0, shown.errors
    assert "lz4" in shown.text
    compared = command("bench", "compare", done, done, "--format", name)
    assert compared.code == 0, compared.errors
    assert "lz4" in compared.text


def keep(path: Path, sweep: Sweep) -> Path:
    with ResultsFile(str(path), sweep.plan) as file:
        for sample in sweep.samples:
            file.add(MACHINE, sample)
    return path


STEADY = [1.0, 1.01, 0.99, 1.02, 0.98]


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    names = (setting(), setting(level=2))
    return keep(tmp_path / "baseline", make_sweep(dict.fromkeys(names, (99, STEADY))))


@pytest.mark.parametrize(
    ("speed", "stream", "most", "worse"),
    [
        (1.0, 99, "5%", ""),
        (0.8, 99, "5%", ""),
        (1.04, 99, "5%", ""),
        (1.2, 99, "17%", ""),
        (1.2, 99, "5%", "zstd-1 packet x2 is 16.7 % slower"),
        (1.2, 99, "16.5", "zstd-1 packet x2 is 16.7 % slower"),
        (1.0, 110, "5%", "zstd-1 packet x2 is 10.0 % less rate"),
        (
            1.2,
            110,
            "5%",
            "zstd-1 packet x2 is 16.7 % slower and 10.0 % less rate",
        ),
    ],
)
def test_a_check(
    baseline: Path, tmp_path: Path, speed: float, stream: int, most: str, worse: str
) -> None:
    now = make_sweep(
        {
            setting(): (stream, [x * speed for x in STEADY]),
            setting(level=2): (99, STEADY),
        }
    )
    results = keep(tmp_path / "results", now)
    arguments = ("bench", "check", results, "--baseline", baseline)
    done = command(*arguments, "--max-regression", most, "-q")
    assert done.stdout == b""
    if worse:
        assert done.code == 11
        assert sentence(done) == f"{results} is worse than {baseline}: {worse}"
    else:
        assert (done.code, done.errors) == (0, "")
    assert "geometric mean" in command(*arguments).text


def test_a_setting_that_is_gone_fails_the_check(baseline: Path, tmp_path: Path) -> None:
    results = keep(tmp_path / "results", make_sweep({setting(): (99, STEADY)}))
    done = command("bench", "check", results, "--baseline", baseline, "-q")
    assert done.code == 11
    assert sentence(done).endswith(": zstd-2 packet x2 is missing")


@pytest.mark.parametrize("most", ["x", "-1", "5%%", "1e3", "1000000"])
def test_percentages_that_are_none(baseline: Path, most: str) -> None:
    base = ("bench", "check", baseline, "--baseline", baseline)
    done = command(*base, f"--max-regression={most}")
    assert done.code == 2
    assert "is not a percentage such as 5% or 2.5%" in sentence(done)


def test_nothing_in_common(baseline: Path, tmp_path: Path) -> None:
    other = keep(tmp_path / "other", make_sweep({setting("lz4"): (99, STEADY)}))
    done = command("bench", "compare", baseline, other)
    assert done.code == 10
    assert "have no setting of the same image in common" in sentence(done)


@pytest.mark.parametrize("name", ["show", "compare", "check", "export"])
def test_what_is_no_file_of_results(name: str, image: Path, baseline: Path) -> None:
    more: dict[str, tuple[str | Path, ...]] = {
        "compare": (baseline,),
        "check": ("--baseline", baseline),
        "export": ("--to", "csv", "-o", "-"),
    }
    done = command("bench", name, image, *more.get(name, ()))
    assert done.code == 10
    assert "is no file of results that migcomp bench sweep wrote" in sentence(done)


def test_export(done: Path, tmp_path: Path) -> None:
    output = tmp_path / "table"
    base = ("bench", "export", done, "-o", output)
    assert command(*base, "--to", "csv").code == 0
    assert output.read_text().count("\n") == 13
    again = command(*base, "--to", "jsonl")
    assert again.code == 7
    assert "exists already" in sentence(again)
    assert command(*base, "--to", "jsonl", "--force").code == 0
    assert len(list(map(json.loads, output.read_text().splitlines()))) == 12
    assert command(*base, "--to", "parquet", "--force").code == 0
    assert output.read_bytes().startswith(b"PAR1")
    piped = program("bench", "export", done, "-o", "-", "--to", "csv")
    assert piped.text.count("\n") == 13


def test_without_the_package_for_parquet(done: Path, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError")
    output = tmp_path / "table"
    arguments = ("bench", "export", done, "-o", output, "--to", "parquet")
    told = program(*arguments, PYTHONPATH=str(tmp_path))
    assert told.code == 7
    assert sentence(told) == "Parquet needs a package: pip install 'migcomp[parquet]'"
    assert not output.exists()


def test_an_unfinished_sweep_can_be_shown(tmp_path: Path) -> None:
    whole = make_sweep({setting(): (99, STEADY)})
    part = keep(tmp_path / "part", replace(whole, samples=whole.samples[:3]))
    shown = command("bench", "show", part)
    assert shown.code == 0
    assert "The sweep has 3 of 6 samples" in " ".join(shown.text.split())
