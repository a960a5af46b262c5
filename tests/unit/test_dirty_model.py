# SPDX-License-Identifier: LGPL-2.1-or-later
"""The modelled guest, and the model fitted to what a guest did."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp.errors import ImageError
from migcomp.precopy.dirty_fit import (
    Interval,
    fit,
    intervals_of_recording,
    intervals_of_snapshots,
)
from migcomp.precopy.dirty_model import DirtyModel, ModelledGuest, Ranks
from migcomp.precopy.memory import GuestMemory
from migcomp.results import Block
from tests.conftest import PAGE, make_page, memory_file
from tests.qemu_tools import BLOCKS, Writer, bulk

PAGES = 200

MODELS = st.builds(
    DirtyModel,
    st.floats(1, 50),
    st.integers(60, PAGES),
    st.floats(0, 1.5),
    st.integers(1, PAGE),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 5),
)
STEPS = st.lists(st.integers(0, 2000), max_size=10)


@contextmanager
def memory(pages: int = PAGES, full: int = PAGES // 2) -> Iterator[GuestMemory]:
    """The first ``full`` pages are not zero."""
    with GuestMemory("guest", [Block("ram", pages * PAGE, 0)], PAGE) as found:
        for page in range(full):
            found.write(page, make_page("rows", page))
        yield found


@settings(deadline=None, max_examples=50)
@given(MODELS, STEPS)
def test_every_written_page_is_reported(model: DirtyModel, steps: list[int]) -> None:
    with memory() as source:
        guest = ModelledGuest(model, source)
        ever: set[int] = set()
        for step in steps:
            before = source.buffer[:]
            written = guest.run(source, step / 1000)
            assert list(written) == sorted(set(written))
            ever |= set(written)
            after = source.buffer[:]
            for page in range(PAGES):
                place = slice(page * PAGE, (page + 1) * PAGE)
                if before[place] != after[place]:
                    assert page in written
                    assert model.fake < 1
        assert len(ever) <= model.working_set


@settings(deadline=None, max_examples=50)
@given(MODELS, STEPS)
def test_the_steps_of_time_make_no_difference(
    model: DirtyModel, steps: list[int]
) -> None:
    with memory() as first, memory() as second:
        one, other = ModelledGuest(model, first), ModelledGuest(model, second)
        written: set[int] = set()
        for step in steps:
            written |= set(one.run(first, step / 1000))
        assert sorted(written) == list(other.run(second, sum(steps) / 1000))
        assert first.buffer[:] == second.buffer[:]


def test_a_write_changes_the_bytes_told() -> None:
    model = DirtyModel(20, 100, bytes_changed=37, seed=3)
    with memory() as source:
        guest = ModelledGuest(model, source)
        before = source.buffer[:]
        written = set(guest.run(source, 2.0))
        after = source.buffer[:]
        for page in range(PAGES):
            place = slice(page * PAGE, (page + 1) * PAGE)
            differing = [
                a != b for a, b in zip(before[place], after[place], strict=True)
            ]
            assert sum(differing) == (37 if page in written else 0)


def test_pages_that_are_not_zero_are_written_first() -> None:
    with memory(full=50) as source:
        few = ModelledGuest(DirtyModel(39, 40), source)
        assert max(few.run(source, 100.0)) < 50
    with memory(full=50) as source:
        many = ModelledGuest(DirtyModel(69, 70), source)
        written = many.run(source, 100.0)
        assert set(written) >= set(range(50))
        assert len(written) == 70


@pytest.mark.parametrize("skew", [0.0, 0.7, 1.0, 1.3])
@pytest.mark.parametrize("fake", [0.0, 0.25])
def test_as_many_pages_are_dirty_after_a_second_as_told(
    skew: float, fake: float
) -> None:
    """Over 40 seconds each with other draws, within 3 % of the mean."""
    with memory(1000, 1000) as source:
        guest = ModelledGuest(DirtyModel(200, 800, skew, fake=fake), source)
        seen = [len(guest.run(source, 1.0)) for _ in range(40)]
    assert sum(seen) / 40 == pytest.approx(200, rel=0.03)


@pytest.mark.parametrize("skew", [0.0, 0.5, 1.0, 1.7])
def test_shared_probabilities_are_those_of_the_ranks(skew: float) -> None:
    ranks = Ranks(5000, skew)
    weights = [rank**-skew for rank in range(1, 5001)]
    for writes in (10, 1000, 100_000):
        exact = sum(1 - (1 - w / sum(weights)) ** writes for w in weights)
        assert ranks.distinct(writes) == pytest.approx(exact, rel=0.01)
    assert sum(pages for pages, _ in ranks.groups) == 5000
    assert ranks.distinct(ranks.writes_for(1234)) == pytest.approx(1234, rel=1e-6)


def test_models_that_cannot_be() -> None:
    with pytest.raises(ImageError, match="less than the working set"):
        DirtyModel(100, 100)
    with pytest.raises(ImageError, match="more than 0"):
        DirtyModel(0, 100)
    with pytest.raises(ValueError, match="skew"):
        DirtyModel(1, 100, -1)
    with memory() as source, pytest.raises(ImageError, match="no room"):
        ModelledGuest(DirtyModel(1, PAGES + 1), source)


# --- Fitting ---------------------------------------------------------------------


def observed(model: DirtyModel, seconds: list[float], pages: int) -> list[Interval]:
    with memory(pages, pages) as source:
        guest = ModelledGuest(model, source)
        return [
            Interval(each, written := guest.run(source, each), 50 * len(written))
            for each in seconds
        ]


@pytest.mark.parametrize(
    ("model", "seconds"),
    [
        (DirtyModel(500, 3000), [1.0] * 8),
        (DirtyModel(800, 3000, 0.8), [1.0] * 10),
        (DirtyModel(1000, 5000, 1.0), [1.0] * 6),
        (DirtyModel(300, 4000, 1.2), [0.5, 2.0, 1.0, 4.0, 0.5, 3.0]),
    ],
)
def test_a_fit_finds_what_made_the_data(
    model: DirtyModel, seconds: list[float]
) -> None:
    """The rate within 3 %, the working set within 10 %, the skew within 0.1, and the
    pages dirty after 0.5 to 30 s within 5 %: the draws themselves are random."""
    found = fit(observed(model, seconds, 8000), 8000)
    assert found.dirty_rate == pytest.approx(model.dirty_rate, rel=0.03)
    assert found.working_set == pytest.approx(model.working_set, rel=0.1)
    assert found.skew == pytest.approx(model.skew, abs=0.1)
    assert (found.bytes_changed, found.fake) == (50, 0)
    ours, theirs = (Ranks(m.working_set, m.skew) for m in (found, model))
    for time in (0.5, 1, 30):
        assert ours.distinct(ours.writes_for(found.dirty_rate) * time) == pytest.approx(
            theirs.distinct(theirs.writes_for(model.dirty_rate) * time), rel=0.05
        )


def test_of_two_intervals_there_is_no_skew_and_a_rough_size() -> None:
    found = fit(observed(DirtyModel(500, 3000), [1.0, 1.0], 8000), 8000)
    assert found.skew == 0
    assert found.dirty_rate == pytest.approx(500, rel=0.05)
    assert found.working_set == pytest.approx(3000, rel=0.25)


def test_a_fit_to_snapshots() -> None:
    model = DirtyModel(60, 200, bytes_changed=33)
    with memory(400, 400) as source, ExitStack() as stack:
        guest = ModelledGuest(model, source)
        paths = [stack.enter_context(memory_file(source.buffer[:]))]
        for _ in range(6):
            guest.run(source, 1.0)
            paths.append(stack.enter_context(memory_file(source.buffer[:])))
        found = fit(intervals_of_snapshots(paths, [1.0] * 6), 400, seed=9)
    assert found.dirty_rate == pytest.approx(60, rel=0.1)
    assert found.working_set == pytest.approx(200, rel=0.15)
    assert (found.bytes_changed, found.fake, found.seed) == (33, 0, 9)


def test_a_fit_to_a_recording() -> None:
    """Twelve rounds, each of which writes pages drawn from 20, one in four fake."""
    lot, writer = random.Random(4), Writer()
    writer.start()
    writer.part()
    for name, pages in BLOCKS:
        for page in range(pages):
            writer.normal(name, page, make_page("noise", page))
    for _ in range(12):
        # The highest page comes last, so that it starts no round.
        for page in [5, *lot.sample(range(6, 25), 9)]:
            old = writer.pages[b"pc.ram", page]
            fake = lot.random() < 0.25
            new = old if fake else old[:100] + lot.randbytes(20) + old[120:]
            writer.normal(b"pc.ram", page, new)
    writer.end_records()
    writer.end_ram()
    with memory_file(writer.finish()) as path:
        intervals = intervals_of_recording(path, 10 * PAGE)
        found = fit(intervals, 44)
    assert [round(each.seconds, 2) for each in intervals] == [4.4] + [1.0] * 10 + [2.0]
    assert found.working_set == pytest.approx(20, abs=3)
    assert found.dirty_rate == pytest.approx(10, rel=0.2)
    assert found.fake == pytest.approx(0.25, abs=0.08)
    assert found.bytes_changed == pytest.approx(20, abs=1)


@pytest.fixture
def memories_open(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many guests' memories there were, each time one came or went."""
    numbers = [0]
    made, closed = GuestMemory.__init__, GuestMemory.close

    def make(self: GuestMemory, *arguments: Any) -> None:
        made(self, *arguments)
        numbers.append(numbers[-1] + 1)

    def close(self: GuestMemory) -> None:
        closed(self)
        numbers.append(numbers[-1] - 1)

    monkeypatch.setattr(GuestMemory, "__init__", make)
    monkeypatch.setattr(GuestMemory, "close", close)
    return numbers


@pytest.mark.parametrize(("rounds", "most"), [(4, 1), (1, 0)])
def test_a_fit_to_a_recording_needs_one_memory(
    memories_open: list[int], rounds: int, most: int
) -> None:
    """And none where there are too few rounds."""
    writer = Writer()
    writer.start()
    bulk(writer)
    writer.part()
    for number in range(rounds):
        writer.normal(b"pc.ram", 5, make_page("noise", number))
    writer.end_records()
    writer.end_ram()
    fits = nullcontext() if most else pytest.raises(ImageError, match="four rounds")
    with memory_file(writer.finish()) as path, fits:
        assert fit(intervals_of_recording(path, 10 * PAGE), 44).dirty_rate > 0
    assert max(memories_open) == most
    assert memories_open[-1] == 0


def test_what_cannot_be_fitted() -> None:
    nothing = Interval(1.0, [], 0)
    for seen in ([], [Interval(1.0, [1], 1)], [nothing, nothing]):
        with pytest.raises(ImageError, match="three snapshots"):
            fit(seen, 100)


def test_a_guest_of_one_page_writes_it() -> None:
    assert Ranks(1, 0.0).distinct(0) == 0
    with memory(pages=1, full=1) as source:
        guest = ModelledGuest(DirtyModel(0.5, 1), source)
        assert [list(guest.run(source, 1.0)) for _ in range(4)] == [[], [0]] * 2


def test_a_guest_that_writes_all_of_its_pages_can_be_fitted() -> None:
    """No more pages are found than there are."""
    seen = [Interval(1.0, range(n), n) for n in (PAGES, PAGES, PAGES // 2)]
    model = fit(seen, PAGES)
    assert model.working_set == PAGES
    with memory() as source:
        assert list(ModelledGuest(model, source).run(source, 60.0)) == [*range(PAGES)]


def test_models_that_would_take_for_ever_are_refused() -> None:
    with (
        memory() as source,
        pytest.raises(ImageError, match="more than 20,000,000 writes"),
    ):
        ModelledGuest(DirtyModel(150, PAGES, skew=8), source)


def test_no_more_bytes_change_than_a_page_has() -> None:
    with memory() as source, pytest.raises(ImageError, match="4097 cannot change"):
        ModelledGuest(DirtyModel(10, PAGES, bytes_changed=PAGE + 1), source)
