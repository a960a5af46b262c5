# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a plan rests on: sample, measurement and prediction."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from migcomp.errors import ImageError
from migcomp.images.open import open_image
from migcomp.plan import course
from migcomp.plan.course import Case, Course, Prediction
from migcomp.plan.flows import Flows, PageFlow, mixture
from migcomp.plan.guest import Writes, writes_by_rate
from migcomp.plan.measure import Measurement, Measurer, Part, measure_deltas
from migcomp.plan.predict import break_even
from migcomp.plan.predict import predict as predict_case
from migcomp.plan.sample import RUN_PAGES, sample_of, take_sample
from migcomp.precopy.costs import Costs, Work
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters
from tests.conftest import PAGE, REPOSITORY, make_page, memory_file
from tests.plan_tools import costs

HEAP = str(REPOSITORY / "sample_images/heap-8m.raw")
HEAP_PAGES = (8 << 20) // PAGE
ZSTD, ZLIB, PAGED = (
    Work("zstd", 1, "stream"),
    Work("zlib", 1, "stream"),
    Work("zlib", 1, "page"),
)


# --- Sample -------------------------------------------------------------------------


def numbered(pages: int) -> bytes:
    return b"".join(
        number.to_bytes(8, "little") * (PAGE // 8) for number in range(pages)
    )


def taken(pages: int, most: int, seed: int = 0) -> list[int]:
    with memory_file(numbered(pages)) as path, open_image(path) as image:
        sample = take_sample(image, most, seed)
        with sample.memory as memory:
            assert [*sample.clusters][-1].stop == sample.pages == memory.pages
            assert sample.image_pages == pages
            return [
                int.from_bytes(memory.read(page)[:8], "little")
                for page in range(memory.pages)
            ]


@pytest.mark.parametrize("pages", [1, 255, 256, 257, 600])
def test_a_small_image_is_taken_whole(pages: int) -> None:
    assert taken(pages, 600) == [*range(pages)]


def test_every_stratum_is_in_a_sample() -> None:
    found = taken(6400, 640)
    starts = found[::RUN_PAGES]
    assert len(starts) == 20
    for stratum, start in enumerate(starts):
        assert 320 * stratum <= start <= 320 * (stratum + 1) - RUN_PAGES
        at = stratum * RUN_PAGES
        assert found[at : at + RUN_PAGES] == [*range(start, start + RUN_PAGES)]


def test_the_seed_draws_it() -> None:
    assert taken(6400, 640, 1) == taken(6400, 640, 1) != taken(6400, 640, 2)


def test_of_an_empty_image_there_is_none() -> None:
    with (
        memory_file(b"") as path,
        pytest.raises(ImageError),
        open_image(path) as image,
    ):
        take_sample(image, 10, 0)


# --- Measurement --------------------------------------------------------------------


def measurer(contents: list[bytes], used: Costs) -> Measurer:
    pages = sum(map(len, contents)) // PAGE
    return Measurer(sample_of("made", PAGE, pages, contents, 1000), used)


def test_zero_pages_are_told_from_others() -> None:
    contents = [bytes(PAGE) * 3 + make_page("text"), make_page("noise") * 2]
    found = measurer(contents, costs()).as_they_are()
    assert found.parts == (Part(4, 3, PAGE, 0), Part(2, 0, 2 * PAGE, 0))
    assert found.zero_share == 0.5
    assert (found.page_bytes, found.page_ns) == (PAGE, 0)


@pytest.mark.parametrize("work", [ZSTD, ZLIB, PAGED])
def test_a_cluster_s_bytes_and_time(work: Work) -> None:
    pages = [make_page("text", seed) for seed in range(200)]
    contents = [b"".join(pages), bytes(PAGE) * 7, make_page("noise", 1)]
    parts = measurer(contents, costs(zstd=1000, zlib=1000)).compressed(work).parts
    assert [(part.pages, part.zero) for part in parts] == [(200, 0), (7, 7), (1, 0)]
    assert [part.ns for part in parts] == [200_000, 0, 1000]
    assert 0 < parts[0].size < 200 * PAGE / 1.5
    assert parts[1].size == 0
    assert parts[2].size >= PAGE


def test_time_is_measured() -> None:
    """Costs that are not stored are those of the run."""
    used = Costs(PAGE, 80, 700, 300, 3000, 5000, "measured")
    contents = [b"".join(make_page("text", seed) for seed in range(100))]
    found = measurer(contents, used)
    assert found.compressed(ZLIB).page_ns > found.compressed(ZSTD).page_ns > 0


def measurement(*sizes: int, sampled: float = 0.5) -> Measurement:
    return Measurement(tuple(Part(1, 0, size, 0) for size in sizes), sampled)


def test_how_sure_it_is() -> None:
    alike = measurement(*[100] * 9)
    assert alike.uncertainty([100] * 9) == 0
    # Differences of 2: a variance of 2, 3.18 * sqrt(2 / 4 * 0.5) / 10.
    assert alike.uncertainty([9, 11, 9, 11]) == pytest.approx(0.159, rel=1e-2)
    assert measurement(1, 2, sampled=1.0).uncertainty([1, 2]) == 0
    assert measurement(1).uncertainty([1]) is None


def test_an_interval_that_is_right_as_often_as_it_says() -> None:
    """Of 100 samples of a memory, about 95 tell the whole one's zero pages."""
    lot = Random(5)
    pages: list[bytes] = []
    while len(pages) < 8192:
        kind = lot.choice((bytes(PAGE), make_page("spot", len(pages))))
        pages += [kind] * lot.randrange(1, 60)
    memory, truth = b"".join(pages), pages.count(bytes(PAGE))
    right = 0
    with memory_file(memory) as path, open_image(path) as image:
        for seed in range(100):
            sample = take_sample(image, 2048, seed)
            with sample.memory:
                found = Measurer(sample, costs()).as_they_are()
            share = found.uncertainty(part.zero for part in found.parts) or 0.0
            error = abs(found.zero_share * len(pages) - truth) / truth
            right += error <= share
    assert right >= 88


def test_deltas() -> None:
    old = [make_page("noise", seed) for seed in range(8)]
    new = [b"12345678" + page[8:] for page in old[:6]] + old[6:]
    before = sample_of("old", PAGE, 8, [b"".join(old)], 8)
    after = sample_of("new", PAGE, 8, [b"".join(new)], 8)
    found = measure_deltas(before, after, 11)
    # Six of 8 bytes and two of run lengths; two pages are as they were.
    assert found.hit_bytes == 6 * (11 + 2 + 8) / 8
    assert found.hit_ns > 0 < found.miss_ns


# --- Prediction ---------------------------------------------------------------------

LINK = Link(80e6, segment=1, overhead=0, buffer=0)  # 10 MB/s
MB = 10_000_000


def flows(wire: float, serial_ns: float = 0, zero: float = 0, **more: Any) -> Flows:
    """Of a memory with that share of zero pages."""
    flow = PageFlow(wire, wire, serial_ns, **more)
    memory = mixture([(zero, PageFlow(9, 9, 0)), (1 - zero, flow)])
    return Flows(((1.0, memory),), flow)


def predict(
    pages: int,
    flows: Flows,
    writes: Writes | None = None,
    link: Link = LINK,
    **parameters: Any,
) -> Prediction:
    told = Parameters(**({"max_bandwidth": 0} | parameters))
    return predict_case(Case(pages, PAGE, flows, writes, link, told))


def test_an_idle_guest_takes_its_bytes_over_the_link() -> None:
    found = predict(10_000, flows(1000, zero=0.5), downtime_limit=100)
    assert found.converges
    assert found.wire_bytes == pytest.approx(5000 * 1009)
    assert found.seconds == pytest.approx(5000 * 1009 / MB)
    # QEMU looks after each section of 50 ms, and a step of 10 ms at most.
    assert 0 < found.downtime < 0.06


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({"serial_ns": 500_000}, 500e-6),
        ({"thread_ns": 900_000.0, "threads": 2}, 450e-6),
        ({"thread_ns": 100_000.0, "idle_ns": 500_000.0, "threads": 3}, 200e-6),
        ({"thread_ns": 1000.0}, 100e-6),
    ],
)
def test_the_slowest_decides(more: Any, seconds: float) -> None:
    serial = more.pop("serial_ns", 0)
    found = predict(1000, flows(1000, serial, **more))
    assert found.seconds == pytest.approx(1000 * seconds)
    expected = 1000 * (serial + more.get("thread_ns", 0)) / 1e9
    assert found.cpu_seconds == pytest.approx(expected)


def test_the_guest_is_not_stopped_for_longer_than_all_takes() -> None:
    """What the kernel still has to send is not counted again among the last round."""
    queued = replace(LINK, buffer=1000 * PAGE)
    found = predict(500, flows(PAGE), link=queued)
    assert found.downtime == pytest.approx(found.seconds)


def test_rounds_are_a_geometric_series() -> None:
    """Pages of 4096 bytes at 10 MB/s are 2441 a second; 610 are written: lambda 1/4."""
    writes = writes_by_rate(MB / PAGE / 4, 10**9)
    found = predict(100_000, flows(PAGE), writes, downtime_limit=1)
    assert found.seconds == pytest.approx(100_000 * PAGE / MB / (1 - 1 / 4), rel=0.01)
    assert found.converges


def test_who_writes_too_quickly_does_not_converge() -> None:
    writes = writes_by_rate(MB / PAGE * 1.1, 10**9)
    found = predict(100_000, flows(PAGE), writes, downtime_limit=1)
    assert not found.converges
    compressed = predict(100_000, flows(PAGE / 3), writes, downtime_limit=100)
    assert compressed.converges


@pytest.mark.parametrize("limit", [0, MB // 2])
def test_rounds_that_are_alike_are_sent_as_one(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the outcome that they have one by one, and in fewer steps."""
    rate = (limit or MB) / PAGE * 3
    told = Parameters(max_bandwidth=limit, downtime_limit=100)
    case = Case(
        100_000, PAGE, flows(PAGE), writes_by_rate(rate, 20_000), LINK, told
    )  # fmt: skip

    def sends() -> int:
        running, number = Course(case).run(), 0
        send = next(running)
        with suppress(StopIteration):
            while True:
                number += 1
                send = running.send(send.seconds(LINK.bytes_per_second))
        return number

    found, number = predict_case(case), sends()
    monkeypatch.setattr(course, "_ALIKE", 0.0)
    each, singly = predict_case(case), sends()
    assert not found.converges
    assert not each.converges
    assert number < singly / 2
    assert found.rounds == each.rounds > 30
    assert found.seconds == pytest.approx(each.seconds, rel=0.03)
    assert found.wire_bytes == pytest.approx(each.wire_bytes, rel=0.03)
    assert found.downtime == pytest.approx(each.downtime, rel=0.05)


def test_a_small_working_set_ends_it() -> None:
    writes = writes_by_rate(99, 100)
    found = predict(100_000, flows(PAGE), writes, downtime_limit=300)
    assert found.converges
    assert found.downtime < 0.3


def test_the_limit_may_hold_for_pages_as_they_were() -> None:
    """multifd before 8.1."""
    flow = PageFlow(1000, 4000, 0)
    found = predict(
        10_000, Flows(((1.0, flow),), flow), max_bandwidth=MB // 2, downtime_limit=1
    )
    assert found.seconds == pytest.approx(10_000 * 4000 / (MB / 2), abs=0.1)


def test_break_even() -> None:
    plain = flows(4000, zero=0.3)
    slow = flows(1000, zero=0.3, thread_ns=100_000.0)
    rate = break_even(slow, plain)
    assert rate is not None
    assert slow.seconds(rate) == pytest.approx(plain.seconds(rate), rel=1e-6)
    assert rate == pytest.approx(2802.7 / 70e-6, rel=1e-3)
    assert break_even(flows(1000), flows(4000)) is None
    assert break_even(flows(5000, 10), flows(4000)) == 0
