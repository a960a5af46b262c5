# SPDX-License-Identifier: LGPL-2.1-or-later
"""The benchmarks measure what they say; no test here looks at a time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner
from rich.console import Console

ROOT = Path(__file__).parents[2]
# They are no part of the package, and run from the root of the repository.
sys.path.insert(0, str(ROOT))

from benchmarks import compare, formats, process, qemu_compress  # noqa: E402
from benchmarks import fleet as fleets  # noqa: E402
from benchmarks.contenders import QUEUE_PATTERNS, Contender, Engine, Program, QueueCost  # noqa: E402
from benchmarks.peers import Setup, contenders  # noqa: E402
from benchmarks.programs import (  # noqa: E402
    build_xbzrle,
    compiler,
)
from benchmarks.python_peers import executor_zstandard  # noqa: E402
from benchmarks.rounds import measure, select  # noqa: E402
from benchmarks.samples import Sample, ratios, values_of  # noqa: E402
from benchmarks.tables import costs_table, targets_table, times_table  # noqa: E402
from benchmarks.targets import TARGETS, Target, evaluate  # noqa: E402
from migcomp.images.open import open_image  # noqa: E402
from tests.conftest import make_pages  # noqa: E402

PAGE = 4096
HEAP = ROOT / "sample_images" / "heap-8m.raw"

pytestmark = pytest.mark.skipif(
    shutil.which(compiler()) is None, reason="no C compiler"
)


# --- The queue ------------------------------------------------------------------


@pytest.mark.parametrize("design", ["workqueue", "executor"])
def test_queue_cost_has_each_pattern(design: str) -> None:
    sample = QueueCost(design, requests=100)()
    assert set(sample) == set(QUEUE_PATTERNS.values())
    assert all(cost > 0 for cost in sample.values())


# --- Statistics and targets -----------------------------------------------------


def test_ratios_are_taken_round_by_round() -> None:
    # The second round is slow for both sides.
    assert ratios([1.0, 4.0], [2.0, 8.0]) == [0.5, 0.5]
    assert ratios([1.0, 3.0], [2.0]) == [0.5, 1.5]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        ratios([1.0, 2.0, 3.0], [1.0, 2.0])


def walls(*values: float) -> list[Sample]:
    return [{"wall_seconds": value} for value in values]


AT_LEAST = Target("speed", "limit", "ours", 0.85, at_least=True)
AT_MOST = Target("time", "ours", "peer", 0.70, at_least=False)
ALONE = Target("seconds", "ours", "", 2, at_least=False)


@pytest.mark.parametrize(
    ("target", "measured", "text"),
    [
        (AT_LEAST, {"limit": walls(0.9), "ours": walls(1.0)}, "met"),
        (AT_LEAST, {"limit": walls(0.86), "ours": walls(1.0)}, "met; within noise"),
        (AT_LEAST, {"limit": walls(0.425), "ours": walls(1.0)}, "missed by 50.0 %"),
        (
            AT_LEAST,
            {"limit": walls(0.84), "ours": walls(1.0)},
            "missed by 1.2 %; within noise",
        ),
        (AT_MOST, {"ours": walls(0.6), "peer": walls(1.0)}, "met"),
        (AT_MOST, {"ours": walls(1.4), "peer": walls(1.0)}, "missed by 100.0 %"),
        (ALONE, {"ours": walls(2.5)}, "missed by 25.0 %"),
        (AT_MOST, {"ours": walls(0.6)}, "not measured"),
        (AT_MOST, {"ours": walls(0.6), "peer": []}, "not measured"),
        # QEMU's time is there once, and ours is the median of three rounds.
        (AT_MOST, {"ours": walls(0.6, 0.1, 9.0), "peer": walls(1.0)}, "met"),
    ],
)
def test_verdicts(target: Target, measured: dict[str, list[Sample]], text: str) -> None:
    (verdict,) = evaluate([target], measured)
    assert verdict.text == text
    assert verdict.met == text.startswith("met")


def test_every_target_is_about_contenders_that_exist(tmp_path: Path) -> None:
    names = {c.name for c in contenders(Setup(HEAP, tmp_path))} | {qemu_compress.NAME}
    for target in TARGETS:
        assert target.numerator in names
        assert not target.denominator or target.denominator in names


# --- Rounds and contenders ------------------------------------------------------


def fake(name: str, log: list[str]) -> Contender:
    def take() -> Sample:
        log.append(name)
        return {"wall_seconds": 1.0, "cpu_seconds": 2.0, "bytes_out": 3e6}

    return Contender(name, name, take, prepare=lambda: log.append("prepared"))


def test_each_round_has_everybody_in_an_order_that_changes_but_repeats() -> None:
    logs: list[list[str]] = [[], []]
    for log in logs:
        everybody = [fake(name, log) for name in "abcdef"]
        measured = measure(everybody, 5, lambda _number, _name: None)
        assert all(len(samples) == 5 for samples in measured.values())
    assert logs[0] == logs[1]
    assert logs[0][:6] == ["prepared"] * 6
    orders = [logs[0][i : i + 6] for i in range(6, 36, 6)]
    assert all(sorted(order) == list("abcdef") for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_contenders_are_selected_by_pattern() -> None:
    everybody = [fake(name, []) for name in ("run-a", "run-b", "zstd")]
    assert [c.name for c in select(everybody, "")] == ["run-a", "run-b", "zstd"]
    assert [c.name for c in select(everybody, "zstd, run-b")] == ["run-b", "zstd"]
    assert [c.name for c in select(everybody, "run-*")] == ["run-a", "run-b"]
    with pytest.raises(ValueError, match="'c'; there are run-a"):
        select(everybody, "run-a,c")


def test_a_program_is_measured_with_its_output(tmp_path: Path) -> None:
    output = tmp_path / "out"
    script = "import os, sys; sys.stdout.write('x' * int(os.environ['SIZE']))"
    command = [sys.executable, "-c", script]
    sample = Program(command, output, True, {"SIZE": "1000"})()
    assert sample["bytes_out"] == 1000
    assert sample["wall_seconds"] > 0
    assert sample["cpu_seconds"] > 0
    assert not output.exists()


def test_a_program_that_fails_is_an_error_with_its_words() -> None:
    with pytest.raises(process.ProcessError, match=r"ended with 3: out of luck"):
        process.run([sys.executable, "-c", _FAILING])
    with pytest.raises(process.ProcessError, match=r"ended with 3: out of luck"):
        process.anonymous_peak([sys.executable, "-c", _FAILING])


_FAILING = "import sys; print('out of luck', file=sys.stderr); sys.exit(3)"


def test_anonymous_memory_is_seen() -> None:
    interpreter = process.anonymous_of_interpreter(sys.executable, "sys")
    script = "import time; memory = b'x' * (64 << 20); time.sleep(0.5)"
    peak = process.anonymous_peak([sys.executable, "-c", script])
    assert 0 < interpreter < 32 << 20
    assert 64 << 20 <= peak - interpreter < 80 << 20


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_xbzrle_takes_the_pages_that_differ(tmp_path: Path) -> None:
    old, new = bytearray(make_pages("text", "noise", "zero", "noise")), bytearray()
    new[:] = old
    new[PAGE + 7] ^= 1  # 3 bytes
    new[3 * PAGE :] = bytes(b ^ 1 for b in old[3 * PAGE :])  # does not fit
    for name, image in (("old", old), ("new", new)):
        (tmp_path / name).write_bytes(image)
    command = [
        str(build_xbzrle(tmp_path)),
        *map(str, (tmp_path / "old", tmp_path / "new")),
        "3",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, *ways = done.stdout.splitlines()
    assert first == f"2 pages, {(3 + PAGE) / 2:.1f} bytes a delta, 50.0 % overflow"
    assert [way.split("  ")[0] for way in ways][:: len(ways) - 1] == [
        "memcpy",
        "64-bit words",
    ]


def test_engine_reads_the_report_of_a_run(tmp_path: Path) -> None:
    setup = Setup(HEAP, tmp_path)
    sample = Engine(setup.run("zstd", "packet"))()
    assert 0 < sample["bytes_out"] < HEAP.stat().st_size
    assert set(sample) == {"wall_seconds", "cpu_seconds", "bytes_out"}


def test_a_python_peer_compresses_the_non_zero_pages(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    output = tmp_path / "out"
    executor_zstandard(HEAP, output, 2)
    compress = zstandard.ZstdCompressor(level=1).compress
    image = HEAP.read_bytes()
    pages = [image[at : at + PAGE] for at in range(0, len(image), PAGE)]
    assert output.read_bytes() == b"".join(compress(p) for p in pages if any(p))


# --- Reports --------------------------------------------------------------------


def test_tables_show_shares_of_the_limit() -> None:
    measured: dict[str, list[Sample]] = {
        "limit-zstd-page": walls(0.8, 0.8),
        "run-zstd-page": walls(1.0, 1.6),
        "queue": [{"pipelined-4": 123.4}, {"pipelined-4": 123.4}],
    }
    chosen = [fake(name, []) for name in measured]
    console = Console(width=120, record=True, file=StringIO())
    console.print(times_table(chosen, measured))
    console.print(costs_table(chosen, measured))
    console.print(targets_table(evaluate(TARGETS, measured)))
    text = console.export_text()
    assert "0.65" in text  # the median of 0.8 and 0.5, of the limit's speed
    assert "pipelined-4" in text
    assert "missed by 23.5 %" in text


def test_compare_keeps_every_sample(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    arguments = [str(HEAP), "--rounds", "2", "--only", "limit-memcpy,limit-zstd-page*"]
    done = CliRunner().invoke(compare.main, [*arguments, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "Fewer than 10 rounds" in done.output
    results = json.loads(out.read_text())
    assert results["schema"] == compare.SCHEMA
    assert results["machine"]["usable_cpus"] >= 1
    assert {c["name"]: len(c["samples"]) for c in results["contenders"]} == {
        "limit-memcpy": 2,
        "limit-zstd-page": 2,
        "limit-zstd-page-1t": 2,
    }
    assert len(results["targets"]) == len(TARGETS)


def test_commands_say_what_they_want() -> None:
    done = CliRunner().invoke(compare.main, [str(HEAP), "--only", "gzip"])
    assert done.exit_code == 1
    assert "limit-zstd-page" in done.output
    done = CliRunner().invoke(qemu_compress.main, [])
    assert done.exit_code == 2
    assert "--guest-dir or --live" in done.output


# --- QEMU's record --------------------------------------------------------------

RECORD = {
    "query-migrate": {
        "status": "completed",
        "total-time": 13758,
        "ram": {"transferred": 167802080},
    },
    "capabilities": {"compress": True},
    "parameters": {"compress-level": 1, "compress-threads": 2},
}


def test_qemu_record_is_read(tmp_path: Path) -> None:
    (tmp_path / "paused-compress.json").write_text(json.dumps(RECORD))
    sample = qemu_compress.recorded(tmp_path).measure()
    assert sample == {"wall_seconds": 13.758, "bytes_out": 167802080}
    assert values_of([sample], "cpu_seconds") == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no record"),
        ("{}", "no record"),
        (json.dumps({**RECORD, "capabilities": {}}), "is not of compress"),
        (
            json.dumps({**RECORD, "parameters": {"compress-threads": 8}}),
            "is not of compress",
        ),
        (
            json.dumps({**RECORD, "query-migrate": {"status": "failed"}}),
            "migration that failed",
        ),
    ],
)
def test_another_record_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "paused-compress.json"
    path.write_text(text)
    with pytest.raises(qemu_compress.RecordError, match=complaint):
        qemu_compress.read_record(path)


def test_formats_hold_the_same_memory(tmp_path: Path) -> None:
    image = ROOT / "sample_images" / "idle-4m.raw"
    paths = formats.write(image, tmp_path)
    for format, path in paths.items():
        with open_image(str(path)) as opened:
            assert opened.format == format
            assert opened.read(0, opened.pages or 0) == image.read_bytes()
    seconds = formats.measure(paths, 2, ["--codec", "none"])
    assert {name: len(samples) for name, samples in seconds.items()} == dict.fromkeys(
        ("raw", "elf", "lime", "qemu"), 2
    )
    assert formats.table(seconds).row_count == 4


@pytest.mark.parametrize("writing", [False, True])
@pytest.mark.parametrize("hosts", [1, 4])
def test_fleets_have_the_guests_asked_for(hosts: int, writing: bool) -> None:
    made = fleets.fleet(hosts, 40 * hosts, writing)
    assert sum(guests.count for guests in made.leaving) == 40 * hosts
    assert len({guests.host for guests in made.leaving}) == hosts
    assert len({guests.downtime_limit for guests in made.leaving}) == hosts
    assert all((guests.dirty_rate is not None) == writing for guests in made.leaving)
    rates = {guests.dirty_rate for guests in made.leaving}
    assert len(rates) == (10 if writing else 1)
