# SPDX-License-Identifier: LGPL-2.1-or-later
"""Auto-converge and the dirty limit, step by step, by the rules of QEMU's source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migcomp.precopy.parameters import Parameters
from migcomp.precopy.throttle import (
    AutoConverge,
    DirtyLimit,
    Throttle,
    Unthrottled,
    throttle_for,
)

MIB = 1 << 20
PAGE = 4096


def auto(**parameters: object) -> AutoConverge:
    return AutoConverge(Parameters(auto_converge=True, **parameters))  # type: ignore[arg-type]


def limit(vcpus: int = 1, ring_pages: int = 4096, **parameters: object) -> DirtyLimit:
    given = Parameters(dirty_limit=True, **parameters)  # type: ignore[arg-type]
    return DirtyLimit(given, PAGE, vcpus=vcpus, ring_pages=ring_pages)


def percentages(throttle: AutoConverge, *periods: tuple[int, int]) -> list[int]:
    found = []
    for period in periods:
        throttle.sync(*period)
        found.append(throttle.percentage)
    return found


# --- Which ------------------------------------------------------------------------


def test_the_parameters_decide() -> None:
    assert isinstance(throttle_for(Parameters(), PAGE), Unthrottled)
    converging = throttle_for(Parameters(auto_converge=True), PAGE)
    assert isinstance(converging, AutoConverge)
    # QEMU refuses both, and looks at auto-converge first.
    both = Parameters(auto_converge=True, dirty_limit=True)
    assert isinstance(throttle_for(both, PAGE), AutoConverge)
    assert isinstance(throttle_for(Parameters(dirty_limit=True), PAGE), DirtyLimit)


@pytest.mark.parametrize("throttle", [Unthrottled(), auto(), limit()])
def test_a_guest_that_writes_little_runs_on(throttle: Throttle) -> None:
    for _ in range(10):
        throttle.sync(50, 100)
        throttle.ran(1.0, range(100_000))
    assert throttle.guest_share == 1.0


# --- Auto-converge ----------------------------------------------------------------


def test_every_second_period_slows_it_down() -> None:
    found = percentages(auto(), *[(51, 100)] * 8)
    assert found == [0, 20, 20, 30, 30, 40, 40, 50]


def test_the_threshold_itself_is_not_too_much() -> None:
    assert percentages(auto(), *[(50, 100)] * 4) == [0] * 4
    # It is a whole number of bytes: 50 % of 101 are 50.
    assert percentages(auto(), *[(51, 101)] * 2) == [0, 20]
    assert percentages(auto(throttle_trigger_threshold=80), *[(80, 100)] * 2)[-1] == 0


def test_a_good_period_does_not_start_the_count_again() -> None:
    assert percentages(auto(), (51, 100), (0, 100), (51, 100)) == [0, 0, 20]


def test_nothing_sent_is_too_much_of_anything() -> None:
    assert percentages(auto(), (1, 0), (1, 0)) == [0, 20]


def test_it_ends_at_the_maximum() -> None:
    found = percentages(auto(max_cpu_throttle=45), *[(2, 1)] * 12)
    assert found[1::2] == [20, 30, 40, 45, 45, 45]
    found = percentages(auto(cpu_throttle_increment=50), *[(2, 1)] * 10)
    assert found[1::2] == [20, 70, 99, 99, 99]


def test_the_first_step_does_not_heed_the_maximum() -> None:
    """As in QEMU, which refuses such parameters when they are set."""
    assert percentages(auto(max_cpu_throttle=10), *[(2, 1)] * 4) == [0, 20, 20, 10]


def test_the_guest_runs_the_rest() -> None:
    throttle = auto()
    assert throttle.guest_share == 1.0
    percentages(throttle, *[(2, 1)] * 4)
    assert throttle.guest_share == pytest.approx(0.7)


def test_tailslow_takes_no_more_than_is_needed() -> None:
    throttle = auto(cpu_throttle_tailslow=True)
    # Of 80 % that it runs, 50/52 would do: int(76.9) is 76, and so 4 % less.
    assert (
        percentages(throttle, (52, 100), (52, 100), (0, 1), (0, 1))
        == [0, 20] + [20] * 2
    )
    assert percentages(throttle, (52, 100), (52, 100)) == [20, 24]
    # Far off, it takes the whole increment.
    assert percentages(throttle, (500, 100), (500, 100)) == [24, 34]


@given(
    st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), max_size=60),
    st.booleans(),
    st.integers(1, 99),
)
def test_it_never_lets_go_and_never_stops_the_guest(
    periods: list[tuple[int, int]], tailslow: bool, increment: int
) -> None:
    throttle = auto(cpu_throttle_tailslow=tailslow, cpu_throttle_increment=increment)
    found = percentages(throttle, *periods)
    assert found == sorted(found)
    assert 0.0099 < throttle.guest_share <= 1


# --- Dirty limit ------------------------------------------------------------------


def test_it_begins_with_the_second_bad_period() -> None:
    throttle = limit()
    throttle.sync(51, 100)
    throttle.ran(1.0, range(100_000))
    assert throttle.sleep_us is None
    throttle.sync(51, 100)
    assert throttle.sleep_us == 0
    throttle.ran(0.999, range(100_000))
    assert throttle.guest_share == 1.0
    throttle.ran(0.001, ())
    assert throttle.guest_share < 1.0


@pytest.mark.parametrize(
    ("quota", "rate", "before", "after"),
    [
        (100, 125, 0, 0),  # within 25 MiB/s
        (100, 75, 5000, 5000),
        (100, 126, 0, 1600),  # less than half off: a tenth of the time
        (100, 74, 5000, 3400),
        (100, 200, 0, 1600),  # half is not more than half
        (100, 400, 0, 48000),  # 75 %: three times the time
        (1, 400, 0, 16000 * 99),  # 99 %, and the most there is
        (1, 400, 16000 * 99, 16000 * 99),
        (100, 20, 100_000, 36000),  # 80 %: four times the time less
        (100, 20, 10, 0),
    ],
)
def test_a_step(quota: int, rate: int, before: int, after: int) -> None:
    throttle = limit(vcpu_dirty_limit=quota)
    assert throttle.next_sleep(before, 16000, rate) == after


def test_what_a_vcpu_sleeps_becomes_the_guest_s_share() -> None:
    """400 MiB/s fill a ring of 16 MiB in 40 ms; 75 % too much: 120 ms of sleep."""
    throttle = limit(vcpu_dirty_limit=100)
    throttle.sync(1, 0)
    throttle.sync(1, 0)
    for _ in range(25):  # the ring is emptied each time
        throttle.ran(0.04, range(4096))
    assert throttle.ring_full_us == 40_000
    assert throttle.sleep_us == 120_000
    assert throttle.guest_share == pytest.approx(0.25)


@pytest.mark.parametrize("vcpus", [1, 4])
def test_the_quota_is_reached(vcpus: int) -> None:
    """A guest that writes new pages at 800 MiB/s, wherever it runs."""
    throttle = limit(vcpus=vcpus, vcpu_dirty_limit=100)
    throttle.sync(1, 0)
    throttle.sync(1, 0)
    page, rates = 0, []
    for _ in range(60):
        written = 0
        for _ in range(100):
            pages = round(800 * MIB / PAGE * vcpus * 0.01 * throttle.guest_share)
            throttle.ran(0.01, range(page, page + pages))
            page, written = page + pages, written + pages
        rates.append(written * PAGE / MIB / vcpus)
    assert rates[0] == pytest.approx(800, rel=0.01)
    assert all(abs(rate - 100) <= 26 for rate in rates[-20:])


def test_pages_written_again_are_in_the_ring_once() -> None:
    throttle = limit(vcpu_dirty_limit=100)
    throttle.sync(1, 0)
    throttle.sync(1, 0)
    for _ in range(100):
        throttle.ran(0.01, range(4000))
    assert throttle.sleep_us == 0  # 15 MiB/s, not 1,500


def test_an_idle_guest_is_let_go() -> None:
    throttle = limit(vcpu_dirty_limit=100)
    throttle.sync(1, 0)
    throttle.sync(1, 0)
    throttle.ran(1.0, range(4096 * 100))
    assert throttle.guest_share < 1
    throttle.ran(1.0, ())
    assert throttle.sleep_us == 0
    assert throttle.guest_share == 1.0
