# SPDX-License-Identifier: LGPL-2.1-or-later
"""The dirty bitmap, the sizes around pages, and the rates of a period."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migcomp.precopy import convergence as convergence_module
from migcomp.precopy import framing
from migcomp.precopy.clock import MS
from migcomp.precopy.convergence import Convergence
from migcomp.precopy.dirty_bitmap import DirtyBitmap
from migcomp.precopy.engine import Sent
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.rates import Rates
from migcomp.precopy.throttle import Unthrottled
from migcomp.results import Block
from tests.conftest import PAGE


def test_all_is_dirty_at_first() -> None:
    bitmap = DirtyBitmap(5)
    assert bitmap.pending == 5
    assert bitmap.take(3) == ([0, 1, 2], False)
    assert bitmap.take(3) == ([3, 4], True)
    assert bitmap.take(3) == ([], True)
    assert bitmap.pending == 0


def test_writes_count_from_the_next_sync_on() -> None:
    bitmap = DirtyBitmap(4)
    bitmap.take(4)
    bitmap.note_writes([1, 3])
    assert bitmap.pending == 0
    assert bitmap.sync() == 2
    assert bitmap.take(4) == ([], True)
    assert bitmap.take(4) == ([1, 3], True)
    assert bitmap.sync() == 0


def test_a_page_written_before_it_is_sent_is_sent_again() -> None:
    bitmap = DirtyBitmap(2)
    bitmap.note_writes([0])
    bitmap.take(3)
    assert bitmap.sync() == 1
    assert bitmap.take(2)[0] == [0]


def test_what_is_dirty_already_is_not_counted_again() -> None:
    bitmap = DirtyBitmap(2)
    bitmap.note_writes([0])
    assert bitmap.sync() == 0
    assert bitmap.pending == 2


def test_the_search_goes_on_where_it_was() -> None:
    bitmap = DirtyBitmap(6)
    bitmap.take(4)
    bitmap.note_writes([0, 1])
    bitmap.sync()
    assert bitmap.take(6) == ([4, 5], True)
    assert bitmap.take(6) == ([0, 1], True)


@given(st.lists(st.tuples(st.sets(st.integers(0, 63)), st.integers(1, 70))))
def test_no_page_is_lost(steps: list[tuple[set[int], int]]) -> None:
    bitmap, dirty = DirtyBitmap(64), set(range(64))
    for written, most in steps:
        bitmap.note_writes(written)
        assert bitmap.sync() == len(written - dirty)
        dirty |= written
        assert bitmap.pending == len(dirty)
        taken, _ = bitmap.take(most)
        assert taken == sorted(taken)
        assert set(taken) <= dirty
        dirty -= set(taken)


# --- Framing: docs/qemu-streams.md ------------------------------------------------


def test_a_section_starts_with_its_blocks() -> None:
    blocks = [Block("pc.ram", 4096, 0), Block("vga.vram", 4096, 0)]
    header, total, mark, footer = 5 + 1 + 3 + 4 + 4, 8, 8, 5
    named = (1 + 6 + 8) + (1 + 8 + 8)
    assert framing.start_section(blocks) == header + total + named + mark + footer


def test_a_packet_header_has_room_for_all_its_pages() -> None:
    assert framing.packet_pages(4096) == 128
    assert framing.packet_header(4096) == 1344
    assert framing.packet_pages(65536) == 8


def test_a_block_is_named_where_it_changes() -> None:
    names = framing.BlockNames([Block("a", 4 * PAGE, 0), Block("bcd", PAGE, 0)], PAGE)
    assert names.bytes_for([0, 1]) == 2
    assert names.bytes_for([2]) == 0
    assert names.bytes_for([3, 4]) == 4
    assert names.bytes_for([4]) == 0
    assert names.bytes_for([0, 4]) == 6
    assert names.change(0) == 2
    assert names.bytes_for([]) == 0


# --- Rates ----------------------------------------------------------------------


def test_rates_are_of_a_second_or_more() -> None:
    rates = Rates(PAGE)
    rates.sync(0, 0, 0, Sent())
    sent = Sent(compressed=100, compressed_size=100 * 1024, busy=10, main_bytes=500)
    rates.sync(1000 * MS, 50, 200, sent)
    assert rates.period is None
    assert rates.dirty_pages_rate == 0
    rates.sync(2000 * MS, 50, 400, sent)
    assert rates.period == (100, 500)
    assert rates.dirty_pages_rate == 50
    assert rates.compression_rate == 4
    assert rates.busy_rate == 10 / 400
    rates.sync(2500 * MS, 70, 400, sent)
    assert rates.period is None
    rates.sync(4000 * MS, 10, 400, sent)
    assert rates.period == (80, 0)
    assert rates.dirty_pages_rate == 40
    assert rates.compression_rate == 4  # no page since: it stays


def test_xbzrle_rates() -> None:
    rates = Rates(PAGE)
    rates.sync(0, 0, 0, Sent())
    sent = Sent(xbzrle_pages=10, xbzrle_bytes=1024, xbzrle_cache_miss=5)
    rates.sync(1001 * MS, 1, 50, sent)
    assert rates.encoding_rate == pytest.approx(40)
    assert rates.cache_miss_rate == pytest.approx(0.1)


# --- What does not converge ---------------------------------------------------------


@pytest.mark.parametrize(
    ("dirty", "given_up_after"),
    [
        (lambda _: 10_000, 31),
        # A trifle less in each round, and no less than one percent in thirty.
        (lambda number: 10_000 - 3 * number, 31),
        (lambda number: 10_000 - 4 * number, None),
        (lambda number: 10_000 + number, 31),
    ],
)
def test_thirty_rounds_in_vain_are_enough(
    dirty: Callable[[int], int], given_up_after: int | None
) -> None:
    convergence = Convergence(Parameters(), PAGE)
    rounds = 0
    while rounds < 1000 and not convergence.reason(0, ()):
        convergence.sync(None, dirty(rounds))
        rounds += 1
    assert rounds == (given_up_after or 1000)


def test_a_guest_that_is_let_go_and_slowed_down_again_is_not_slowed_down_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As dirty-limit does, which steps up and down around its quota for ever."""
    throttle = Unthrottled()
    monkeypatch.setattr(convergence_module, "throttle_for", lambda *_: throttle)
    convergence = Convergence(Parameters(), PAGE)
    rounds = 0
    for share in cycle((0.5, 0.75)):
        if rounds == 1000 or convergence.reason(0, ()):
            break
        throttle.guest_share = share
        convergence.sync(None, 10_000)
        rounds += 1
    assert rounds == 31
