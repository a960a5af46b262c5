# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files of results that are damaged, hostile, or none."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from migcomp.bench.compare import compare
from migcomp.bench.results_file import read_results
from migcomp.bench.sweep_results import Sweep
from migcomp.errors import ResultsError
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
from tests.conftest import REPOSITORY
from tests.sweeps import MACHINE
from tests.unit.test_results_file import SWEEP, write

PLAN, *OTHERS = (
    {"schema": "migcomp.sweep/1", "kind": "plan"} | to_record(SWEEP.plan),
    {"kind": "machine"} | to_record(MACHINE),
    {"kind": "sample"} | to_record(SWEEP.samples[0]),
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write(tmp_path / "results")


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
        for export in (write_csv, write_jsonl):
            export(sample_table(sweep), BytesIO())
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
