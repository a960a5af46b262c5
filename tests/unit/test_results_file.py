# SPDX-License-Identifier: LGPL-2.1-or-later
"""The file of a sweep: kept, read back, and gone on with."""

from __future__ import annotations

import json
from dataclasses import replace
from io import FileIO
from pathlib import Path

import pytest

from migcomp.bench import results_file
from migcomp.bench.results_file import ResultsFile, read_results
from migcomp.bench.sweep_results import Sweep
from migcomp.errors import ResultsError
from migcomp.outputs import OutputFile
from migcomp.results import Block
from tests.sweeps import IMAGE, MACHINE, make_sweep, setting

SWEEP = make_sweep(
    {setting(): (1000, [1.0] * 5), setting(level=3): (900, [2.0, 2.1, 2.2, 2.0, 2.0])}
)


def write(path: Path, sweep: Sweep = SWEEP) -> Path:
    with ResultsFile(str(path), sweep.plan) as file:
        for sample in sweep.samples:
            file.add(MACHINE, sample)
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write(tmp_path / "results")


def test_all_comes_back(results: Path) -> None:
    assert read_results(str(results)) == SWEEP
    kinds = [json.loads(line)["kind"] for line in results.read_text().splitlines()]
    assert kinds == ["plan", "machine"] + ["sample"] * 12
    assert SWEEP.wanted == 12
    assert [len(series.samples) for series in SWEEP.series] == [5, 5]


def test_a_file_from_before_images_had_options_goes_on(results: Path) -> None:
    lines = results.read_text().splitlines(keepends=True)
    plan = json.loads(lines[0])
    for key in ("given-format", "layout", "diffs", "pad"):
        del plan["images"][0][key]
    old = "".join([json.dumps(plan) + "\n", *lines[1:-1]]).encode()
    results.write_bytes(old)
    with ResultsFile(str(results), SWEEP.plan) as file:
        file.add(MACHINE, SWEEP.samples[-1])
    assert results.read_bytes() == old + lines[-1].encode()
    assert read_results(str(results)) == SWEEP


@pytest.mark.parametrize("left", [0, 1, 5, 11])
def test_an_interrupted_sweep_goes_on(tmp_path: Path, left: int) -> None:
    path = tmp_path / "results"
    part = replace(SWEEP, samples=SWEEP.samples[: 12 - left])
    write(path, part)
    with ResultsFile(str(path), SWEEP.plan) as file:
        assert file.sweep.samples == part.samples
        for sample in SWEEP.samples[12 - left :]:
            file.add(MACHINE, sample)
    assert read_results(str(path)) == SWEEP


@pytest.mark.parametrize("kept", [0, 1, 200])
def test_a_file_without_a_whole_plan_is_begun_anew(results: Path, kept: int) -> None:
    whole = results.read_bytes()
    results.write_bytes(whole[:kept])
    assert write(results).read_bytes() == whole
    results.write_bytes(whole[:kept] + b" ")
    with pytest.raises(ResultsError, match="is no file of results"):
        write(results)
    assert results.read_bytes() == whole[:kept] + b" "


def test_a_kill_loses_the_line_under_way_only(results: Path) -> None:
    content = results.read_bytes()
    lines = content.splitlines(keepends=True)
    for cut in (1, 10, len(lines[-1]) - 1):
        results.write_bytes(content[:-cut])
        assert read_results(str(results)).samples == SWEEP.samples[:-1]
        with ResultsFile(str(results), SWEEP.plan) as file:
            file.add(MACHINE, SWEEP.samples[-1])
        assert results.read_bytes() == content


def test_a_long_rest_without_a_line_is_cut_off(results: Path) -> None:
    content = results.read_bytes()
    results.write_bytes(content + b"x" * 200_000)
    ResultsFile(str(results), SWEEP.plan).__exit__(None, None, None)
    assert results.read_bytes() == content


def test_an_unfinished_sweep_has_series_of_what_it_has(tmp_path: Path) -> None:
    part = replace(SWEEP, samples=SWEEP.samples[:3])  # warm-up, and one sample
    (series,) = read_results(str(write(tmp_path / "results", part))).series
    assert len(series.samples) == 1
    assert series.warm_up is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rounds": 7}, "it has 5 rounds, and this command 7"),
        (
            {"settings": (setting(),), "rounds": 7},
            "it has the setting zstd-3 packet x2, and this command has not",
        ),
        (
            {"settings": (setting(), setting(level=3), setting("zlib"))},
            "this command has the setting zlib-1 packet x2, and it has not",
        ),
        (
            {"settings": (setting(level=3), setting())},
            "its settings are in another order",
        ),
        (
            {"images": ()},
            "it has the image guests/one.raw, and this command has not",
        ),
        (
            {"images": (IMAGE, replace(IMAGE, path="two"))},
            "this command has the image two, and it has not",
        ),
        (
            {"images": (replace(IMAGE, format="elf"),)},
            "of guests/one.raw the format is raw there, and elf here",
        ),
        (
            {"images": (replace(IMAGE, bytes=8192),)},
            "of guests/one.raw the size in bytes is 4096000 there, and 8192 here",
        ),
        (
            {"images": (replace(IMAGE, page_size=16384),)},
            "of guests/one.raw the page size is 4096 there, and 16384 here",
        ),
        (
            {"images": (replace(IMAGE, given_format="raw"),)},
            "of guests/one.raw --image-format differs",
        ),
        (
            {"images": (replace(IMAGE, layout=(Block("low", 4096, 0),)),)},
            "of guests/one.raw --block differs",
        ),
        (
            {"images": (replace(IMAGE, diffs=("diff",)),)},
            "of guests/one.raw --diff differs",
        ),
        (
            {"images": (replace(IMAGE, pad=True),)},
            "of guests/one.raw --pad differs",
        ),
    ],
)
def test_another_plan_is_refused(
    results: Path, change: dict[str, object], words: str
) -> None:
    """And what is the first to differ is told."""
    before = results.read_bytes()
    with pytest.raises(ResultsError) as told:
        ResultsFile(str(results), replace(SWEEP.plan, **change))  # type: ignore[arg-type]
    assert str(told.value) == (
        f"{results} is of another sweep: {words}; repeat the command that began it, or "
        "give another -o"
    )
    assert results.read_bytes() == before


def test_another_machine_is_refused(results: Path) -> None:
    with ResultsFile(str(results), SWEEP.plan) as file:
        file.check_machine(MACHINE)
        for change, words in (
            ({"id": "b", "host": "other"}, r"another machine \(host\)"),
            ({"id": "b", "kernel": "Linux 7"}, r"another kernel \(Linux 6\)"),
            ({"id": "b", "codecs": ()}, "another library of a codec; go on there"),
        ):
            with pytest.raises(ResultsError, match=words):
                file.check_machine(replace(MACHINE, **change))


def test_two_sweeps_do_not_write_one_file(results: Path) -> None:
    with (
        ResultsFile(str(results), SWEEP.plan),
        pytest.raises(ResultsError, match="is being written by another sweep"),
    ):
        ResultsFile(str(results), SWEEP.plan)


def test_whoever_looks_finds_no_file_or_a_whole_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results"
    seen = []

    def write_byte_by_byte(file: FileIO, content: bytes) -> None:
        for at in range(len(content)):
            if path.exists():
                seen.append(len(read_results(str(path)).samples))
            file.write(content[at : at + 1])

    monkeypatch.setattr(results_file, "write_all", write_byte_by_byte)
    write(path)
    assert sorted(set(seen)) == list(range(len(SWEEP.samples)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]


def test_a_sweep_that_began_in_the_same_moment_is_found_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results"
    others = []

    def begin_first(path: str) -> OutputFile:
        monkeypatch.undo()
        others.append(ResultsFile(path, SWEEP.plan))
        return OutputFile(path)

    monkeypatch.setattr(results_file, "OutputFile", begin_first)
    with pytest.raises(ResultsError, match="is being written by another sweep"):
        ResultsFile(str(path), SWEEP.plan)
    with others[0]:
        assert others[0].sweep.samples == ()


def test_a_link_to_nothing_yet_leads_to_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("results")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert read_results(str(tmp_path / "results")) == SWEEP
