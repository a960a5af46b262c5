# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plan as a whole: which way it takes, what it says, and how sure it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any

import pytest

from migcomp.images.open import open_image
from migcomp.plan import advice
from migcomp.plan.candidates import Candidate
from migcomp.plan.course import Prediction
from migcomp.plan.guest import Writes, writes_by_rate
from migcomp.plan.plan import (
    FORMULA,
    SIMULATION,
    Plan,
    Question,
    Row,
    make_plan,
    recommended,
)
from migcomp.plan.sample import take_sample
from migcomp.plan.versions import Qemu
from migcomp.precopy.costs import Costs
from migcomp.precopy.dirty import DirtySource, IdleGuest
from migcomp.precopy.dirty_model import ModelledGuest
from migcomp.precopy.link import Link
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters
from migcomp.report import plan_json
from tests.conftest import REPOSITORY
from tests.plan_tools import costs

HEAP = str(REPOSITORY / "sample_images/heap-8m.raw")
#: By which the formula may be off where a guest writes: a share of time and bytes; and
#: seconds of the stop, of which QEMU's next look makes that difference.
SHARE, LOOK = 0.08, 0.06
#: And of an idle guest's stop, as its pages are not average ones.
IDLE_STOP = 0.01


def small_link(mbit: float) -> Link:
    """A kernel's buffer of 2 MiB would hold a quarter of so small a guest."""
    return Link(mbit * 1e6, buffer=256 << 10)


@contextmanager
def heap(writes: Writes | None) -> Iterator[tuple[GuestMemory, DirtySource]]:
    with open_image(HEAP) as image:
        memory = GuestMemory.copy_of(image)
    with memory:
        yield memory, ModelledGuest(writes.model, memory) if writes else IdleGuest()


def plan(
    monkeypatch: pytest.MonkeyPatch,
    budget: float,
    writes: Writes | None = None,
    mbit: float = 30,
    used: Costs | None = None,
    threads: int = 2,
    **question: Any,
) -> Plan:
    monkeypatch.setattr("migcomp.plan.plan._BUDGET_SECONDS", budget)
    asked = Question((HEAP,), Qemu((8, 2)), small_link(mbit), 300, threads, writes)
    with open_image(HEAP) as image:
        sample = take_sample(image, 1 << 20, 0)
    with sample.memory:
        return make_plan(
            replace(asked, **question), sample, used or costs(), lambda: heap(writes)
        )


def compared(
    monkeypatch: pytest.MonkeyPatch,
    writes: Writes | None,
    mbit: float,
    used: Costs,
    qemu: Qemu,
) -> Iterator[tuple[Candidate, Prediction, Prediction]]:
    """As the formula and as the simulation have it."""
    guess = plan(monkeypatch, 0, writes, mbit, used, qemu=qemu)
    truth = plan(monkeypatch, 1e9, writes, mbit, used, qemu=qemu)
    assert (guess.method, truth.method) == (FORMULA, SIMULATION)
    assert len(guess.rows) >= 7
    for one, other in zip(guess.rows, truth.rows, strict=True):
        assert one.prediction.converges
        assert other.prediction.converges
        yield one.candidate, one.prediction, other.prediction


@pytest.mark.parametrize(
    ("mbit", "version", "share"),
    [
        (15, (7, 2), 0.015),
        (15, (8, 2), 0.015),
        (15, (9, 1), 0.015),
        (30, (9, 1), 0.015),
        # Where zlib's threads are the limit; packets are not alike, and one waits for
        # another.
        (60, (9, 1), 0.05),
    ],
)
def test_an_idle_guest_goes_as_it_is_simulated(
    monkeypatch: pytest.MonkeyPatch,
    mbit: float,
    version: tuple[int, int],
    share: float,
) -> None:
    used = costs(zstd=20_000, zlib=400_000)
    for way, a, b in compared(monkeypatch, None, mbit, used, Qemu(version)):
        assert a.seconds == pytest.approx(b.seconds, rel=share), way
        assert a.wire_bytes == pytest.approx(b.wire_bytes, rel=share), way
        assert a.downtime == pytest.approx(b.downtime, abs=IDLE_STOP), way


@pytest.mark.parametrize(
    ("rate", "mbit", "version"),
    [
        (100, 30, (8, 2)),
        (200, 30, (8, 2)),
        (500, 60, (7, 2)),
        (500, 60, (8, 2)),
        (500, 60, (9, 1)),
    ],
)
def test_a_writing_guest_goes_about_as_it_is_simulated(
    monkeypatch: pytest.MonkeyPatch, rate: int, mbit: float, version: tuple[int, int]
) -> None:
    """QEMU looks at what is left after a section of 50 ms and a step, or after a
    packet that takes longer: by so much the stop differs if it is one look more."""
    used = costs(zstd=20_000, zlib=60_000)
    writes = writes_by_rate(rate, 2 * rate + 200)
    packet = (512 << 10) / small_link(mbit).bytes_per_second
    for way, a, b in compared(monkeypatch, writes, mbit, used, Qemu(version)):
        assert a.seconds == pytest.approx(b.seconds, rel=SHARE), way
        assert a.wire_bytes == pytest.approx(b.wire_bytes, rel=SHARE), way
        plain = way.method == "multifd" and not way.work
        look = max(packet, LOOK) if plain else LOOK
        assert a.downtime == pytest.approx(b.downtime, abs=look), way


# --- The answer -----------------------------------------------------------------------


def row(
    name: str, seconds: float, cpu: float, downtime: float = 0.1, ends: bool = True
) -> Row:
    found = Prediction(ends, seconds, downtime, 1e6, cpu, 3)
    return Row(Candidate(name), Parameters(), found, 0.0, None)


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([row("none", 10, 1), row("a", 5, 3)], "a"),
        # What is not a tenth quicker is not worth more CPU time.
        ([row("none", 10, 1), row("a", 9.2, 3)], "none"),
        ([row("none", 10, 1), row("a", 5, 9), row("b", 5.4, 3)], "b"),
        ([row("none", 1, 1, downtime=0.5), row("a", 5, 3)], "a"),
        ([row("none", 1, 1, ends=False), row("a", 5, 3, downtime=0.9)], "a"),
        ([row("none", 1, 1, ends=False), row("a", 5, 3, ends=False)], "none"),
    ],
)
def test_the_best(rows: list[Row], best: str) -> None:
    question = Question((), Qemu((8, 2)), Link(1e9), 300, 2, None)
    assert recommended(rows, question).candidate.method == best


def test_what_the_kernel_has_is_no_reason_against_it() -> None:
    slow = Question((), Qemu((8, 2)), Link(8e6), 300, 2, None)  # 2.2 s for 2 MiB
    rows = [row("none", 10, 1), row("a", 5, 3, downtime=2.0)]
    assert recommended(rows, slow) is rows[1]
    assert recommended(rows, replace(slow, link=Link(1e9))) is rows[0]


def test_a_plain_migration_may_be_best(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(monkeypatch, 0)
    said = advice.verdict(replace(found, best=found.plain))
    assert said[0].startswith("Migrate without compression: ")


def test_a_slow_link_wants_compression(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(monkeypatch, 0, mbit=30)
    assert found.best.candidate.codec == "zstd"
    said = " ".join(advice.verdict(found))
    assert said.startswith(f"Migrate with {found.best.candidate}: ")
    assert "slower than no compression" in said
    assert found.plain.candidate.method == "none"


def test_a_fast_link_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(monkeypatch, 0, mbit=1e5, used=costs(zstd=30_000, zlib=90_000))
    assert found.best.candidate.work is None
    assert "slower than" not in " ".join(advice.verdict(found))
    for each in found.rows:
        if each.candidate.work:
            assert each.break_even is not None
            assert each.break_even < 1e5 * 1e6 / 8


def test_what_does_not_converge_is_throttled(monkeypatch: pytest.MonkeyPatch) -> None:
    writes = writes_by_rate(1000, 1100)
    found = plan(monkeypatch, 0, writes, mbit=2)
    assert all(each.parameters.auto_converge for each in found.rows)
    slowed = found.best.prediction.throttle_percentage
    assert 0 < slowed <= 99
    said = " ".join(advice.verdict(found))
    assert "No way converges by itself" in said
    assert f"by up to {slowed} %" in said
    chosen = advice.commands(found)
    assert '{"capability": "auto-converge", "state": true}' in chosen.qmp_source[0]
    assert "migrate_set_capability auto-converge on" in chosen.hmp_source
    assert "--auto-converge" in chosen.virsh[0]
    given: Any = json.loads(json.dumps(plan_json.to_json(found)))
    assert {way["auto-converge"] for way in given["ways"]} == {True}
    chosen_way = next(w for w in given["ways"] if w["way"] == given["recommended"])
    assert chosen_way["cpu-throttle-percentage"] == slowed


def test_what_auto_converge_does_not_help_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = plan(monkeypatch, 0)
    hopeless = replace(
        found.best,
        parameters=replace(found.best.parameters, auto_converge=True),
        prediction=replace(found.best.prediction, converges=False),
    )
    said = " ".join(advice.verdict(replace(found, best=hopeless)))
    assert "Nor does any with auto-converge" in said
    assert "quieter hour" in said


def test_auto_converge_is_predicted_as_it_is_simulated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writes = writes_by_rate(1000, 1100)
    formula, simulation = (
        plan(monkeypatch, budget, writes, mbit=2) for budget in (0, 1e9)
    )
    assert (formula.method, simulation.method) == (FORMULA, SIMULATION)
    # It converges a step of the throttle earlier or later by a page more or less.
    ratios = []
    for one, other in zip(formula.rows, simulation.rows, strict=True):
        guess, truth = one.prediction, other.prediction
        assert guess.converges == truth.converges
        assert abs(guess.throttle_percentage - truth.throttle_percentage) <= 10
        ratios.append(guess.seconds / truth.seconds)
    assert median(ratios) == pytest.approx(1, abs=0.03)
    assert 0.5 < min(ratios) <= max(ratios) < 2


def test_it_says_why_it_is_not_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(monkeypatch, 0)
    busy = replace(found.machine, load_average=9.0, usable_cpus=2)
    told = " ".join(advice.sureness(replace(found, machine=busy)))
    assert "All 8.00 MiB were measured" in told
    assert "busy (load 9.0 on 2 CPUs)" in told
    assert "--dirty-rate" in told
    assert "More than" not in told
    idle = replace(found.machine, load_average=0.0, usable_cpus=2)
    more = replace(found.question, threads_max=8)
    told = " ".join(advice.sureness(replace(found, machine=idle, question=more)))
    assert "busy" not in told
    assert "More than 2 threads could not be tried" in told


def test_uneven_hand_overs_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(monkeypatch, 0)
    for spread, is_told in (((7_000, 52_000), True), ((50_000, 52_000), False)):
        uneven = replace(found.costs, handover_range=spread)
        told = " ".join(advice.sureness(replace(found, costs=uneven)))
        assert ("Waking a thread took 7.00 us to 52.0 us" in told) == is_told


def test_a_sample_s_interval_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(monkeypatch, 0)
    part = replace(found.sample, image_pages=found.sample.pages * 4)
    best = replace(found.best, uncertainty=0.2)
    told = " ".join(advice.sureness(replace(found, sample=part, best=best)))
    assert "8.00 MiB of 32.0 MiB (25.0 %) were measured, in 8 clusters" in told
    assert "+-20 % for multifd zstd" in told
    assert "A sample of 8 clusters is small" in told


def test_threads_are_reckoned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(monkeypatch, 0, mbit=1000, used=costs(zlib=900_000), threads=8)
    seconds = [
        each.prediction.seconds
        for each in found.rows
        if each.candidate.codec == "zlib" and each.candidate.method == "multifd"
    ]
    assert seconds[:3] == sorted(seconds[:3], reverse=True)
    # The last packet is one thread's, however many there are.
    packet = 128 * 900_000 / 1e9
    assert seconds[0] - packet < 4 * seconds[2] < seconds[0] + 4 * packet


def test_the_table_s_figures_are_the_json_s(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(monkeypatch, 0)
    given: Any = json.loads(json.dumps(plan_json.to_json(found)))
    assert given["schema"] == "migcomp.plan/1"
    assert len(given["ways"]) == len(found.rows)
    assert given["recommended"] == str(found.best.candidate)
    assert given["memory-bytes"] == 8 << 20
    way = given["ways"][0]
    assert way["wire-bytes"] == round(found.plain.prediction.wire_bytes)
    assert given["commands"]["virsh"][0].startswith("virsh migrate --live")


def test_before_8_1_multifd_s_compression_has_no_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would be one for the pages as they were."""
    found = plan(monkeypatch, 0, qemu=Qemu((7, 2)))
    for each in found.rows:
        limited = each.parameters.max_bandwidth > 0
        compresses = each.candidate.method == "multifd" and each.candidate.work
        assert limited == (not compresses), each.candidate
