# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which packets are drawn, and how sure that is what they say."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migcomp.confidence import quantile
from migcomp.explain.layout import Packet
from migcomp.explain.sample import Stratum, draw, estimate, without
from migcomp.report.explain import measured
from migcomp.report.explain_json import to_json
from tests.conftest import make_page
from tests.core_tools import PAGE, noise
from tests.explain_tools import explained, technique_of


def packets(count: int) -> list[Packet]:
    return [Packet(128 * n, 128) for n in range(count)]


def test_an_estimate_by_hand() -> None:
    """One stratum of 4 packets, 2 drawn; another that is drawn whole."""
    a, b, c, d = packets(4)
    strata = [Stratum(4, (a, b)), Stratum(2, (c, d))]
    sizes = {a: 10, b: 20, c: 30, d: 40}
    results = {a: 4, b: 12, c: 15, d: 20}
    # Weighted sizes are 2 * 30 + 70 = 130, results 2 * 16 + 35 = 67.
    found = estimate(strata, sizes, results, 260)
    ratio = 67 / 130
    assert found.value == pytest.approx(260 * ratio)
    off = [4 - 10 * ratio, 12 - 20 * ratio]
    spread = (off[0] - off[1]) ** 2 / 2
    # Two packets that tell the spread leave one degree of freedom.
    error = quantile(1) * math.sqrt(16 * (1 - 2 / 4) * spread / 2) * 260 / 130
    assert found.error == pytest.approx(error)


@pytest.mark.parametrize(
    ("freedom", "student"),
    [
        (1, math.tan(0.95 * math.pi / 2)),
        (1.1, 10.276802),
        (1.5, 6.016663),
        (2, 0.95 * math.sqrt(2 / (1 - 0.95**2))),
        (3, 3.182446),
        (10, 2.228139),
        (30, 2.042272),
        (1e6, 1.959966),
    ],
)
def test_quantiles_of_students_distribution(freedom: float, student: float) -> None:
    """1 and 2 in closed form, the others by scipy.stats.t.ppf."""
    assert quantile(freedom) == pytest.approx(student, rel=1e-5)


@pytest.mark.parametrize("pages_wanted", [40, 2000, 6000])
def test_intervals_hold_the_truth_as_often_as_they_say(pages_wanted: int) -> None:
    """Of 95 %, of the fewest packets that are drawn and of more."""
    generator = random.Random(2)
    sizes = {packet: generator.randint(1, 128) for packet in packets(300)}
    means = {packet: generator.uniform(0, 8) for packet in sizes}
    results = {
        packet: round(size * 512 * max(means[packet] + generator.gauss(0, 1), 0))
        for packet, size in sizes.items()
    }
    truth, total = sum(results.values()), sum(sizes.values())
    hits = 0
    for _ in range(1000):
        strata = draw(means, sizes, pages_wanted, generator)
        found = estimate(strata, sizes, results, total)
        hits += abs(found.value - truth) <= found.error
    assert 0.93 <= hits / 1000 <= 0.98


def test_an_estimate_of_nothing() -> None:
    assert estimate([], {}, {}, 0).value == 0


@given(st.lists(st.integers(0, 128), max_size=200), st.integers(0, 5000))
def test_every_packet_is_in_one_stratum(counts: list[int], wanted: int) -> None:
    sizes = dict(zip(packets(len(counts)), counts, strict=True))
    entropy = dict.fromkeys(sizes, 3.0)
    strata = draw(entropy, sizes, wanted, random.Random(1))
    some = [packet for packet, size in sizes.items() if size]
    assert sum(stratum.packets for stratum in strata) == len(some)
    drawn = [packet for stratum in strata for packet in stratum.drawn]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) <= set(some)
    if wanted >= sum(counts):
        assert set(drawn) == set(some)
    share = min(1.0, wanted / sum(counts)) if some else 0.0
    assert len(drawn) >= share * len(some)
    gone = set(drawn[::3])
    rest = without(strata, gone)
    assert sum(stratum.packets for stratum in rest) == len(some)
    left = [packet for stratum in rest for packet in stratum.drawn]
    assert set(left) == set(drawn) - gone
    if len(left) > 1:
        assert all(len(stratum.drawn) > 1 for stratum in rest)


def test_the_sample_says_how_sure_it_is() -> None:
    """On an image, from reading it to compressing it: 19 times of 20."""
    generator = random.Random(7)
    kinds = ("text", "rows", "noise", "spot", "zero")
    content = bytearray()
    for _ in range(60):  # packets of like pages, as memory has
        kind = generator.choice(kinds)
        other = generator.choice(kinds)
        for _ in range(16):
            chosen = kind if generator.random() < 0.8 else other
            content += make_page(chosen, generator.randrange(1 << 30))
        content += bytes(112 * PAGE)
    truth = technique_of(explained(bytes(content)), "page")
    hits = 0
    for seed in range(30):
        found = explained(bytes(content), sample_bytes=200 * PAGE, seed=seed)
        assert not found.sample.whole
        assert found.sample.packets < found.sample.packets_of
        technique = technique_of(found, "page")
        assert technique.sent.error > 0
        off = abs(technique.sent.value - truth.sent.value)
        hits += off <= technique.sent.error
    assert hits >= 26


def test_a_sample_that_is_larger_than_asked_for_says_so() -> None:
    content = bytearray()
    for packet in range(20):
        content += make_page("noise", packet) + bytes(127 * PAGE)
    for asked, raised in ((0, True), (1, True), (15 * PAGE, True), (16 * PAGE, False)):
        found = explained(bytes(content), sample_bytes=asked)
        assert found.sample.packets >= 16
        told = (
            "Fewer than 16 packets, as asked for, would not tell" in measured(found)[0]
        )
        assert told is raised, asked
        assert f'"asked-pages": {asked // PAGE}}}' in json.dumps(to_json(found))


def test_a_seed_draws_the_same_sample() -> None:
    content = b"".join(noise(1, n) + bytes(127 * PAGE) for n in range(40))
    one, same, other = (
        explained(content, sample_bytes=20 * PAGE, seed=seed) for seed in (1, 1, 2)
    )
    for key in ("page", "packet"):
        assert technique_of(one, key).sent == technique_of(same, key).sent
    assert one.sample == same.sample
    assert one.sample != other.sample
