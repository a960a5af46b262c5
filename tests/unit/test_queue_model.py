# SPDX-License-Identifier: LGPL-2.1-or-later
"""The model of the queue's scaling obeys its own formulas; no test looks at a
time that was measured."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
# They are no part of the package, and run from the root of the repository.
sys.path.insert(0, str(ROOT))

from benchmarks import scaling  # noqa: E402
from benchmarks.process import ProcessError, run  # noqa: E402
from benchmarks.programs import build_queue_constants, compiler  # noqa: E402
from benchmarks.queue_model import (  # noqa: E402
    SPIN,
    Case,
    Costs,
    bound,
    saturation,
    simulate,
    sleepless,
)

COSTS = Costs(
    submit=20.0,
    collect=20.0,
    dispatch=50.0,
    line=50.0,
    wake=10_000.0,
    latency=30_000.0,
    switch=1000.0,
    other=10.0,
)
SERVICE = (8000.0, 10_000.0, 12_000.0)
STUDY = ROOT / "benchmarks" / "scaling.json"


def case(workers: int, cpus: int, service: tuple[float, ...] = SERVICE) -> Case:
    return Case(workers, 4, cpus, service, requests=4000)


def test_it_repeats_and_follows_the_seed() -> None:
    one = case(3, 2)
    assert simulate(one, COSTS) == simulate(one, COSTS)
    assert simulate(one, COSTS) != simulate(replace(one, seed=2), COSTS)


@pytest.mark.parametrize("cpus", [1, 2, 5, 300])
@pytest.mark.parametrize("workers", [1, 2, 4, 16, 256])
@pytest.mark.parametrize("service", [(0.0,), SERVICE, (400_000.0, 500_000.0)])
def test_nothing_is_faster_than_the_bound(
    workers: int, cpus: int, service: tuple[float, ...]
) -> None:
    one = case(workers, cpus, service)
    # Draws differ a little from their mean.
    assert simulate(one, COSTS) >= 0.98 * bound(one, COSTS)


def test_one_worker_that_is_never_out_of_work_is_its_own_limit() -> None:
    one = case(1, 2, (10_000.0,))
    assert simulate(one, COSTS) == pytest.approx(10_050, rel=0.01)


def test_workers_scale_until_the_submitter_is_the_limit() -> None:
    assert COSTS.submitter == 150
    assert saturation(10_000, COSTS) == pytest.approx(67)
    for workers in (2, 8, 32):
        took = simulate(case(workers, workers + 1, (10_000.0,)), COSTS)
        assert took == pytest.approx(10_050 / workers, rel=0.05)
    for workers in (100, 256):
        took = simulate(case(workers, workers + 1, (10_000.0,)), COSTS)
        assert took == pytest.approx(COSTS.submitter, rel=0.02)


def test_who_polls_is_not_woken_and_who_sleeps_is() -> None:
    # Requests that cost nothing, one worker: both sides always find the other
    # awake as long as they may poll, which takes a CPU for each.
    assert simulate(case(1, 2, (0.0,)), COSTS) < 1000
    assert simulate(case(2, 2, (0.0,)), COSTS) > 1000
    # Workers whose turn comes after more than they poll have to be woken.
    assert sleepless(10_000, COSTS) == pytest.approx(110_050 / 10_150)
    workers = int(3 * SPIN / COSTS.submitter)
    took = simulate(replace(case(workers, workers + 1), requests=8000), COSTS)
    assert took > 10 * COSTS.submitter


def test_cpus_are_shared() -> None:
    alone = simulate(case(1, 1), COSTS)
    # One CPU does the work of all, and switches.
    assert alone > 10_000
    for workers in (2, 4, 8):
        took = simulate(case(workers, 2), COSTS)
        assert 5000 < took < 8000


# --- The study -----------------------------------------------------------------------


def test_the_stored_study_is_reported_the_same_each_time(tmp_path: Path) -> None:
    content = json.loads(STUDY.read_text())
    content["works"] = [w for w in content["works"] if w["request_pages"] == 1]
    path = tmp_path / "study.json"
    path.write_text(json.dumps(content))
    texts = [
        CliRunner().invoke(scaling.main, ["simulate", str(path)]).output
        for _ in range(2)
    ]
    assert texts[0] == texts[1]
    for codec in ("zstd-1", "zstd-3", "lz4-1", "zlib-1"):
        # Four threads, and one row in each of two tables.
        assert texts[0].count(codec) == 4 + 1 + 1
    assert "256 workers" in texts[0]


def test_predictions_stand_against_what_was_measured() -> None:
    study = scaling.read_study(STUDY.read_text())
    rows = list(scaling.deviations(study))
    assert len(rows) == len(study.works) * len(scaling.THREADS)
    assert {threads for _, threads, _, _ in rows} == {1, 2, 4, 8}
    for work, threads, measured, predicted in rows:
        assert measured == work.measured[threads] > 0
        assert predicted > 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Expecting value"),
        ("{}", "lacks 'schema'"),
        ('{"schema": "other/1"}', "is of schema other/1, not"),
        (json.dumps({"schema": scaling.SCHEMA}), "lacks 'machine'"),
        ("[]", "lacks"),
    ],
)
def test_a_file_that_is_no_study(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "study.json"
    path.write_text(text)
    done = CliRunner().invoke(scaling.main, ["simulate", str(path)])
    assert done.exit_code == 1
    assert f"{path} " in done.output
    assert complaint in done.output


needs_two_cpus = pytest.mark.skipif(
    shutil.which(compiler()) is None or len(os.sched_getaffinity(0)) < 2,
    reason="needs a C compiler and two CPUs",
)


@needs_two_cpus
def test_constants_are_those_of_the_model(tmp_path: Path) -> None:
    program = build_queue_constants(tmp_path)
    found = json.loads(run([str(program), "3"]).stdout)
    assert set(found) | {"other"} == set(Costs.__dataclass_fields__)
    assert all(value > 0 for value in found.values())
    with pytest.raises(ProcessError, match="usage"):
        run([str(program)])


@needs_two_cpus
def test_measuring_writes_what_simulating_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "CODECS", (("zstd", 1),))
    monkeypatch.setattr(scaling, "REQUEST_PAGES", (8,))
    path = tmp_path / "study.json"
    arguments = ["--out", str(path), "--memory-mib", "1", "--repeat", "1"]
    done = CliRunner().invoke(scaling.main, ["measure", *arguments, "--rounds", "3"])
    assert done.exit_code == 0, done.output
    study = scaling.read_study(path.read_text())
    (work,) = study.works
    assert (work.name, work.request_pages) == ("zstd-1", 8)
    assert list(work.measured) == [1, 2, 4, 8]
    assert work.crowding >= 1
    assert (
        done.output == CliRunner().invoke(scaling.main, ["simulate", str(path)]).output
    )
