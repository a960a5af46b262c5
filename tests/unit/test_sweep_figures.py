# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is worth having, and what differs: the arithmetic of sweeps."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migcomp.bench.compare import compare
from migcomp.bench.pareto import LINKS, Best, Point, best_links, front
from migcomp.bench.significance import ALPHA, p_value
from migcomp.bench.statistics import outliers
from migcomp.bench.sweep_figures import Figures
from migcomp.errors import ResultsError
from tests.sweeps import (
    IMAGE,
    PAGE,
    PAGES,
    STEADY,
    ZEROS,
    make_sweep,
    on_machine,
    setting,
)

# --- The front and the links ---------------------------------------------------------

_points = st.lists(
    st.builds(
        Point,
        st.floats(0.5, 20).map(lambda x: round(x, 2)),
        st.floats(1e6, 1e10).map(lambda x: round(x, -5)),
    ),
    max_size=12,
)


def test_a_link_or_the_compressor_limits() -> None:
    point = Point(rate=4.0, speed=800e6)
    assert point.on_link(100e6) == 400e6
    assert point.on_link(500e6) == 800e6
    assert point.helps(799e6)
    assert not point.helps(800e6)
    assert point.break_even == 800e6
    assert Point(0.9, 800e6).break_even == 0
    assert not Point(1.0, 800e6).helps(1.0)


@given(_points)
def test_the_front_is_what_nothing_beats(points: list[Point]) -> None:
    def beats(one: Point, other: Point) -> bool:
        at_least = one.rate >= other.rate and one.speed >= other.speed
        return at_least and one != other

    chosen = front(points)
    beaten = [any(beats(q, p) for q in points) for p in points]
    assert {points[i] for i in chosen} == {
        p for p, b in zip(points, beaten, strict=True) if not b
    }
    assert len({points[i] for i in chosen}) == len(chosen)
    for i, k in itertools.pairwise(chosen):
        assert points[i].rate > points[k].rate
        assert points[i].speed < points[k].speed


@given(_points.flatmap(lambda points: st.tuples(*map(_noisy, points))))
def test_noise_puts_nothing_on_the_front(points: tuple[Point, ...]) -> None:
    chosen = [points[i] for i in front(points)]
    for one, next_one in itertools.pairwise(chosen):
        assert one.rate > next_one.rate
        assert next_one.is_faster(one)
    for point in points:
        assert any(c.rate >= point.rate and not point.is_faster(c) for c in chosen)


def _noisy(point: Point) -> st.SearchStrategy[Point]:
    return st.floats(0, 0.5).map(lambda noise: replace(point, noise=noise))


def test_of_what_only_noise_tells_apart_the_smaller_is_taken() -> None:
    small, quick = Point(4.94, 2445e6, 0.032), Point(4.19, 2465e6, 0.067)
    assert front([quick, small]) == [1]
    assert best_links([quick, small]) == [Best(1, 0.0, 2445e6)]
    sure = [replace(point, noise=0.001) for point in (quick, small)]
    assert front(sure) == [1, 0]


@given(_points, st.floats(1e3, 1e11))
def test_the_best_for_a_link_is_the_best_of_all(
    points: list[Point], link: float
) -> None:
    found = [b for b in best_links(points) if b.slowest <= link < b.fastest]
    most = max((p.on_link(link) for p in points), default=0.0)
    if found:
        (best,) = found
        assert points[best.index].on_link(link) == pytest.approx(most)
        assert most >= link * (1 - 1e-9)
    else:
        assert most <= link * (1 + 1e-9)


def test_ranges_of_links_join() -> None:
    slow, quick, useless = Point(8, 400e6), Point(4, 800e6), Point(3, 300e6)
    assert best_links([useless, quick, slow]) == [
        Best(2, 0.0, 100e6),  # where quick gets over 4 * 100e6
        Best(1, 100e6, 800e6),
    ]
    assert best_links([Point(0.99, 1e9)]) == []
    assert best_links([]) == []


@given(
    st.lists(st.floats(1, 1.04), min_size=2, max_size=9),
    st.lists(st.floats(1, 1.04), min_size=9, max_size=9),
    st.floats(0, 1),
)
def test_what_is_narrow_hardly_beats_its_neighbours(
    slower: list[float], smaller: list[float], place: float
) -> None:
    """Points side by side: by how much each is slower, and smaller, than the next."""
    points = [Point(1.5, 1e9)]
    for less, more in zip(slower, smaller, strict=False):
        points.append(Point(points[-1].rate * more, points[-1].speed / less))
    found = best_links(points)
    for one, best, other in zip(found, found[1:], found[2:], strict=False):
        link = best.slowest + place * (best.fastest - best.slowest)
        most = points[best.index].on_link(link)
        if best.is_narrow:
            for neighbour in (one, other):
                assert most <= 1.05 * points[neighbour.index].on_link(link) * (1 + 1e-9)


def test_what_is_narrow() -> None:
    assert Best(0, 100.0, 104.9).is_narrow
    assert not Best(0, 100.0, 105.1).is_narrow
    assert not Best(0, 0.0, 0.001).is_narrow


def test_named_links_are_in_bytes() -> None:
    for name, link in LINKS:
        number, unit = name.split()
        bits = float(number) * {"Mbit/s": 1e6, "Gbit/s": 1e9}[unit]
        assert link == bits / 8


# --- Significance --------------------------------------------------------------------


def by_all_deals(one: list[float], other: list[float]) -> float:
    """The U test by its definition: how many deals are as far from the middle."""

    def u(chosen: tuple[int, ...], values: list[float]) -> float:
        ours = [values[i] for i in chosen]
        rest = [v for i, v in enumerate(values) if i not in chosen]
        return sum((a > b) + (a == b) / 2 for a in ours for b in rest)

    values = [*one, *other]
    middle = len(one) * len(other) / 2
    distance = abs(u(tuple(range(len(one))), values) - middle)
    deals = list(itertools.combinations(range(len(values)), len(one)))
    far = sum(abs(u(deal, values) - middle) >= distance - 1e-9 for deal in deals)
    return far / len(deals)


_times = st.lists(st.integers(1, 6).map(float), min_size=1, max_size=5)


@given(_times, _times)
def test_the_u_test_is_exact_for_few_rounds(
    one: list[float], other: list[float]
) -> None:
    assert p_value(one, other) == pytest.approx(by_all_deals(one, other))


def test_five_rounds_suffice_when_all_are_faster() -> None:
    assert p_value([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert 2 / 252 < ALPHA < p_value([1, 2, 3, 4, 6], [5, 7, 8, 9, 10])


def test_many_rounds_by_the_normal_distribution() -> None:
    one = [float(i) for i in range(0, 60, 2)]
    other = [i + 7.5 for i in one]
    # As scipy.stats.mannwhitneyu(one, other, method="asymptotic") tells.
    assert p_value(one, other) == pytest.approx(0.14531912724086543)
    assert p_value([1.0] * 25, [1.0] * 25) == 1.0
    tied = [1.0, 2.0, 3.0] * 8
    assert p_value(tied, [x + 1 for x in tied]) == pytest.approx(0.0005940202456225493)
    with pytest.raises(ValueError, match="nothing"):
        p_value([], [1.0])


def test_outliers_by_the_modified_z_score() -> None:
    # Median 10, MAD 1: the limit is 3.5 / 0.6745 = 5.19 from the median.
    values = [9.0, 10.0, 11.0, 10.0, 9.0, 11.0, 15.1, 15.2, 4.7]
    assert outliers([9, 9, 10, 11, 11, 15.1]) == []
    assert outliers(values) == [7, 8]
    assert outliers([1.0, 1.0, 1.0, 5.0]) == []


# --- Figures and comparisons ---------------------------------------------------------


def test_figures_follow_from_the_samples() -> None:
    sweep = make_sweep({setting(): (PAGES * PAGE // 4, [1.0, 2.0, 4.0, 2.0, 2.0])})
    (figures,) = map(Figures, sweep.series)
    assert figures.wall.median == 2.0
    assert figures.wall.rounds == 5  # and not the warm-up
    assert figures.rate == 4.0
    assert figures.speed == IMAGE.bytes / 2
    assert figures.nonzero_rate == pytest.approx(4 * (PAGES - ZEROS) / PAGES)
    assert figures.point.break_even == IMAGE.bytes / 4
    assert figures.cpu.median == pytest.approx(2 * 0.1 + 2 * 2 * 0.9)
    assert figures.cpu_seconds_per_gib == pytest.approx(3.8 * 2**30 / IMAGE.bytes)
    assert figures.busy_share == 0.5
    assert figures.request_seconds("p50") == pytest.approx(1e-6)
    assert figures.request_seconds("p99") is None
    assert figures.noise == 0
    assert figures.outliers == ()


def test_outliers_are_named_by_their_round() -> None:
    sweep = make_sweep({setting(): (1000, [1.0, 1.1, 0.9, 1.0, 9.0])})
    assert [s.round for s in Figures(sweep.series[0]).outliers] == [5]


def test_a_comparison_tells_differences_from_noise() -> None:
    names = [setting(level=level) for level in (1, 2, 3, 4)]
    before = make_sweep(dict.fromkeys(names, (1000, STEADY)))
    after = make_sweep(
        {
            names[0]: (1000, [x / 2 for x in STEADY]),
            names[1]: (1100, STEADY[::-1]),
            names[2]: (1000, [x * 1.5 for x in STEADY]),
        }
    )
    comparison = compare(before, after, ("a", "b"))
    quicker, same, slower = comparison.pairs
    assert quicker.speed_ratio == pytest.approx(2)
    assert quicker.significant
    assert not same.significant
    assert same.rate_ratio == pytest.approx(1000 / 1100)
    assert slower.significant
    assert slower.speed_ratio == pytest.approx(2 / 3)
    assert comparison.speed_mean == pytest.approx((2 * 1 * 2 / 3) ** (1 / 3))
    assert [f.setting for f in comparison.missing] == [names[3]]
    assert comparison.same_machine
    assert quicker.regressed(0.0) == ()
    assert slower.regressed(0.05) == ("33.3 % slower",)
    assert slower.regressed(0.34) == ()
    assert same.regressed(0.05) == ("9.1 % lower in rate",)
    assert same.regressed(0.10) == ()


def test_what_is_within_the_noise_is_not_significant() -> None:
    # All rounds are slower, but by less than rounds differ among themselves.
    before = make_sweep({setting(): (1000, [1.0, 1.3, 1.6, 1.9, 2.2])})
    after = make_sweep({setting(): (1000, [2.21, 2.22, 2.23, 2.24, 2.25])})
    (pair,) = compare(before, after, ("a", "b")).pairs
    assert pair.p_value < ALPHA
    assert pair.significant
    wide = make_sweep({setting(): (1000, [1.0, 1.9, 2.0, 2.9, 3.0])})
    close = make_sweep({setting(): (1000, [3.01, 3.02, 3.03, 3.04, 3.05])})
    (pair,) = compare(wide, close, ("a", "b")).pairs
    assert pair.p_value < ALPHA
    assert abs(math.log(pair.speed_ratio)) < pair.noise
    assert not pair.significant
    assert pair.regressed(0.05) == ()


def test_images_are_the_same_if_their_content_is() -> None:
    one = make_sweep({setting(): (1000, STEADY)})
    moved = replace(one, plan=replace(one.plan, images=(replace(IMAGE, path="x"),)))
    assert len(compare(one, moved, ("a", "b")).pairs) == 1
    samples = tuple(
        replace(s, result=replace(s.result, image_digest=1)) for s in one.samples
    )
    with pytest.raises(ResultsError, match="a and b have no setting of the same image"):
        compare(one, replace(one, samples=samples), ("a", "b"))
    larger = replace(one.plan, images=(replace(IMAGE, page_size=65536),))
    with pytest.raises(ResultsError, match="no setting of the same image"):
        compare(one, replace(one, plan=larger), ("a", "b"))
    assert not compare(one, on_machine(one, id="b2"), ("a", "b")).same_machine


def test_of_images_with_equal_content_each_is_compared_with_itself() -> None:
    one = make_sweep({setting(): (1000, STEADY)})
    twin = replace(IMAGE, path="guests/twin.raw")
    slower = make_sweep({setting(): (1000, [x * 2 for x in STEADY])})
    samples = [replace(s, image=1) for s in slower.samples]
    plan = replace(one.plan, images=(IMAGE, twin))
    two = replace(one, plan=plan, samples=(*one.samples, *samples))
    pairs = compare(two, two, ("a", "b")).pairs
    assert [pair.speed_ratio for pair in pairs] == [1.0, 1.0]
    assert [pair.after.image.path for pair in pairs] == [IMAGE.path, twin.path]
    moved = replace(twin, path="elsewhere/twin.raw")
    after = replace(two, plan=replace(plan, images=(IMAGE, moved)))
    pairs = compare(two, after, ("a", "b")).pairs
    assert [pair.after.image.path for pair in pairs] == [IMAGE.path, IMAGE.path]
