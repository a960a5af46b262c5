# SPDX-License-Identifier: LGPL-2.1-or-later
"""Figures and reports of the benchmark of work queues, from samples that are given."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from migcomp.bench.pages import PAGE_SIZE
from migcomp.bench.queue_results import Plan, QueueBench, Sample, Series
from migcomp.bench.statistics import summarize
from migcomp.report.bars import bar
from migcomp.report.queue_advice import advice
from migcomp.report.queue_bench import render
from migcomp.report.queue_json import SCHEMA, to_json
from migcomp.results import Machine

PLAN = Plan(
    handler="empty",
    level=0,
    cost_ns=0,
    designs=("workqueue",),
    threads=(1, 2),
    requests_per_thread=(1, 4),
    request_pages=1,
    memory=500 * PAGE_SIZE,
    repeat=2,
)


MACHINE = Machine("CPU", 2, 1 << 30, "Linux 6", "3.11.7", 0.1)


def sample(wall_ns: int, **more: int) -> Sample:
    plain = Sample(
        wall_ns=wall_ns,
        cpu_ns=2 * wall_ns,
        submitter_cpu_ns=wall_ns,
        idle_ns=1000,
        idle_cpu_ns=10,
        busy=50,
        lost=0,
        repeated=0,
        wrong=0,
    )
    return replace(plain, **more)


def test_one_request_is_no_requests() -> None:
    one = bench()
    plan = replace(one.plan, memory=PAGE_SIZE)
    text = StringIO()
    render(replace(one, plan=plan), Console(file=text, width=80))
    assert text.getvalue().lstrip().startswith("1 request of 1 page, ")


def bench(handler: str = "cost", *walls: int, load: float = 0.1) -> QueueBench:
    counts = {
        "worker_wakeups": 30,
        "submitter_wakeups": 20,
        "worker_spins": 300,
        "submitter_spins": 100,
    }
    walls = walls or (100_000_000, 100_000_000, 400_000_000)
    plan = replace(
        PLAN,
        handler=handler,
        memory=100 * PAGE_SIZE,
        threads=(1, 4),
        requests_per_thread=(4,),
        designs=("workqueue", "executor"),
        repeat=len(walls),
    )
    return QueueBench(
        plan=plan,
        codec=None,
        bytes_out=0,
        loop=tuple(sample(wall // 2) for wall in walls),
        series=(
            Series("workqueue", 1, 4, tuple(sample(w, **counts) for w in walls)),
            Series("executor", 4, 4, tuple(sample(w) for w in walls)),
        ),
        machine=replace(MACHINE, load_average=load),
    )


def test_figures_follow_from_the_samples() -> None:
    result = bench()
    ours, executor = result.series
    assert result.ns_per_request(ours).median == 1_000_000
    assert result.pages_per_second(ours) == 1000
    assert result.bytes_per_second(ours) == 1000 * PAGE_SIZE
    # The bare loop takes half the time: half the ideal with one thread, and a
    # quarter with as many as there are CPUs, round by round.
    for series, share in ((ours, 0.5), (executor, 0.25)):
        efficiency = result.efficiency(series)
        assert efficiency is not None
        assert (efficiency.median, efficiency.mad) == (share, 0)
    assert result.busy_rate(ours) == 0.5
    assert result.wakeups(ours) == 0.5
    assert result.spins(ours) == 4
    assert result.wakeups(executor) is result.spins(executor) is None
    assert result.cpu_ns_per_request(ours) == 2_000_000
    assert result.idle_cpu(ours) == 0.01
    assert bench("empty").efficiency(bench("empty").series[0]) is None


def test_summary_is_not_moved_by_one_disturbed_round() -> None:
    summary = summarize([1.0, 1.1, 0.9, 1.0, 9.0])
    assert summary.median == 1.0
    assert summary.mad == pytest.approx(0.1)
    assert summary.relative_mad == pytest.approx(0.1)
    assert (summary.least, summary.most, summary.rounds) == (0.9, 9.0, 5)
    assert summarize([0.0]).relative_mad == 0
    with pytest.raises(ValueError, match="nothing"):
        summarize([])


def test_json_keeps_every_sample() -> None:
    content = json.loads(json.dumps(to_json(bench())))
    assert content["schema"] == SCHEMA == "migcomp.bench-queue/1"
    assert content["requests"] == content["pages"] == 100
    assert content["plan"]["requests-per-thread"] == [4]
    assert content["machine"]["usable-cpus"] == 2
    assert len(content["loop"]["samples"]) == 3
    ours, executor = content["series"]
    assert [s["wall-ns"] for s in ours["samples"]] == [10**8, 10**8, 4 * 10**8]
    assert ours["ns-per-request"]["median"] == 1e6
    assert ours["efficiency"]["median"] == 0.5
    assert executor["wakeups-per-request"] is None
    assert executor["samples"][0]["worker-spins"] is None
    assert set(ours) == set(executor)


def text_of(result: QueueBench, width: int = 80, color: str | None = None) -> str:
    file = StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=bool(color),
        color_system=color and "standard",  # type: ignore[arg-type]
    )
    render(result, console)
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("handler", ["cost", "empty"])
def test_the_report_fits_and_shows_all(width: int, handler: str) -> None:
    text = text_of(bench(handler), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "1,000,000" in text
    assert "…" not in text
    assert text.count("executor") == 3
    (bar_line,) = (line for line in lines if re.search("4 x 4 +█", line))
    full = bar_line.count("█")
    if handler == "cost":
        assert "25 %" in text
        # A quarter of what is ideal, and dots up to there.
        assert bar_line.count("·") == pytest.approx(3 * full, abs=4)
    else:
        assert "·" not in text
        assert full > width - 30
    assert "\x1b" not in text
    assert "\x1b" in text_of(bench(handler), width, color="standard")


def test_rows_that_are_too_wide_are_not_cut() -> None:
    wide = 10**14
    text = text_of(bench("cost", wide, wide, wide), 60)
    assert "1,000,000,000,000" in text
    assert "…" not in text


def test_one_round_has_no_deviation() -> None:
    assert re.search(r"1,000,000 +0\.0 % ", text_of(bench("cost")))
    assert re.search(r"1,000,000 +- ", text_of(bench("cost", 100_000_000)))


@pytest.mark.parametrize(
    ("share", "goal", "drawn", "plain"),
    [
        (1.0, 0.0, "█" * 8, "#" * 8),
        (0.5, 1.0, "████····", "####...."),
        (0.0, 0.0, "", ""),
        (0.3, 0.3, "██▍", "##"),
    ],
)
def test_bars(share: float, goal: float, drawn: str, plain: str) -> None:
    assert bar(share, goal, 8, ascii_only=False) == drawn
    assert bar(share, goal, 8, ascii_only=True) == plain


def test_advice_says_what_is_wrong_and_what_to_do() -> None:
    steady = bench("cost", 100_000_000, 100_000_000, 100_000_000)
    quiet = replace(steady, plan=replace(steady.plan, threads=(1,)))
    assert advice(quiet) == ()
    assert "4 workers and the submitter shared 2 CPUs" in advice(steady)[0]
    busy = bench("cost", 100_000_000, 100_000_000, 100_000_000, load=3.0)
    assert "The machine was busy before (load 3.0 on 2 CPUs)" in advice(busy)[0]
    unsteady = bench("cost", 100_000_000, 150_000_000, 300_000_000)
    assert any("2 of 2 rows" in sentence for sentence in advice(unsteady))
    hasty = advice(bench("cost", 1_000_000))
    assert any("1 round cannot tell" in sentence for sentence in hasty)
    assert any("1.00 ms only" in sentence for sentence in hasty)
