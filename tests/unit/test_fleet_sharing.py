# SPDX-License-Identifier: LGPL-2.1-or-later
"""Max-min fair shares of links and CPUs, and the clock that transfers go by."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp.fleet.sharing import Resource, Route, Sharing

MB = 1e6


def network(*capacities: float, cpus: float = 1e9) -> tuple[list[Resource], Resource]:
    links = [Resource(f"link {n}", each) for n, each in enumerate(capacities)]
    return links, Resource("cpus", cpus)


def run(sharing: Sharing[str], number: int) -> dict[str, float]:
    """When each transfer ends."""
    ends: dict[str, float] = {}
    while len(ends) < number:
        for name in sharing.wait():
            ends[name] = sharing.now
    sharing.finish()
    return ends


def test_one_has_the_link_for_itself() -> None:
    (link,), cpus = network(100 * MB)
    sharing: Sharing[str] = Sharing()
    sharing.start("a", Route((link,), cpus), 300 * MB, 0.0, 0.0)
    assert run(sharing, 1) == {"a": pytest.approx(3.0)}
    assert link.amount == pytest.approx(300 * MB)
    assert link.most == pytest.approx(100 * MB)


def test_one_that_is_bound_by_itself_takes_its_time() -> None:
    (link,), cpus = network(100 * MB)
    sharing: Sharing[str] = Sharing()
    sharing.start("a", Route((link,), cpus), 300 * MB, 7.5, 0.0)
    assert run(sharing, 1) == {"a": pytest.approx(7.5)}


def test_what_one_cannot_use_is_the_others() -> None:
    """A hundred MB/s: 10 for a, whose limit that is, 45 each for b and c."""
    (link,), cpus = network(100 * MB)
    sharing: Sharing[str] = Sharing()
    route = Route((link,), cpus)
    sharing.start("a", route, 10 * MB, 1.0, 0.0)
    sharing.start("b", route, 45 * MB, 0.0, 0.0)
    sharing.start("c", route, 90 * MB, 0.0, 0.0)
    ends = run(sharing, 3)
    assert ends["a"] == pytest.approx(1.0)
    assert ends["b"] == pytest.approx(1.0)
    assert ends["c"] == pytest.approx(1.45)


def test_the_textbook_s_example() -> None:
    """Two links in a row: a over both, b over the first, c and d over the second,
    which is the narrower one."""
    (first, second), cpus = network(100 * MB, 60 * MB)
    both, one, other = (
        Route(links, cpus) for links in ((first, second), (first,), (second,))
    )
    sharing: Sharing[str] = Sharing()
    sharing.start("a", both, 20 * MB, 0.0, 0.0)
    sharing.start("b", one, 80 * MB, 0.0, 0.0)
    sharing.start("c", other, 20 * MB, 0.0, 0.0)
    sharing.start("d", other, 20 * MB, 0.0, 0.0)
    assert run(sharing, 4) == dict.fromkeys("abcd", pytest.approx(1.0))


def test_cpus_bind_like_links() -> None:
    """Each of two would use 2 CPUs, of which there are 2."""
    (link,), cpus = network(1000 * MB, cpus=2.0)
    sharing: Sharing[str] = Sharing()
    route = Route((link,), cpus)
    for name in "ab":
        sharing.start(name, route, 100 * MB, 1.0, 2.0)
    assert run(sharing, 2) == dict.fromkeys("ab", pytest.approx(2.0))
    assert cpus.amount == pytest.approx(4.0)


def test_many_alike_are_as_many_apart() -> None:
    def ends(apart: bool) -> float:
        (link,), cpus = network(100 * MB)
        sharing: Sharing[str] = Sharing()
        route = Route((link,), cpus)
        for _ in range(5 if apart else 1):
            number = 1 if apart else 5
            sharing.start("a", route, 10 * MB, 0.5, 0.1, number)
        while len(sharing.wait()) < (5 if apart else 1):
            pass
        return sharing.now

    assert ends(apart=True) == pytest.approx(ends(apart=False))


transfers = st.lists(
    st.tuples(
        st.integers(0, 5),  # which links, of two ends each
        st.floats(0.1, 1e4),  # MB
        st.floats(0.0, 1e3),  # seconds at least
        st.floats(0.0, 1e3),  # CPU seconds
    ),
    min_size=1,
    max_size=60,
)


def share(
    wanted: Sequence[tuple[int, float, float, float]], seed: int
) -> tuple[list[Resource], dict[str, float]]:
    """All of them, some of which begin when others end."""
    links, cpus = network(100 * MB, 70 * MB, 50 * MB, 130 * MB, cpus=8.0)
    ends = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
    routes = [Route((links[a], links[b]), cpus) for a, b in ends]
    sharing: Sharing[str] = Sharing()
    queue, lot = [*enumerate(wanted)], Random(seed)

    def start() -> None:
        index, (route, size, seconds, cpu) = queue.pop()
        sharing.start(str(index), routes[route], size * MB, seconds, cpu)

    for _ in range(lot.randint(1, len(queue))):
        start()
    done: dict[str, float] = {}
    while len(done) < len(wanted):
        for name in sharing.wait():
            assert name not in done
            done[name] = sharing.now
            for _ in range(min(len(queue), lot.randint(1, 2))):
                start()
    sharing.finish()
    return [*links, cpus], done


@settings(deadline=None)
@given(wanted=transfers, seed=st.integers(0, 99))
def test_nothing_is_lost_and_nothing_overloaded(
    wanted: list[tuple[int, float, float, float]], seed: int
) -> None:
    resources, done = share(wanted, seed)
    *links, cpus = resources
    assert set(done) == {str(index) for index in range(len(wanted))}
    for resource in resources:
        assert resource.most <= resource.capacity * (1 + 1e-6), resource.name
    sizes = sum(size * MB for _, size, _, _ in wanted)
    assert sum(link.amount for link in links) == pytest.approx(2 * sizes, rel=1e-6)
    used = sum(cpu for *_, cpu in wanted)
    assert cpus.amount == pytest.approx(used, rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(wanted=transfers)
def test_none_is_quicker_than_alone(
    wanted: list[tuple[int, float, float, float]],
) -> None:
    _, done = share(wanted, 0)
    for index, (_, size, seconds, _) in enumerate(wanted):
        assert done[str(index)] >= max(seconds, size / 100) * (1 - 1e-6)


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.floats(1, 1e3), min_size=20, max_size=200))
def test_a_link_is_full_unless_all_go_at_their_limits(sizes: list[float]) -> None:
    """But for pauses: there are more lanes than are shared anew at once."""
    (link,), cpus = network(100 * MB)
    sharing: Sharing[str] = Sharing()
    route = Route((link,), cpus)
    # Limits are far apart.
    alone = [size / (2.0 ** (index % 12)) / 10 for index, size in enumerate(sizes)]
    for index, (size, seconds) in enumerate(zip(sizes, alone, strict=True)):
        sharing.start(str(index), route, size * MB, seconds, 0.0)
    ends = run(sharing, len(sizes))
    full = sum(sizes) / 100
    assert max(ends.values()) >= full * (1 - 1e-9)
    pauses = len(sizes) * 12 * 2e-4
    assert max(ends.values()) <= (full + max(alone)) * 1.05 + pauses
    assert link.amount == pytest.approx(sum(sizes) * MB, rel=1e-6)
