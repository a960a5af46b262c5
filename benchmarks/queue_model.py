# SPDX-License-Identifier: LGPL-2.1-or-later
"""The workqueue in simulated time, on as many CPUs as one likes.

Submitter and workers take the steps that ``workqueue.c`` and ``worker.c`` take,
each at the cost that was measured (``queue_constants.c``), on CPUs that a fair
scheduler hands out.  Times are nanoseconds; everything follows from the
arguments and the seed.  ``docs/workqueue.md`` has the formulas.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

#: A thread runs so long before another that had less of the CPU may have it.
_SLICE = 100_000.0
#: SPIN_MOST_NS of the queue.
SPIN = 100_000.0


@dataclass(frozen=True)
class Costs:
    """What steps take; see ``queue_constants.c`` for each.

    ``other`` is what the submitter does with each request besides: filling it
    in and looking at the result.
    """

    submit: float
    collect: float
    dispatch: float
    line: float
    wake: float
    latency: float
    switch: float
    other: float = 0.0

    @property
    def submitter(self) -> float:
        """Its time for a request, when everybody is awake.

        In a batch the lines of both bitmaps are fetched once, and with many
        workers once for each request.
        """
        return self.submit + self.collect + 2 * self.line + self.other


@dataclass(frozen=True)
class Case:
    """``service`` are times in the handler, drawn from with equal chances."""

    workers: int
    requests_per_thread: int
    cpus: int
    service: Sequence[float]
    requests: int
    seed: int = 1


# --- The scheduler --------------------------------------------------------------

#: CPU time that a thread needs next, or None: wait until told to look again.
Steps = Iterator[float | None]


@dataclass(eq=False)
class Thread:
    steps: Steps
    left: float = 0.0  # of the step
    used: float = 0.0  # CPU time, for fairness
    state: str = "ready"  # running, polling, asleep
    told: bool = False  # to look again, while it ran
    turn: int = 0  # makes its earlier events void


@dataclass
class Scheduler:
    """``cpus`` CPUs; threads poll for ``spin`` before they sleep."""

    cpus: int
    costs: Costs
    spin: float
    now: float = 0.0
    _free: int = 0
    _ready: list[Thread] = field(default_factory=list)
    _events: list[tuple[float, int, Thread, int]] = field(default_factory=list)
    _count: int = 0

    def run(self, threads: Sequence[Thread], first: Thread) -> float:
        """Until ``first`` has ended; the time that it took."""
        self._free = self.cpus
        self._ready += threads
        self._hand_out()
        while first.state != "over":
            self.now, _, thread, turn = heapq.heappop(self._events)
            if thread.turn == turn:
                self._happen(thread)
                self._hand_out()
        return self.now

    def tell(self, thread: Thread) -> float:
        """Makes it look again; what that costs the teller."""
        if thread.state == "polling":
            thread.state = "running"
            self._after(self.costs.line, thread)
        elif thread.state == "asleep":
            thread.state = "waking"
            # Waking an idle CPU is dear, in a virtual machine above all.
            if self._free:
                self._after(self.costs.latency, thread)
                return self.costs.wake
            self._after(self.costs.switch, thread)
            return self.costs.switch
        else:
            thread.told = True
        return 0.0

    def _after(self, delay: float, thread: Thread) -> None:
        thread.turn += 1
        self._count += 1
        event = (self.now + delay, self._count, thread, thread.turn)
        heapq.heappush(self._events, event)

    def _happen(self, thread: Thread) -> None:
        if thread.state == "waking":
            thread.state = "ready"
            # Who slept does not get all that it missed.
            others = [t.used for t in self._ready]
            thread.used = max(thread.used, min(others, default=0.0) - _SLICE)
            self._ready.append(thread)
        elif thread.state == "polling":
            self._sleep(thread)
        else:
            self._go_on(thread)

    def _go_on(self, thread: Thread) -> None:
        """The thread has its CPU, and has done what it had said."""
        if thread.left <= 0:
            if not self._next_step(thread):
                return
        elif self._should_yield(thread):
            thread.state = "ready"
            thread.left += self.costs.switch
            self._ready.append(thread)
            self._free += 1
            return
        part = min(thread.left, _SLICE)
        thread.left -= part
        thread.used += part
        self._after(part, thread)

    def _should_yield(self, thread: Thread) -> bool:
        return any(other.used + _SLICE < thread.used for other in self._ready)

    def _next_step(self, thread: Thread) -> bool:
        """False when there is none to do now."""
        thread.told = False
        for step in thread.steps:
            if step is not None:
                thread.left = step
                return True
            if thread.told:
                thread.told = False
                continue
            if self.spin:
                thread.state = "polling"
                self._after(self.spin, thread)
            else:
                self._sleep(thread)
            return False
        thread.state = "over"
        self._free += 1
        return False

    def _sleep(self, thread: Thread) -> None:
        thread.state = "asleep"
        thread.turn += 1
        self._free += 1

    def _hand_out(self) -> None:
        while self._free and self._ready:
            thread = min(self._ready, key=lambda t: t.used)
            self._ready.remove(thread)
            self._free -= 1
            thread.state = "running"
            self._go_on(thread)


# --- The queue ------------------------------------------------------------------


@dataclass(eq=False)
class _Worker:
    free: int
    work: deque[int] = field(default_factory=deque)
    thread: Thread = field(init=False)


class _Queue:
    def __init__(self, case: Case, costs: Costs) -> None:
        spins = case.workers < case.cpus
        self._costs = costs
        self._case = case
        self._random = random.Random(case.seed)
        self._scheduler = Scheduler(case.cpus, costs, SPIN if spins else 0.0)
        self._workers = [_Worker(case.requests_per_thread) for _ in range(case.workers)]
        self._handled = bytearray(case.requests)
        self._submitted: deque[tuple[int, _Worker]] = deque()  # oldest first
        self._waits_for = -1  # the request that the submitter waits for
        for worker in self._workers:
            worker.thread = Thread(self._work(worker))
        self._submitter = Thread(self._submit())

    def run(self) -> float:
        threads = [self._submitter, *(w.thread for w in self._workers)]
        return self._scheduler.run(threads, self._submitter)

    def _submit(self) -> Steps:
        costs, turn = self._costs, 0
        for index in range(self._case.requests):
            if len(self._submitted) == len(self._workers) * (
                self._case.requests_per_thread
            ):
                yield from self._collect()
            while not self._workers[turn].free:
                turn = (turn + 1) % len(self._workers)
            worker = self._workers[turn]
            turn = (turn + 1) % len(self._workers)
            yield costs.submit + costs.line + costs.other
            worker.free -= 1
            worker.work.append(index)
            self._submitted.append((index, worker))
            yield self._scheduler.tell(worker.thread)
        while self._submitted:
            yield from self._collect()

    def _collect(self) -> Steps:
        index, worker = self._submitted.popleft()
        self._waits_for = index
        while not self._handled[index]:
            yield None
        self._waits_for = -1
        yield self._costs.collect + self._costs.line
        worker.free += 1

    def _work(self, worker: _Worker) -> Steps:
        costs = self._costs
        while True:
            while not worker.work:
                yield None
            index = worker.work.popleft()
            yield costs.dispatch + self._random.choice(self._case.service)
            self._handled[index] = 1
            if index == self._waits_for:
                yield self._scheduler.tell(self._submitter)


def simulate(case: Case, costs: Costs) -> float:
    """Nanoseconds per request of a whole run."""
    return _Queue(case, costs).run() / case.requests


# --- The formulas ---------------------------------------------------------------


def bound(case: Case, costs: Costs) -> float:
    """The least nanoseconds per request that any schedule could reach."""
    mean = sum(case.service) / len(case.service) + costs.dispatch
    return max(
        costs.submitter,
        mean / case.workers,
        (mean + costs.submitter) / case.cpus,
    )


def saturation(service: float, costs: Costs) -> float:
    """Workers from which on one submitter is the limit."""
    return (service + costs.dispatch) / costs.submitter


def sleepless(service: float, costs: Costs) -> float:
    """Workers up to which the submitter can wake all before one sleeps again.

    Beyond, a queue whose workers have once fallen asleep may stay in a state
    where the submitter does little but wake them.
    """
    return (service + costs.dispatch + SPIN) / (costs.submitter + costs.wake)
