# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measurements: what they add up to, and how little memory they take."""

from __future__ import annotations

import math
import os
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp.measure import REGIONS_MAX, RegionMap, TimeHistogram, machine
from migcomp.results import PageCounts

SHARES = (0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0)
nanoseconds = st.one_of(st.integers(0, 300), st.integers(0, 1 << 50))


@given(st.lists(nanoseconds, min_size=1, max_size=300))
def test_percentiles_are_upper_bounds_within_two_per_cent(times: list[int]) -> None:
    histogram = TimeHistogram()
    for time in times:
        histogram.add(time)
    ordered = sorted(times)
    for share in SHARES:
        exact = ordered[max(math.ceil(share * len(times)) - 1, 0)]
        assert exact <= histogram.percentile(share) <= exact * 1.02
    summary = histogram.summary()
    assert summary.most == ordered[-1]
    named = (summary.p50, summary.p90, summary.p99, summary.p999, summary.most)
    told = [time for time in named if time is not None]
    assert told == sorted(told)


@pytest.mark.parametrize(
    ("count", "told"), [(9, 0), (10, 1), (99, 1), (100, 2), (999, 2), (1000, 3)]
)
def test_percentiles_need_enough_times(count: int, told: int) -> None:
    histogram = TimeHistogram()
    for time in range(count):
        histogram.add(time)
    summary = histogram.summary()
    named = (summary.p90, summary.p99, summary.p999)
    assert [time is not None for time in named] == [True] * told + [False] * (3 - told)


def test_no_times_at_all() -> None:
    summary = TimeHistogram().summary()
    assert (summary.p50, summary.p999, summary.most) == (0, None, 0)


@st.composite
def additions(draw: st.DrawFn) -> list[tuple[int, tuple[int, ...], int]]:
    """(pages, counts or zeros only, bytes), one behind the other."""
    made = []
    for _ in range(draw(st.integers(1, 60))):
        if draw(st.booleans()):
            made.append((draw(st.integers(1, 4000)), (), 40))
        else:
            counts = draw(st.tuples(*[st.integers(0, 2)] * 5).filter(any))
            made.append((8, (*counts[:4], counts[4] + 8 - sum(counts)), 100))
    return [item for item in made if not item[1] or min(item[1]) >= 0]


@settings(deadline=None, max_examples=30)
@given(additions())
def test_regions_add_up(items: list[tuple[int, tuple[int, ...], int]]) -> None:
    regions = RegionMap(8)
    expected, written, page = Counter[str](), 0, 0
    names = list(vars(PageCounts()))
    for pages, counts, size in items:
        # Records begin where a stretch of the smallest size does.
        page += -page % 8
        if counts:
            zero, same, dedup, normal, compressed = counts
            regions.add(page, (zero, same, dedup, normal, compressed), size)
            expected.update(dict(zip(names, counts, strict=True)))
        else:
            regions.add_zeros(page, pages, size)
            expected["zero"] += pages
        written += size
        page += pages
    found = regions.regions()
    assert len(found) <= REGIONS_MAX
    assert sum(region.bytes_out for region in found) == written
    assert [region.first_page for region in found] == sorted(
        {region.first_page for region in found}
    )
    total = Counter[str]()
    for region in found:
        total.update(vars(region.pages))
        assert region.pages.total
    assert +total == +expected


def test_pages_lie_in_the_region_that_holds_them() -> None:
    """Also when regions have doubled many times."""
    regions = RegionMap(1)
    last = REGIONS_MAX * 37
    for page in range(0, last, 1000):
        regions.add(page, (0, 0, 0, 1, 0), 4096)
    regions.add_zeros(last, 5, 40)
    found = regions.regions()
    assert sum(region.bytes_out for region in found) == 4096 * (last // 1000 + 1) + 40
    size = 64
    assert all(region.first_page % size == 0 for region in found)
    for page in range(0, last, 1000):
        (region,) = (r for r in found if r.first_page <= page < r.first_page + size)
        assert region.pages.normal == 1
    assert found[-1].first_page <= last < found[-1].first_page + size


@pytest.mark.parametrize("pages", [1, 1 << 31, 1 << 50])
def test_a_hole_of_any_length(pages: int) -> None:
    regions = RegionMap(128)
    regions.add_zeros(0, pages, 40)
    found = regions.regions()
    assert len(found) <= REGIONS_MAX
    assert sum(region.pages.zero for region in found) == pages
    assert sum(region.bytes_out for region in found) == 40


def test_the_machine() -> None:
    here = machine()
    assert here.cpu
    assert 1 <= here.usable_cpus <= (os.cpu_count() or 1)
    assert here.memory_bytes > 1 << 20
    assert here.kernel.startswith(os.uname().sysname)
    assert here.python.count(".") == 2
    assert here.load_average >= 0
