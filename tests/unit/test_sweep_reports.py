# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sweeps and comparisons in every form they are printed in."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from io import BytesIO, StringIO

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from migcomp.bench.compare import compare
from migcomp.bench.sweep_results import Setting, Sweep
from migcomp.report import compare_terminal, sweep_terminal
from migcomp.report.compare_advice import notes
from migcomp.report.compare_figures import compare_table
from migcomp.report.sweep_figures import sweep_table
from migcomp.report.sweep_json import compare_to_json, sweep_to_json
from migcomp.report.sweep_samples import WRITERS, sample_table
from migcomp.report.tables import (
    Column,
    FigureTable,
    to_csv,
    to_markdown,
    to_prometheus,
)
from migcomp.results import RequestTimes
from tests.conftest import REPOSITORY
from tests.sweeps import (
    IMAGE,
    STEADY,
    make_sweep,
    setting,
    steady,
    with_samples,
)

SLOW = setting(level=19)
QUICK = setting("lz4", threads=1)
USELESS = Setting("zlib", 9, "stream", 16, dedup=True)
SWEEP = make_sweep(
    {
        SLOW: (IMAGE.bytes // 8, [x / 2 for x in STEADY]),
        QUICK: (IMAGE.bytes // 4, [x / 4 for x in STEADY]),
        USELESS: (IMAGE.bytes // 3, STEADY),
    }
)


def shown(render: object, thing: object, width: int, color: bool = False) -> str:
    file = StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
    )
    render(thing, console)  # type: ignore[operator]
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 200])
def test_a_sweep_on_the_terminal(width: int) -> None:
    text = shown(sweep_terminal.render, SWEEP, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    assert "\x1b" not in text
    colored = shown(sweep_terminal.render, SWEEP, width, color=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == text != colored
    assert "one.raw: 3.91 MiB, 3 settings in 5 rounds" in text
    # Half of the pages are zero.  The slow one is overtaken where 2 times the link
    # reaches its 4.096 MB/s, and the quick one where the link does its 8.192 MB/s.
    assert re.search(r"up to 16\.4 Mbit/s +zstd-19 packet x2 +rate 8\.00 +8\.19", text)
    assert re.search(r"16\.4 to 65\.5 Mbit/s +lz4-1 packet x1 +rate 4\.00", text)
    assert re.search(r"from 65\.5 Mbit/s +no compression", text)
    rows = {
        name: next(line for line in lines if line.startswith(f"  {name}"))
        for name in (SLOW.name, QUICK.name, USELESS.name)
    }
    assert " * " in rows[SLOW.name]
    assert " * " in rows[QUICK.name]
    assert " * " not in rows[USELESS.name]
    assert re.search(r"4\.00 +16\.4 +1\.0 % +\d+\.\d\d +65\.5 Mbit/s", rows[QUICK.name])
    if width > 80:
        assert rows[QUICK.name].count("█") == 4 * rows[USELESS.name].count("█") > 20
        assert "1.00 us" in rows[QUICK.name]


def test_images_of_one_name_are_told_apart() -> None:
    other = replace(IMAGE, path="others/one.raw")
    samples = [replace(s, image=1) for s in SWEEP.samples]
    two = replace(
        SWEEP,
        plan=replace(SWEEP.plan, images=(IMAGE, other)),
        samples=(*SWEEP.samples, *samples),
    )
    text = shown(sweep_terminal.render, two, 80)
    assert "guests/one.raw: " in text
    assert "others/one.raw: " in text


def test_one_round_tells_nothing_of_noise() -> None:
    sweep = make_sweep({QUICK: (1000, STEADY)})
    begun = replace(sweep, samples=sweep.samples[:2])
    text = shown(sweep_terminal.render, begun, 80)
    assert re.search(r"lz4-1 packet x1 .* - +\d", text)
    (row,) = sweep_table(begun).rows
    assert row["rounds"] == 1
    assert row["noise-ratio"] is row["wall-mad-seconds"] is None
    (row,) = sweep_table(replace(sweep, samples=sweep.samples[:3])).rows
    assert row["noise-ratio"] == pytest.approx(0.005 / 1.005)


def test_an_image_that_nothing_helps() -> None:
    sweep = make_sweep({QUICK: (IMAGE.bytes, STEADY)})
    text = shown(sweep_terminal.render, sweep, 80)
    assert re.search(r"any link +no compression", text)
    assert "no link" in text


def test_nothing_measured_yet() -> None:
    empty = replace(SWEEP, machines=(), samples=())
    assert "0 of 18 samples" in shown(sweep_terminal.render, empty, 80)
    assert sweep_table(empty).rows == []
    assert sample_table(empty).rows == []


COMPARISON = compare(
    make_sweep({SLOW: (1000, STEADY), QUICK: (1000, STEADY), USELESS: (1, STEADY)}),
    make_sweep(
        {SLOW: (1000, [x * 2 for x in STEADY]), QUICK: (900, STEADY[::-1])},
    ),
    ("a", "b"),
)


@pytest.mark.parametrize("width", [80, 200])
def test_a_comparison_on_the_terminal(width: int) -> None:
    text = shown(compare_terminal.render, COMPARISON, width)
    assert max(map(len, text.splitlines())) <= width
    assert re.search(r"zstd-19 packet x2 .* 0\.500 .*slower +1\.000", text)
    assert re.search(r"lz4-1 packet x1 .* 1\.000 .*not significant +1\.111", text)
    told = " ".join(text.split())
    assert "geometric mean of 2 settings: speed 0.707, rate 1.054" in told
    assert "Of the first, 1 setting the second did not measure: zlib-9 stream" in told


def test_compared_images_of_one_name_are_told_apart() -> None:
    other = replace(IMAGE, path="others/one.raw")
    samples = [
        replace(s, image=1, result=replace(s.result, image_digest=7))
        for s in SWEEP.samples
    ]
    plan = replace(SWEEP.plan, images=(IMAGE, other))
    two = replace(SWEEP, plan=plan, samples=(*SWEEP.samples, *samples))
    text = shown(compare_terminal.render, compare(two, two, ("a", "b")), 80)
    assert "guests/one.raw\n" in text
    assert "others/one.raw\n" in text


def test_a_comparison_says_when_the_machine_was_busy() -> None:
    quiet = steady()
    busy = with_samples(quiet, load=3.0)
    assert notes(compare(quiet, quiet, ("a", "b"))) == ()
    (sentence,) = notes(compare(quiet, busy, ("a", "b")))
    assert sentence.startswith("Of the second sweep: the machine was busy when the")
    first, second = notes(compare(busy, busy, ("a", "b")))
    assert first.startswith("Of the first sweep: the machine was busy")
    assert second == sentence


def test_too_few_rounds_are_no_verdict() -> None:
    before = make_sweep({SLOW: (1000, STEADY)})
    after = make_sweep({SLOW: (1000, [x * 2 for x in STEADY[:4]])})
    text = shown(compare_terminal.render, compare(before, after, ("a", "b")), 80)
    assert re.search(r"zstd-19 packet x2 .* 0\.49\d .*too few rounds", text)
    assert "1 setting took too few rounds for any" in " ".join(text.split())


def test_json_keeps_every_sample() -> None:
    content = json.loads(json.dumps(sweep_to_json(SWEEP)))
    assert content["schema"] == "migcomp.sweep-report/1"
    assert len(content["samples"]) == SWEEP.wanted
    assert content["machines"][0]["host"] == "host"
    slow, quick, useless = content["settings"]
    assert (slow["codec"], slow["level"], slow["threads"]) == ("zstd", 19, 2)
    assert slow["guest-bytes-per-second"] == IMAGE.bytes * 2
    assert slow["best-from-bytes-per-second"] == 0
    assert slow["best-to-bytes-per-second"] == quick["best-from-bytes-per-second"]
    assert useless["best-to-bytes-per-second"] is None
    assert [row["front"] for row in content["settings"]] == [True, True, False]
    content = json.loads(json.dumps(compare_to_json(COMPARISON)))
    assert content["schema"] == "migcomp.sweep-compare/1"
    assert [row["significant"] for row in content["settings"]] == [True, False]
    assert content["missing"][0]["codec"] == "zlib"
    assert content["same-machine"] is True
    assert [note[:13] for note in content["notes"]] == ["Of the first,"]


def test_csv_comes_back() -> None:
    table = sweep_table(SWEEP)
    rows = list(csv.DictReader(StringIO(to_csv(table))))
    assert list(rows[0]) == [column.key for column in table.columns]
    assert [row["codec"] for row in rows] == ["zstd", "lz4", "zlib"]
    assert float(rows[0]["rate"]) == 8.0
    assert rows[0]["front"] == "1"
    assert rows[2]["best-to-bytes-per-second"] == ""


def test_markdown_is_a_table() -> None:
    lines = to_markdown(sweep_table(SWEEP)).splitlines()
    assert len(lines) == 2 + 3
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert lines[2].startswith("| guests/one.raw | zstd | 19 | packet |  | 2 | 8.00 |")


HOSTILE = FigureTable(
    "hostile",
    (
        Column("path", "P", "path", label=True),
        Column("some-bytes", "With a \\ and\na line.", "n"),
        Column("nothing", "Never told.", "m"),
    ),
    [
        {"path": 'a"b\\c\nd|e', "some-bytes": 1.5, "nothing": None},
        {"path": "\udcff", "some-bytes": True, "nothing": None},
    ],
)


def families(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    assert text.endswith("\n")
    names = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
    assert len({name for name, _ in names}) == len(names)
    assert {kind for _, kind in names} <= {"gauge"}
    found = {}
    for family in text_string_to_metric_families(text):
        assert re.fullmatch("[a-z][a-z0-9_]+", family.name)
        assert family.documentation
        assert all(sample.timestamp is None for sample in family.samples)
        found[family.name] = [(s.labels, s.value) for s in family.samples]
    return found


def test_prometheus_takes_what_is_written_for_it() -> None:
    rows = sweep_table(SWEEP).rows
    found = families(to_prometheus(sweep_table(SWEEP)))
    assert len(found["migcomp_sweep_rate"]) == len(rows)
    labels, value = found["migcomp_sweep_rate"][0]
    assert value == 8.0
    assert labels == {
        "image": "guests/one.raw",
        "codec": "zstd",
        "level": "19",
        "grouping": "packet",
        "dedup": "false",
        "threads": "2",
    }
    assert len(found["migcomp_sweep_best_to_bytes_per_second"]) == 2
    assert "migcomp_sweep_request_p99_seconds" not in found
    assert families(to_prometheus(compare_table(COMPARISON)))
    (samples,) = families(to_prometheus(HOSTILE)).values()
    assert samples == [({"path": 'a"b\\c\nd|e'}, 1.5), ({"path": r"\udcff"}, 1.0)]


def test_markdown_escapes_what_would_end_a_cell() -> None:
    first = to_markdown(HOSTILE).splitlines()[2]
    assert r"d\|e" in first
    assert first.count("|") - first.count(r"\|") == 4


def written(kind: str, sweep: Sweep) -> bytes:
    file = BytesIO()
    WRITERS[kind](sample_table(sweep), file)
    return file.getvalue()


def test_every_sample_is_exported_alike() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    jsonl = [json.loads(line) for line in written("jsonl", SWEEP).splitlines()]
    assert len(jsonl) == SWEEP.wanted
    assert jsonl[0]["warm-up"] is True
    assert jsonl[0]["image-digest"] == "feedfacecafebeef"
    walls = [row["wall-seconds"] for row in jsonl if row["codec"] == "lz4"]
    assert sorted(walls[1:]) == [x / 4 for x in sorted(STEADY)]
    assert parquet.read_table(BytesIO(written("parquet", SWEEP))).to_pylist() == jsonl
    table = csv.DictReader(StringIO(written("csv", SWEEP).decode()))
    for row, expected in zip(table, jsonl, strict=True):
        assert list(row) == list(expected)
        assert float(row["wall-seconds"]) == expected["wall-seconds"]


def test_types_in_parquet_do_not_depend_on_what_was_measured() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    full = RequestTimes(1000, 2000, 3000, 4000, 5000)
    bare = RequestTimes(1000, None, None, None, 3000)
    files = [
        written(
            "parquet",
            with_samples(
                steady(),
                cached_share=share,
                result=replace(SWEEP.samples[0].result, request_times=times),
            ),
        )
        for share, times in ((1.0, full), (None, bare))
    ]
    one, other = (parquet.read_table(BytesIO(file)) for file in files)
    assert one.schema == other.schema
    assert other.column("cached-share").to_pylist() == [None] * 6


def test_an_export_without_samples_has_all_columns() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    none = replace(SWEEP, samples=())
    heading, _, rest = written("csv", SWEEP).partition(b"\n")
    assert rest
    assert written("csv", none) == heading + b"\n"
    assert written("jsonl", none) == b""
    one, other = (
        parquet.read_table(BytesIO(written("parquet", sweep)))
        for sweep in (SWEEP, none)
    )
    assert one.schema == other.schema
    assert one.schema.names == heading.decode().split(",")
    assert (one.num_rows, other.num_rows) == (SWEEP.wanted, 0)


def test_every_column_is_documented() -> None:
    told = (REPOSITORY / "docs/benchmarking.md").read_text()
    tables = (sweep_table(SWEEP), compare_table(COMPARISON), sample_table(SWEEP))
    for column in (column for table in tables for column in table.columns):
        assert f"`{column.key}`" in told, column.key
    told = (REPOSITORY / "docs/results-format.md").read_text()
    for content in (sweep_to_json(SWEEP), compare_to_json(COMPARISON)):
        for key in content:
            assert f"`{key}`" in told, key
