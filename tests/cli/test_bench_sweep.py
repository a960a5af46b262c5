# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench sweep``, no test here looks at a time."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from migcomp.bench.results_file import read_results
from tests.cli.conftest import (
    Outcome,
    command,
    image_bytes,
    program,
    sentence,
)

LITTLE = ("-c", "lz4,zstd", "-g", "page", "-t", "1", "--set", "quick")


def sweep(image: Path, results: Path, *more: str) -> Outcome:
    return command("bench", "sweep", image, "-o", results, *LITTLE, *more)


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


def test_a_sweep_that_is_complete_is_shown(image: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert sweep(image, results).code == 0
    before = results.read_bytes()
    again = sweep(image, results, "--json")
    assert again.code == 0
    assert again.errors == f"migcomp: {results} has all samples already\n"
    assert len(again.json["samples"]) == 12
    assert results.read_bytes() == before


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


def test_what_an_image_does_not_tell(tmp_path: Path) -> None:
    """It counts, is kept, and the sweep goes on with nothing else."""
    guest, diff, results = (tmp_path / name for name in ("guest", "diff", "results"))
    guest.write_bytes(b"\x7fELF" + image_bytes(32)[4:])
    with diff.open("wb") as file:
        file.truncate(guest.stat().st_size)
        file.seek(8192)
        file.write(b"news" * 1024)
    told = ("--image-format", "raw", "--page-size", "16KiB", "--diff")
    blocks = ("--block", "low:0:64KiB", "--block", "high:4GiB:64KiB")
    assert sweep(guest, results, *told, str(diff), *blocks, "-q").code == 0
    found = read_results(str(results))
    (image,) = found.plan.images
    assert (image.format, image.given_format, image.page_size) == ("raw", "raw", 16384)
    assert (image.diffs, image.bytes) == ((str(diff),), 131072)
    assert [(b.name, b.guest_address) for b in image.layout] == [
        ("low", 0),
        ("high", 1 << 32),
    ]
    assert found.samples[0].result.blocks == image.layout
    alike = ("--format", *told[1:], diff, *blocks, "-c", "lz4", "-g", "page")
    ran = command("run", guest, *alike, "--json")
    streams = {s.result.stream_bytes for s in found.samples if s.setting == 0}
    assert streams == {ran.json["stream"]["bytes"]}
    before = results.read_bytes()
    for other, what in (
        ((*told, str(diff)), "--block"),
        ((*told[:-1], *blocks), "--diff"),
    ):
        done = sweep(guest, results, *other)
        assert done.code == 10
        assert f"of {guest} {what} differs; repeat the command" in sentence(done)
    assert sweep(guest, results, *told, str(diff), *blocks, "-q").code == 0
    assert results.read_bytes() == before


def test_a_last_page_that_is_cut_off(tmp_path: Path) -> None:
    guest, results = tmp_path / "guest", tmp_path / "results"
    guest.write_bytes(image_bytes(32)[:-100])
    done = sweep(guest, results)
    assert done.code == 3
    assert "--pad" in sentence(done)
    assert sweep(guest, results, "--pad", "-q").code == 0
    assert read_results(str(results)).plan.images[0].pad


def test_an_image_that_is_not_what_is_said_of_it(image: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = sweep(image, results, "--block", "low:0:64KiB")
    assert done.code == 2
    assert "correct --block" in sentence(done)
    done = sweep(image, results, "--image-format", "elf")
    assert done.code == 3
    done = sweep(image, results, "--image-format", "book")
    assert (done.code, results.exists()) == (2, False)


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
        (["-l", "99"], 2, "lz4 has levels"),
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
    assert "plan.toml: has no table [[sweep]]" in sentence(done)
    plan.write_text('[[sweep]]\ncodec = "lz4"\nlevel = 99')
    done = command(*base)
    assert done.code == 2
    assert "plan.toml: [[sweep]] 1: level: lz4 has levels" in sentence(done)


def test_an_image_whose_name_is_no_text(image: Path, tmp_path: Path) -> None:
    guest = image.rename(os.fsdecode(os.fsencode(tmp_path) + b"/guest\xff.raw"))
    results, output = tmp_path / "results", tmp_path / "output"
    for _ in range(2):  # the second reads what the first wrote
        done = sweep(guest, results, "-q")
        assert (done.code, done.errors) == (0, "")
    for form in ("text", "json", "csv", "markdown", "prometheus"):
        shown = program("bench", "show", results, "--format", form)
        assert shown.code == 0, shown.errors
        assert b"guest\\" in shown.stdout
    for kind in ("csv", "jsonl", "parquet"):
        done = command(
            "bench", "export", results, "--to", kind, "-o", output, "--force"
        )
        assert (done.code, done.errors) == (0, "")
    done = command("report", results, "-o", output, "--force")
    assert (done.code, done.errors) == (0, "")


def test_images_that_cannot_be_swept(image: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = sweep(Path("-"), results)
    assert (done.code, done.stdout) == (2, b"")
    assert "standard input can be read only once" in sentence(done)
    done = sweep(image, Path("-"))
    assert (done.code, done.stdout) == (2, b"")
    assert "a sweep that can go on needs a file" in sentence(done)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = sweep(pipe, results)
    assert done.code == 3
    assert "pipe is a pipe, which can be read only once" in sentence(done)
    done = sweep(image, pipe)
    assert done.code == 10
    assert "pipe is no regular file" in sentence(done)
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
    assert "it has 5 rounds, and this command 6; repeat the command" in sentence(done)
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


def test_a_codec_that_a_python_package_does(image: Path, tmp_path: Path) -> None:
    base = ("bench", "sweep", image, "-o", tmp_path / "results", "--set", "quick")
    only = ("-c", "zstd,lz4", "-t", "1")
    done = program(*base, *only, MIGCOMP_LIBZSTD="none")
    assert done.code == 0, done.errors
    told = [line for line in done.errors.splitlines() if "Python package" in line]
    assert len(told) == 1
    assert "the Python package zstandard does the work" in told[0]
    done = program(*base, *only, "-q", MIGCOMP_LIBZSTD="none")
    assert (done.code, done.errors) == (0, "")
