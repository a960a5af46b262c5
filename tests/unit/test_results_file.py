# SPDX-License-Identifier: LGPL-2.1-or-later
"""The file of a sweep: kept, read back, gone on with, and damaged."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO, FileIO, StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from migcomp.bench import results_file
from migcomp.bench.compare import compare
from migcomp.bench.results_file import ResultsFile, read_results
from migcomp.bench.sweep_results import Sweep
from migcomp.errors import ResultsError
from migcomp.outputs import OutputFile
from migcomp.records import to_record
from migcomp.report import compare_terminal, sweep_terminal
from migcomp.report.compare_figures import compare_table
from migcomp.report.html.sweep import to_html
from migcomp.report.sweep_figures import sweep_table
from migcomp.report.sweep_json import compare_to_json, sweep_to_json
from migcomp.report.sweep_samples import (
    sample_table,
    write_csv,
    write_jsonl,
    write_parquet,
)
from migcomp.report.tables import to_markdown, to_prometheus
from migcomp.results import Block
from tests.conftest import REPOSITORY
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


# --- Damage --------------------------------------------------------------------------

PLAN, *OTHERS = (
    {"schema": "migcomp.sweep/1", "kind": "plan"} | to_record(SWEEP.plan),
    {"kind": "machine"} | to_record(MACHINE),
    {"kind": "sample"} | to_record(SWEEP.samples[0]),
)


def changed(record: object, key: str, value: object) -> bytes:
    """With the value at ``a.b``, ``...`` for none."""
    content = json.loads(json.dumps(record))
    inner, keys = content, key.split(".")
    for part in keys[:-1]:
        inner = inner[int(part) if part.isdecimal() else part]
    if value is ...:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("image", 1, "the plan has no image 1"),
        ("setting", -1, "the plan has no setting -1"),
        ("round", 6, "the plan has no round 6"),
        ("round", True, "round is no int"),
        ("round", 1.0, "round is no int"),
        ("machine", "other", "no machine 'other' came before"),
        ("load", "much", "load is no float"),
        ("cached-share", [], "cached-share is no float"),
        ("result.queue.busy", ..., "result.queue.busy is missing"),
        ("result.workers", {}, "result.workers is no array"),
        ("result.workers", [1], r"result.workers\[0\] is no object"),
        ("result.pages", None, "result.pages is no object"),
        ("result.wall-seconds", float("nan"), "NaN is no number"),
        ("page-sizes", [1, "2"], r"page-sizes\[1\] is no int"),
        ("load", 10**400, "load is too large"),
        ("result.stream-bytes", 1 << 64, "result.stream-bytes is too large"),
        ("result.wall-seconds", 0, "it measured nothing"),
        ("result.stream-bytes", 0, "it measured nothing"),
        ("result.image-bytes", 0, "it measured nothing"),
        ("result.wall-seconds", 5e-324, "it measured nothing"),
        ("result.submitter-cpu-seconds", -1.0, "it counts less than nothing"),
        ("result.pages.zero", -1, "it counts less than nothing"),
        ("result.queue.busy", -1, "it counts less than nothing"),
        ("result.workers.0.cpu-seconds", -1e-9, "it counts less than nothing"),
        ("result.request-times.p50", -1, "it counts less than nothing"),
        ("result.blocks.0.length", -1, "it counts less than nothing"),
        ("page-sizes", [-1], "it counts less than nothing"),
        ("result.lost-bytes", 1000, "no run loses anything"),
        ("result.settings.page-size", -4096, "its pages are not those of the image"),
    ],
)
def test_damage_is_told_with_its_line(
    tmp_path: Path, key: str, value: object, words: str
) -> None:
    path = tmp_path / "results"
    line = changed(OTHERS[1], key, value)
    path.write_bytes(
        json.dumps(PLAN).encode() + b"\n" + json.dumps(OTHERS[0]).encode() + b"\n"
        + line + b"\n"
    )  # fmt: skip
    with pytest.raises(ResultsError, match=f"results is damaged in line 3: {words}"):
        read_results(str(path))


def leaves(content: object, key: str = "") -> Iterator[str]:
    """``a.b`` for each value that is no object, of an array for the first."""
    if isinstance(content, dict):
        for name, inner in content.items():
            yield from leaves(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(content, list) and content:
        yield from leaves(content[0], f"{key}.0")
    else:
        yield key


def hostile(folder: Path, record: int, value: object) -> Iterator[Sweep]:
    """What is read where ``value`` stands for any one of the others."""
    samples = [json.loads(changed(OTHERS[1], "round", number)) for number in (0, 1)]
    records = (PLAN, OTHERS[0], *samples)
    path = folder / "results"
    for key in leaves(records[record]):
        if key in ("kind", "round"):
            continue
        lines = [json.dumps(r).encode() for r in records]
        lines[record] = changed(records[record], key, value)
        path.write_bytes(b"\n".join([*lines, b""]))
        with contextlib.suppress(ResultsError):
            yield read_results(str(path))


HOSTILE = [0, -1, (1 << 64) - 1, 1e-300, 1e19, "", "\x1b[2J", "\udcff"]
every_record = pytest.mark.parametrize("record", [0, 1, 2, 3])


@pytest.mark.parametrize("value", HOSTILE)
@every_record
def test_hostile_values_are_refused_or_shown(
    tmp_path: Path, record: int, value: object
) -> None:
    for sweep in hostile(tmp_path, record, value):
        text = StringIO()
        console = Console(file=text, width=120)
        sweep_terminal.render(sweep, console)
        json.dumps(sweep_to_json(sweep), allow_nan=False)
        to_prometheus(sweep_table(sweep)).encode()
        to_markdown(sweep_table(sweep)).encode()
        for write in (write_csv, write_jsonl):
            write(sample_table(sweep), BytesIO())
        with contextlib.suppress(OverflowError):
            write_parquet(sample_table(sweep), BytesIO())
        if sweep.series:
            comparison = compare(sweep, sweep, ("a", "b"))
            json.dumps(compare_to_json(comparison), allow_nan=False)
            compare_terminal.render(comparison, console)
            to_markdown(compare_table(comparison))
        assert "\x1b" not in text.getvalue()


@pytest.mark.long
@pytest.mark.parametrize("value", [(1 << 64) - 1, 1e-300, "\x1b[2J", "\udcff"])
@pytest.mark.parametrize("record", [0, 1, 2])
def test_hostile_values_make_no_page_or_a_sound_one(
    tmp_path: Path, record: int, value: object
) -> None:
    for sweep in hostile(tmp_path, record, value):
        with contextlib.suppress(ResultsError):
            assert b"\x1b" not in to_html({"results": sweep})


def test_a_sample_comes_once(results: Path) -> None:
    results.write_bytes(
        results.read_bytes() + results.read_bytes().splitlines(True)[-1]
    )
    with pytest.raises(ResultsError, match="in line 15: it repeats a sample"):
        read_results(str(results))


def test_what_nobody_knows_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "results"
    lines = [changed(PLAN, "news", 1), b'{"kind": "news"}', b"[]", b"1"]
    lines += [changed(record, "news", {}) for record in OTHERS]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    assert read_results(str(path)).samples == SWEEP.samples[:1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\n",
        b"{}\n",
        b"\x89MIGC\r\n\x1a\n",
        b"[" * 100_000 + b"\n",
        changed(PLAN, "rounds", "5") + b"\n",
        changed(PLAN, "schema", None) + b"\n",
        changed(PLAN, "settings.0.codec", "\x1b[2J") + b"\n",
        changed(PLAN, "settings.0.threads", 0) + b"\n",
        changed(PLAN, "images.0.page-size", 5) + b"\n",
        bytes(1 << 20),
    ],
)
def test_what_is_no_file_of_results(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match="no file of results that migcomp bench"):
        read_results(str(path))


def test_a_later_schema_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.write_bytes(changed(PLAN, "schema", "migcomp.sweep/2") + b"\n")
    with pytest.raises(ResultsError, match=r"the schema 'migcomp\.sweep/2'; this ver"):
        read_results(str(path))


def test_a_line_without_end_takes_bounded_memory(
    results: Path, bounded_memory: None
) -> None:
    with results.open("rb+") as file:
        file.truncate(1 << 30)
    with pytest.raises(ResultsError, match="in line 15: it is too long"):
        read_results(str(results))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="results cannot be read: No such file"):
        read_results(str(tmp_path / "results"))
    with pytest.raises(ResultsError, match="cannot be read: Is a directory"):
        read_results(str(tmp_path))


@given(st.binary(max_size=60), st.integers(0, 200))
def test_no_damage_is_a_bug(noise: bytes, where: int) -> None:
    good = b"".join(json.dumps(r).encode() + b"\n" for r in (PLAN, *OTHERS))
    bad = good[: where * 15] + noise + good[where * 15 + len(noise) :]
    with tempfile.NamedTemporaryFile() as file, contextlib.suppress(ResultsError):
        file.write(bad)
        file.flush()
        read_results(file.name)


def test_every_key_is_documented() -> None:
    told = (REPOSITORY / "docs/results-format.md").read_text()

    def keys(content: object) -> set[str]:
        if isinstance(content, dict):
            return set(content).union(*map(keys, content.values()))
        return set().union(*map(keys, content)) if isinstance(content, list) else set()

    for key in keys([PLAN, *OTHERS]):
        assert f"`{key}`" in told, key
