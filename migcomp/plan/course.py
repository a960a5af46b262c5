# SPDX-License-Identifier: LGPL-2.1-or-later
"""The course of one migration, as a flow of average pages.

It follows the rules that ``migcomp.precopy.migration`` follows page by page, with the
same ``Window`` and ``Convergence``: sections of 50 ms, windows of 100 ms with their
bytes, a sync before a section when what is dirty is below the threshold, the last
round with the guest stopped.  How many pages a guest dirties in some time is what its
model expects (``Writes``).

**Protocol.**  ``Course.run`` is a generator, as it does not know how long anything
takes: links and CPUs may be shared.  It yields a ``Send``; whoever drives it answers
with the seconds that this took, ``Send.at_least`` or more, and the time that passes
for the migration is the sum of the answers.  On a link that it has for itself the
answer is ``Send.seconds(rate)``.  While nothing can happen many windows are one
``Send``, and of a migration that does not converge many rounds; near the end of a
round each is about a section.  It returns the ``Prediction``::

    migration = Course(...).run()
    try:
        send = next(migration)
        while True:
            send = migration.send(send.seconds(rate))
    except StopIteration as end:
        prediction = end.value

**Two clocks.**  The driver's time is the link's: when all that was sent so far has
left.  The migration thread is ahead of it by what the kernel holds, ``Link.buffer`` at
most; sections, windows and syncs go by its time, and the guest's stop begins by it.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

from migcomp.plan.flows import Flows, PageFlow, mixture
from migcomp.plan.guest import Writes
from migcomp.precopy.convergence import Convergence
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.rates import PERIOD
from migcomp.precopy.window import WINDOW, Window

_SECTION = 0.05  # seconds: ``MAX_WAIT`` of migration/ram.c
_WINDOW = WINDOW / 1e9
_NS = 1e9
#: Windows before what is dirty may fall below the threshold, from which on the course
#: is followed section by section.
_MARGIN = 2
#: Rounds that are one ``Send`` after one that left as many pages dirty, to so much of
#: them, as the one before.
_ROUNDS = 10
_ALIKE = 0.01


@dataclass(frozen=True)
class Send:
    """``pages`` of a flow are to be sent, which takes ``at_least`` seconds however
    quick link and CPUs are: the bandwidth limit allows no more."""

    flow: PageFlow
    pages: float
    at_least: float

    def seconds(self, bytes_per_second: float) -> float:
        """That it takes over a link of which this migration has so much."""
        return max(self.pages * self.flow.seconds(bytes_per_second), self.at_least)


@dataclass(frozen=True)
class Prediction:
    """``seconds`` and ``downtime`` (seconds) are of a migration that does not
    converge those until that is clear, and with the guest stopped then.
    ``rounds``: syncs, the last one included."""

    converges: bool
    seconds: float
    downtime: float
    wire_bytes: float
    cpu_seconds: float
    rounds: int
    throttle_percentage: int = 0


class _Dirty:
    """Pages that are to be sent, and those that the guest has written meanwhile.

    ``pending``: of which QEMU knows; ``flow``: of their mean page.
    """

    def __init__(
        self, pages: int, zero_share: float, flows: Flows, writes: Writes | None
    ) -> None:
        self._flows = flows
        self._writes = writes
        self._round = float(pages)  # pending after the last sync
        self._seconds = 0.0  # that the guest has run since then
        self._log: float | None = None  # seconds whose writes are pending; None: all
        self._before = 0.0  # seconds whose writes were sent before those
        self._cached = 0.0  # the share of pending of which the other side has a cache
        self.pending = float(pages)
        self.flow = mixture([(zero_share, flows.zero), (1 - zero_share, flows.content)])

    def ran(self, seconds: float) -> None:
        self._seconds += seconds

    def sync(self) -> float:
        """Pages that have become dirty."""
        writes, seconds = self._writes, self._seconds
        if writes is None or not seconds:
            return 0.0
        left = self.pending / self._round if self._round else 0.0
        written = writes.pages(seconds)
        again = 1.0 if self._log is None else writes.again(seconds, self._log)
        fresh = written * (1 - left * again)
        self._note(fresh, left, seconds, writes)
        self.pending = self._round = self.pending + fresh
        self._seconds = 0.0
        return fresh

    def _note(self, fresh: float, left: float, seconds: float, writes: Writes) -> None:
        """What kind of pages are dirty now."""
        flows, after = self._flows, self.pending + fresh
        if not after:
            return
        if self._log is None:
            kinds = [(self.pending / after, self.flow), (fresh / after, flows.changed)]
            self._log = seconds
            self.flow = mixture(kinds)
            return
        self._log = seconds + left * self._log
        self.flow = flows.changed
        if flows.hit:
            self._before += seconds
            hit = fresh * writes.again(seconds, self._before) if self._before else 0.0
            self._cached = (hit + self._cached * self.pending) / after
            self.flow = mixture(
                [(self._cached, flows.hit), (1 - self._cached, flows.changed)]
            )


class Course:
    """Of a memory of so many ``pages``.  ``link`` tells latency and buffer, and what
    its rate may be; what it is, the answers tell."""

    def __init__(
        self,
        pages: int,
        zero_share: float,
        page_size: int,
        flows: Flows,
        writes: Writes | None,
        link: Link,
        parameters: Parameters,
    ) -> None:
        self._page_size = page_size
        self._flows = flows
        self._link = link
        self._limited = parameters.max_bandwidth > 0
        self._throttled = parameters.auto_converge or parameters.dirty_limit
        self._dirty = _Dirty(pages, zero_share, flows, writes)
        self._window = Window(parameters)
        self._convergence = Convergence(parameters, page_size)
        # Seconds: the migration thread's, and the sum of the answers.
        self._now = self._driven = 0.0
        self._slower = 1.0  # than a link that it has for itself
        self._wire = self._cpu_ns = self._pages = 0.0
        self._syncs = 0
        self._after_sync = 0.0  # pages that were pending then
        self._round = 0.0, 0.0  # the pages sent, and the time, when it began
        self._steady: tuple[float, float] | None = None  # of each round, if all alike
        self._period_start = 0.0
        self._period_fresh = self._period_bytes = 0.0

    def run(self) -> Generator[Send, float, Prediction]:
        self._sync()
        converges = True
        while converges:
            if self._window.left and self._little_is_left():
                break
            if self._steady:
                yield from self._rounds(*self._steady)
            else:
                yield from self._section()
            self._update_window()
            converges = not self._convergence.reason(self._now_ns, ())
        stopped = self._now
        self._sync()
        yield from self._send(self._dirty.pending, 0.0)
        answers = 2 * self._link.latency
        return Prediction(
            converges,
            self._driven + answers,
            self._driven + answers - stopped,
            self._wire,
            self._cpu_ns / _NS,
            self._syncs,
            self._convergence.throttle_percentage or 0,
        )

    @property
    def _byte(self) -> float:
        """Seconds that the link needs for one."""
        return self._slower / self._link.bytes_per_second

    @property
    def _now_ns(self) -> int:
        return round(self._now * _NS)

    # --- What QEMU decides ------------------------------------------------------

    def _little_is_left(self) -> bool:
        dirty = self._dirty
        if dirty.pending * self._page_size < self._window.threshold:
            self._sync()
        below = dirty.pending * self._page_size < self._window.threshold
        return below or not dirty.pending

    def _section(self) -> Generator[Send, float, None]:
        """Or many, while that changes nothing."""
        dirty, window = self._dirty, self._window
        flow = dirty.flow
        page = flow.seconds(self._link.bytes_per_second) * self._slower
        each, until = _WINDOW / page, 0.0
        if self._limited:
            each = self._allowed
        spare = dirty.pending - window.threshold / self._page_size - _MARGIN * each
        windows = int(spare / each)
        fresh = self._now_ns == window.end - WINDOW
        if windows > 1 and fresh and window.threshold:
            if self._limited:
                until = self._now + windows * _WINDOW
            yield from self._send(windows * each, until)
            return
        pages = min(self._in_a_section(page), dirty.pending)
        if self._limited:
            pages = min(pages, self._allowed)
            if pages * flow.counted >= window.left:
                until = window.end / _NS
        yield from self._send(pages, until)

    def _rounds(self, pages: float, seconds: float) -> Generator[Send, float, None]:
        """As many as are alike: after each, as many pages are dirty as before it."""
        number = min(_ROUNDS, self._convergence.patience)
        until = self._now + number * seconds if self._limited else 0.0
        yield from self._transfer(number * pages, until, 0.0)
        self._syncs += number
        self._convergence.in_vain(number)
        self._steady = None
        self._round = self._pages, self._now

    @property
    def _allowed(self) -> float:
        """Pages that the rest of a window's bytes are, and what exceeds them."""
        flow, unit = self._dirty.flow, self._flows.unit
        pages = self._window.left / flow.counted
        if flow.counted >= self._page_size:
            return math.ceil(pages / unit) * unit
        return pages + unit / 2

    def _in_a_section(self, page: float) -> float:
        """Pages; ``page``: seconds that one takes on the link."""
        flow = self._dirty.flow
        room = self._link.buffer * self._byte - (self._driven - self._now)
        on_link = (_SECTION + max(room, 0.0)) / page
        return max(min(on_link, _SECTION / max(flow.busy_seconds, 1e-12)), 1.0)

    def _update_window(self) -> None:
        if not self._window.left:
            self._now = max(self._now, self._window.end / _NS)
        self._window.update(self._now_ns, round(self._pages), 0, 0)

    def _sync(self) -> None:
        fresh = self._dirty.sync()
        self._syncs += 1
        self._period_fresh += fresh
        period = None
        if self._now > self._period_start + PERIOD / _NS:
            period = round(self._period_fresh), round(self._period_bytes)
            self._period_start = self._now
            self._period_fresh = self._period_bytes = 0.0
        self._convergence.sync(period, round(self._dirty.pending))
        self._compare_rounds(self._dirty.pending)

    def _compare_rounds(self, pending: float) -> None:
        pages, began = self._round
        before, self._after_sync = self._after_sync, pending
        self._round = self._pages, self._now
        alike = abs(pending - before) < _ALIKE * before
        self._steady = None
        changing = self._throttled or self._flows.hit
        if alike and self._convergence.patience and not changing:
            self._steady = self._pages - pages, self._now - began

    # --- What it takes ----------------------------------------------------------

    def _send(self, pages: float, until: float) -> Generator[Send, float, None]:
        """``until``: by the migration thread's clock it goes on at least so long."""
        if pages <= 0:
            return
        dirty, before = self._dirty, self._now
        last = 0.0
        if pages >= dirty.pending:
            # One thread has the last unit.
            unit = min(self._flows.unit, pages) if self._flows.unit > 1 else 1
            last = unit * dirty.flow.thread_ns / _NS
        yield from self._transfer(pages, until, last)
        dirty.pending = max(dirty.pending - pages, 0.0)
        if dirty.pending < 0.5:
            dirty.pending = 0.0
        dirty.ran((self._now - before) * self._convergence.guest_share)

    def _transfer(
        self, pages: float, until: float, least: float
    ) -> Generator[Send, float, None]:
        """``least`` seconds by the driver's clock."""
        flow = self._dirty.flow
        at_least = max(until - self._driven, least)
        took = yield Send(flow, pages, at_least)
        self._driven += took
        alone = pages * flow.seconds(self._link.bytes_per_second)
        if took > at_least:
            self._slower = took / alone
        ahead = 0.0
        if flow.wire * self._byte > flow.busy_seconds:
            ahead = self._link.buffer * self._byte
        busy_until = self._now + pages * flow.busy_seconds
        self._now = max(busy_until, until, self._driven - ahead)
        self._now = min(self._now, self._driven)
        self._wire += pages * flow.wire
        self._cpu_ns += pages * flow.cpu_ns
        counted = pages * flow.counted
        self._window.spend(round(counted))
        self._period_bytes += counted
        self._pages += pages
