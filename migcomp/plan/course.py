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
left.  The migration thread is ahead of it by what its threads and the kernel hold;
sections, windows and syncs go by its time, and the guest's stop begins by it.
``Pipe`` has both.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass

from migcomp.plan.flows import Flows, PageFlow, mixture
from migcomp.plan.guest import Writes
from migcomp.plan.pipe import Pipe, Sum
from migcomp.precopy.convergence import Convergence
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.rates import PERIOD
from migcomp.precopy.window import WINDOW, Window

_SECTION = 0.05  # seconds: ``MAX_WAIT`` of migration/ram.c
_STEP = 0.01  # seconds, after which the time is looked at near a section's end
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
class Case:
    """What is migrated, and how.  ``link`` tells latency and buffer, and what its rate
    may be; what it is, the answers tell."""

    pages: int
    page_size: int
    flows: Flows
    writes: Writes | None
    link: Link
    parameters: Parameters


@dataclass(frozen=True)
class Send:
    """Bytes for the link, and seconds of CPU time; it takes ``at_least`` seconds with
    the link that is known: for that, for the threads' work, and for the bandwidth
    limit."""

    wire_bytes: float
    cpu_seconds: float
    at_least: float

    def seconds(self, bytes_per_second: float) -> float:
        """That it takes over a link of which this migration has so much."""
        return max(self.wire_bytes / bytes_per_second, self.at_least)


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
    """Pages that are to be sent, in the order of addresses, and those that the guest
    has written meanwhile.

    ``pending``: all of which QEMU knows; ``flow``: the mean page of later rounds.
    ``_ahead``: those up to the end of memory, at which a search for dirty pages begins
    anew; ``_behind``: those that are found then.
    """

    def __init__(self, pages: int, flows: Flows, writes: Writes | None) -> None:
        self._flows = flows
        self._writes = writes
        self._first = deque((share * pages, flow) for share, flow in flows.memory)
        self._ahead = 0.0  # of later rounds
        self._behind = 0.0
        self._place = 0.0  # in memory: 0 at its beginning, 1 at its end
        self.flow = flows.changed  # of later rounds
        self._round = float(pages)  # pending after the last sync
        self._seconds = 0.0  # that the guest has run since then
        self._log: float | None = None  # seconds whose writes are pending; None: all
        self._before = 0.0  # seconds whose writes were sent before those
        self._cached = 0.0  # the share of pending of which the other side has a cache
        self.pending = float(pages)

    @property
    def alike(self) -> tuple[float, PageFlow]:
        """The pages that come next, and their mean."""
        return self._first[0] if self._first else (self._ahead, self.flow)

    def take(self, pages: float) -> bool:
        """Of those that are alike; True at the end of memory."""
        self.pending -= pages
        if self._first:
            left, flow = self._first.popleft()
            if left - pages > 1e-6:
                self._first.appendleft((left - pages, flow))
        else:
            self._place += (1 - self._place) * pages / self._ahead
            self._ahead -= pages
        if self._first or self._ahead > 1e-6:
            return False
        self._ahead, self._behind, self._place = self._behind, 0.0, 0.0
        self.pending = self._ahead
        return True

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
        ahead = 0.0 if self._first else fresh * (1 - self._place)
        self._ahead += ahead
        self._behind += fresh - ahead
        self.pending = self._round = self.pending + fresh
        self._seconds = 0.0
        return fresh

    def _note(self, fresh: float, left: float, seconds: float, writes: Writes) -> None:
        """What kind of pages are dirty now."""
        hit, after = self._flows.hit, self.pending + fresh
        if self._log is None:
            self._log = seconds
            return
        self._log = seconds + left * self._log
        if hit and after:
            self._before += seconds
            known = fresh * writes.again(seconds, self._before) if self._before else 0.0
            self._cached = (known + self._cached * self.pending) / after
            self.flow = mixture(
                [(self._cached, hit), (1 - self._cached, self._flows.changed)]
            )


class Course:
    """Of one ``Case``."""

    def __init__(self, case: Case) -> None:
        self._page_size = case.page_size
        self._latency = case.link.latency
        self._waits = case.flows.waits
        self._limited = case.parameters.max_bandwidth > 0
        throttled = case.parameters.auto_converge or case.parameters.dirty_limit
        self._rounds_differ = throttled or case.flows.hit is not None
        self._dirty = _Dirty(case.pages, case.flows, case.writes)
        self._window = Window(case.parameters)
        self._convergence = Convergence(case.parameters, case.page_size)
        self._pipe = Pipe(case.link, case.flows.channels)
        self._driven = 0.0  # seconds: the sum of the answers
        self._sent = Sum()  # what the driver was not told yet
        self._total = Sum()
        self._syncs = 0
        self._round_start = self._round_pages = 0.0  # dirty, when it began
        self._steady: tuple[float, float] | None = None  # a round's pages and seconds
        self._period_start = 0.0
        self._period_fresh = self._period_bytes = 0.0

    def run(self) -> Generator[Send, float, Prediction]:
        self._sync()
        converges = True
        while converges:
            if self._window.left and self._little_is_left():
                break
            began, steady = self._pipe.now, self._steady
            if steady:
                self._rounds(*steady)
            else:
                self._section()
            yield from self._drive(began)
            if steady:
                self._steady, self._round_start = None, self._pipe.now
            else:
                passed = self._pipe.now - began
                self._dirty.ran(passed * self._convergence.guest_share)
            self._window.update(self._now_ns, 0, 0, 0)
            converges = not self._convergence.reason(self._now_ns, ())
        stopped = self._pipe.now
        self._sync()
        while self._dirty.pending:
            self._put(self._dirty.alike[0])
        self._count(self._pipe.finish())
        yield from self._drive(stopped)
        answers = 2 * self._latency
        return Prediction(
            converges,
            self._driven + answers,
            self._driven + answers - stopped,
            self._total.wire,
            self._total.cpu_ns / _NS,
            self._syncs,
            self._convergence.throttle_percentage or 0,
        )

    @property
    def _now_ns(self) -> int:
        return round(self._pipe.now * _NS)

    # --- What QEMU decides ------------------------------------------------------

    def _little_is_left(self) -> bool:
        dirty = self._dirty
        if dirty.pending * self._page_size < self._window.threshold:
            self._sync()
        below = dirty.pending * self._page_size < self._window.threshold
        return below or not dirty.pending

    def _sync(self) -> None:
        fresh = self._dirty.sync()
        self._syncs += 1
        self._period_fresh += fresh
        period = None
        now = self._pipe.now
        if now > self._period_start + PERIOD / _NS:
            period = round(self._period_fresh), round(self._period_bytes)
            self._period_start = now
            self._period_fresh = self._period_bytes = 0.0
        self._convergence.sync(period, round(self._dirty.pending))
        self._compare_rounds(fresh)

    def _compare_rounds(self, fresh: float) -> None:
        dirty, before, start = self._dirty.pending, self._round_pages, self._round_start
        self._round_pages, self._round_start = dirty, self._pipe.now
        self._steady = None
        if self._rounds_differ or not self._convergence.patience:
            return
        if abs(dirty - before) < _ALIKE * before:
            self._steady = before - (dirty - fresh), self._pipe.now - start

    def _rounds(self, pages: float, seconds: float) -> None:
        """Many, after each of which as many pages are dirty as before it."""
        number, start = min(_ROUNDS, self._convergence.patience), self._pipe.now
        self._count(self._pipe.put(self._dirty.flow, number * pages))
        if self._limited:
            self._pipe.wait_until(start + number * seconds)
        self._syncs += number
        self._convergence.in_vain(number)

    def _section(self) -> None:
        """Or many, while that changes nothing.  The migration thread sleeps behind it
        when its window's bytes are used up."""
        dirty, pipe, start = self._dirty, self._pipe, self._pipe.now
        windows, pages = self._in_whole_windows()
        if windows:
            self._put(pages)
            if self._limited:
                pipe.wait_until(start + windows * _WINDOW)
            return
        end = start + _SECTION
        while dirty.pending and self._window.left and pipe.now <= end:
            self._put(self._in_a_step(max(end - pipe.now - _STEP, _STEP)))
        if self._waits:
            self._count(pipe.finish())
        if not self._window.left:
            pipe.wait_until(self._window.end / _NS)

    def _in_whole_windows(self) -> tuple[int, float]:
        """How many windows can be sent at once, and their pages."""
        window, (alike, flow) = self._window, self._dirty.alike
        if (
            not window.threshold
            or not window.left
            or self._now_ns != window.end - WINDOW
        ):
            return 0, 0.0
        each = _WINDOW / self._pipe.page_seconds(flow)
        if self._limited:
            allowed = window.left / flow.counted
            if flow.packet:
                # The last packet exceeds it: wholly, or on average by half.
                whole = flow.counted >= self._page_size
                packets = allowed * flow.packet
                allowed = (math.ceil(packets) if whole else packets + 0.5) / flow.packet
            each = min(each, allowed)
        spare = min(alike, self._dirty.pending - window.threshold / self._page_size)
        windows = int(spare / each - _MARGIN)
        return (windows, windows * each) if windows > 1 else (0, 0.0)

    def _in_a_step(self, seconds: float) -> float:
        """Pages, of which the last alone, or the last packet, can exceed the window's
        bytes."""
        alike, flow = self._dirty.alike
        pages = seconds / self._pipe.page_seconds(flow)
        if self._limited:
            pages = min(pages, self._window.left / flow.counted)
        if flow.packet:
            pages = (math.floor(pages * flow.packet) + 1) / flow.packet
            pages -= self._pipe.filled / flow.packet
        else:
            pages = math.floor(pages) + 1
        return min(pages, alike)

    # --- What it takes ----------------------------------------------------------

    def _put(self, pages: float) -> None:
        _, flow = self._dirty.alike
        ends = self._dirty.take(pages)
        self._count(self._pipe.put(flow, pages))
        if ends:
            self._count(self._pipe.finish())

    def _count(self, done: Sum) -> None:
        self._window.spend(round(done.counted))
        self._period_bytes += done.counted
        self._total.add(done)
        self._sent.add(done)

    def _drive(self, began: float) -> Generator[Send, float, None]:
        """Until all has left that was put into the pipe since ``began``."""
        pipe, sent = self._pipe, self._sent
        if sent.wire:
            expected = pipe.empty_at - self._driven
            at_least = expected
            if pipe.slower > 1:
                slept = pipe.now - self._driven if pipe.now >= pipe.empty_at else 0.0
                at_least = max(slept, sent.alone)
            took = yield Send(sent.wire, sent.cpu_ns / _NS, at_least)
            if math.isclose(took, at_least):
                took = at_least
            self._driven += took
            self._sent = Sum()
            if took > at_least:
                pipe.slower = max(took / sent.alone, 1.0)
            elif at_least == sent.alone:
                pipe.slower = 1.0
            pipe.delay(took - expected, began)
