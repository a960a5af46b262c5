# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migrations from beginning to end: QEMU's rules, and that nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import pytest

from migcomp.errors import SimulationFault
from migcomp.precopy import framing
from migcomp.precopy.clock import MS, Clock
from migcomp.precopy.dirty import DirtySource, IdleGuest
from migcomp.precopy.engine import Sent
from migcomp.precopy.engines.none import PlainEngine
from migcomp.precopy.link import Link
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.migration import Migration, Outcome
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.statistics import RamStatistics
from migcomp.precopy.window import Window
from tests.conftest import PAGE, make_page
from tests.precopy_tools import Writer, empty_memory, fixed_costs, guest_memory

PAGES = 4096
LIMIT = 20_000_000


class Broken(PlainEngine):
    """Loses what it is told to lose of page 77."""

    def __init__(self, spoil: bytes, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._spoil = spoil

    def send(
        self,
        source: GuestMemory,
        destination: GuestMemory,
        pages: Sequence[int],
        sync_count: int,
        last: bool,
    ) -> Sent:
        sent = super().send(source, destination, pages, sync_count, last)
        if 77 in pages:
            destination.buffer[77 * PAGE + 5 : 77 * PAGE + 6] = self._spoil
        return sent


def migrate(
    source: GuestMemory,
    guest: DirtySource | None = None,
    *,
    spoil: bytes = b"",
    **parameters: Any,
) -> Outcome:
    chosen = Parameters(**({"max_bandwidth": LIMIT} | parameters))
    clock, window = Clock(Link(10e9)), Window(chosen)
    arguments = clock, fixed_costs(), source
    engine = Broken(spoil, *arguments) if spoil else PlainEngine(*arguments)
    with empty_memory(source) as destination:
        try:
            return Migration(
                source, destination, guest or IdleGuest(), engine, clock, window, chosen
            ).run()
        finally:
            engine.close()


def test_an_idle_guest_is_sent_once() -> None:
    with guest_memory(PAGES) as source:
        outcome = migrate(source)
    ram = outcome.statistics.ram
    assert outcome.statistics.status == "completed"
    assert ram.normal + ram.duplicate == PAGES
    assert ram.duplicate == PAGES // 4
    assert ram.remaining == 0
    # The setup's sync, one when little was left, and the last.
    assert ram.dirty_sync_count == 3
    assert sum(r.unchanged_pages for r in outcome.rounds) == 0


def test_every_byte_is_of_a_page_or_of_what_surrounds_it() -> None:
    with guest_memory(PAGES) as source:
        outcome = migrate(source, max_bandwidth=0, downtime_limit=0)
        start = framing.start_section(source.blocks)
    ram = outcome.statistics.ram
    # Without a limit all goes in one section, then the last one, and its end.
    sections = 2 * (5 + 8 + 5) + 1
    pages = ram.normal * (8 + PAGE) + ram.duplicate * 9 + len("ram0") + 1
    assert ram.transferred == framing.FILE_HEADER + start + sections + pages
    assert (ram.precopy_bytes, ram.downtime_bytes) == (pages + 8, 0)


def test_the_limit_holds_in_every_window() -> None:
    with guest_memory(PAGES) as source:
        outcome = migrate(source, downtime_limit=0)
    sent = outcome.statistics.ram.transferred
    windows = -(-outcome.rounds[-1].start_ns // (100 * MS))
    assert sent <= (windows + 1) * LIMIT // 10 + windows * (PAGE + 8)
    assert outcome.statistics.total_time == pytest.approx(sent * 1000 / LIMIT, rel=0.05)


def test_what_fits_into_the_downtime_is_left_for_it() -> None:
    with guest_memory(PAGES) as source:
        outcome = migrate(source, downtime_limit=200)
    last = outcome.rounds[-1]
    assert last.stopped
    # threshold = bandwidth x downtime-limit; it is looked at once in a window.
    assert LIMIT * 0.1 < last.dirty_pages * PAGE <= LIMIT * 0.2 * 1.05
    # The last round has no limit but the link's.
    assert outcome.statistics.downtime is not None
    assert outcome.statistics.downtime < 20


def test_a_given_bandwidth_decides_when_the_guest_is_stopped() -> None:
    with guest_memory(PAGES) as source:
        outcome = migrate(
            source, downtime_limit=200, avail_switchover_bandwidth=LIMIT // 2
        )
    assert outcome.rounds[-1].dirty_pages * PAGE <= LIMIT * 0.1 * 1.05


def test_a_guest_that_writes_takes_rounds() -> None:
    with guest_memory(PAGES) as source:
        outcome = migrate(source, Writer(1500), downtime_limit=20)
    assert outcome.statistics.status == "completed"
    assert outcome.statistics.ram.dirty_sync_count > 4
    assert outcome.rounds[1].dirty_pages < PAGES / 2
    assert sum(r.sent.handled for r in outcome.rounds) > PAGES


def test_pages_written_before_they_are_sent_are_fake_dirty() -> None:
    """The guest writes for a moment at the start, and never again."""
    with guest_memory(PAGES) as source:
        outcome = migrate(source, Writer(10_000, seconds=0.02), downtime_limit=5)
    unchanged = sum(r.unchanged_pages for r in outcome.rounds)
    assert 100 < unchanged <= 200


def test_a_guest_faster_than_the_link_is_given_up() -> None:
    with guest_memory(512) as source:
        outcome = migrate(
            source, Writer(5_000), downtime_limit=1, max_bandwidth=LIMIT // 10
        )
    assert outcome.statistics.status == "cancelled"
    assert "does not converge" in outcome.reason
    assert outcome.statistics.downtime is None
    assert outcome.statistics.ram.remaining > 0


def test_auto_converge_brings_it_to_an_end() -> None:
    def run(auto_converge: bool) -> Outcome:
        with guest_memory(1024) as source:
            return migrate(
                source,
                Writer(1_400),
                max_bandwidth=2_000_000,
                downtime_limit=100,
                auto_converge=auto_converge,
            )

    assert run(False).statistics.status == "cancelled"
    throttled = run(True)
    assert throttled.statistics.status == "completed"
    assert (throttled.statistics.cpu_throttle_percentage or 0) >= 20


@pytest.mark.parametrize(
    ("limit", "words"), [({"max_rounds": 4}, "max-rounds"), ({"max_time": 500}, "ms")]
)
def test_limits_cancel(limit: dict[str, Any], words: str) -> None:
    with guest_memory(512) as source:
        outcome = migrate(
            source,
            Writer(5_000),
            downtime_limit=1,
            max_bandwidth=LIMIT // 10,
            **limit,
        )
    assert outcome.statistics.status == "cancelled"
    assert words in outcome.reason
    assert len(outcome.rounds) <= 5


def test_a_broken_engine_is_found_out() -> None:
    with guest_memory(256) as source, pytest.raises(SimulationFault, match="page 77 "):
        migrate(source, spoil=b"\x99")


def test_a_spoilt_page_that_is_sent_again_is_none() -> None:
    class Once(Writer):
        def run(self, memory: GuestMemory, seconds: float) -> Sequence[int]:
            return [77] if self._take() else []

        def _take(self) -> bool:
            done, self._left = self._left, 0
            return done > 0

    with guest_memory(256) as source:
        source.write(77, make_page("zero"))
        outcome = migrate(source, Once(0), spoil=b"\0")
    assert outcome.statistics.status == "completed"


class ByRounds(DirtySource):
    """Writes so many pages, the first ones, at the end of each round; was stopped
    when fewer than ``stopped_below`` were left."""

    def __init__(self, *pages: int, stopped_below: int = 0) -> None:
        self._pages = [*pages]
        self._stopped_below = stopped_below

    @property
    def least_threshold(self) -> int:
        return self._stopped_below

    @property
    def description(self) -> str:
        return "a recording"

    def run(self, _memory: GuestMemory, _seconds: float) -> Sequence[int]:
        return ()

    def next_round(self, memory: GuestMemory) -> Sequence[int]:
        if not self._pages:
            return ()
        pages = range(self._pages.pop(0))
        for page in pages:
            memory.write(page, make_page("rows", page + 1000 * len(self._pages)))
        return pages

    def too_early(self, is_pending: Callable[[int], bool]) -> bool:
        return bool(self._pages) and any(map(is_pending, range(self._pages[0])))

    @property
    def last_round(self) -> bool:
        return not self._pages


def test_a_recording_decides_its_rounds() -> None:
    with guest_memory(1024) as source:
        outcome = migrate(source, ByRounds(300, 50, 7), downtime_limit=0)
    assert [r.dirty_pages for r in outcome.rounds] == [1024, 300, 50, 7, 0]
    assert [r.stopped for r in outcome.rounds] == [False] * 4 + [True]
    assert outcome.statistics.ram.dirty_sync_count == 5
    assert sum(r.sent.handled for r in outcome.rounds) == 1024 + 300 + 50 + 7


def test_a_recorded_guest_is_asked_when_little_is_left() -> None:
    """What it wrote comes before the rest of the first round is sent, and is more
    than the downtime has room for: it is asked once more, and then stopped."""
    with guest_memory(PAGES) as source:
        outcome = migrate(source, ByRounds(500), downtime_limit=110)
    threshold = LIMIT * 0.11 / PAGE
    first, second = outcome.rounds[1].dirty_pages, outcome.rounds[2].dirty_pages
    assert 500 < threshold < first
    assert first - 500 < threshold
    assert second <= threshold
    assert outcome.statistics.ram.dirty_sync_count == 4
    assert outcome.rounds[-1].dirty_pages == second
    assert sum(r.sent.handled for r in outcome.rounds) == PAGES + 500


def test_a_recorded_guest_is_stopped_with_what_was_left_then() -> None:
    """However little the downtime has room for."""
    with guest_memory(1024) as source:
        outcome = migrate(source, ByRounds(300, stopped_below=301), downtime_limit=0)
    assert 0 < outcome.rounds[-1].dirty_pages <= 300
    assert outcome.statistics.ram.downtime_bytes > 0
    assert sum(r.sent.handled for r in outcome.rounds) == 1324


def test_a_recorded_guest_is_not_stopped_before_its_last_round() -> None:
    """However much the downtime has room for: no page is written twice at once."""
    with guest_memory(PAGES) as source:
        outcome = migrate(source, ByRounds(300, 50, 7), downtime_limit=2000)
    assert [r.stopped for r in outcome.rounds] == [False] * 4 + [True]
    assert sum(r.sent.handled for r in outcome.rounds) == PAGES + 300 + 50 + 7


class Clocked(DirtySource):
    """Notes how long the guest runs at once."""

    description = "a guest with a stop watch"

    def __init__(self) -> None:
        self.longest = 0.0

    def run(self, _memory: GuestMemory, seconds: float) -> Sequence[int]:
        self.longest = max(self.longest, seconds)
        return ()


def test_a_socket_that_takes_much_at_once_does_not_make_steps_long() -> None:
    """The first pages cost no time on a slow link without a limit."""
    guest, chosen = Clocked(), Parameters(max_bandwidth=0, downtime_limit=0)
    with guest_memory(PAGES) as source, empty_memory(source) as destination:
        clock, window = Clock(Link(100e6)), Window(chosen)
        with closing(PlainEngine(clock, fixed_costs(), source)) as engine:
            Migration(source, destination, guest, engine, clock, window, chosen).run()
    assert 0 < guest.longest < 0.05


def test_before_8_2_only_what_carries_pages_is_counted() -> None:
    def ram(version: tuple[int, int]) -> RamStatistics:
        with guest_memory(PAGES) as source:
            return migrate(
                source, downtime_limit=50, qemu_version=version
            ).statistics.ram

    old, new = ram((7, 2)), ram((8, 2))
    assert old.downtime_bytes == new.downtime_bytes > 0
    assert old.precopy_bytes == new.precopy_bytes
    assert old.transferred == old.precopy_bytes + old.downtime_bytes < new.transferred


def test_pages_that_are_not_sent_do_not_count_for_rates() -> None:
    """Such as XBZRLE finds unchanged."""

    class Skipping(PlainEngine):
        name = "xbzrle"

        def send(
            self,
            source: GuestMemory,
            destination: GuestMemory,
            pages: Sequence[int],
            sync_count: int,
            last: bool,
        ) -> Sent:
            sent = super().send(source, destination, pages, sync_count, last)
            half = len(pages) // 2
            sent.add(Sent(skipped=half, normal=-half, xbzrle_cache_miss=len(pages)))
            return sent

    chosen = Parameters(max_bandwidth=LIMIT // 10, downtime_limit=0)
    with guest_memory(1024) as source, empty_memory(source) as destination:
        clock, window = Clock(Link(10e9)), Window(chosen)
        with closing(Skipping(clock, fixed_costs(), source)) as engine:
            outcome = Migration(
                source, destination, ByRounds(9), engine, clock, window, chosen
            ).run()
    cache = outcome.statistics.xbzrle_cache
    assert cache is not None
    assert cache.cache_miss_rate == pytest.approx(2, rel=0.1)
