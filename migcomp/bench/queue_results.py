# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a benchmark of work queues measured: plain data for reports.

Times are nanoseconds.  A *request* is what the queue hands over, a *series*
are the rounds of one design with one number of threads and of requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from migcomp.bench.pages import PAGE_SIZE
from migcomp.bench.statistics import Summary, summarize
from migcomp.results import CodecInfo, Machine

#: The handler whose requests cost nothing, so that no ideal can be told.
EMPTY = "empty"


@dataclass(frozen=True)
class Plan:
    """What is measured.  ``memory`` is bytes, in pages of 4 KiB; ``level`` and
    ``cost_ns`` are for handlers that have one, else 0; ``repeat`` rounds."""

    handler: str
    level: int
    cost_ns: int
    designs: tuple[str, ...]
    threads: tuple[int, ...]
    requests_per_thread: tuple[int, ...]
    request_pages: int
    memory: int
    repeat: int

    @property
    def pages(self) -> int:
        return self.memory // PAGE_SIZE

    @property
    def requests(self) -> int:
        return -(-self.pages // self.request_pages)


@dataclass(frozen=True)
class Sample:
    """One round of one design: all requests once, after a warm-up.

    ``cpu_ns`` is the whole process's, ``idle_cpu_ns`` what it burnt in the
    ``idle_ns`` after the last result.  ``busy`` counts submissions that found
    no room and no finished result, so that the submitter had to wait.  Wake-ups
    and spins (turns of polling) are None where a design does not count them.
    ``lost``, ``repeated`` and ``wrong`` requests must be 0.
    """

    wall_ns: int
    cpu_ns: int
    submitter_cpu_ns: int
    idle_ns: int
    idle_cpu_ns: int
    busy: int
    lost: int
    repeated: int
    wrong: int
    worker_wakeups: int | None = None
    submitter_wakeups: int | None = None
    worker_spins: int | None = None
    submitter_spins: int | None = None


@dataclass(frozen=True)
class Series:
    design: str
    threads: int
    requests_per_thread: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class QueueBench:
    """``loop`` are the rounds of the bare loop: one thread, no queue.

    ``bytes_out`` is what the pages compress to; 0 without a codec.
    """

    plan: Plan
    codec: CodecInfo | None
    bytes_out: int
    loop: tuple[Sample, ...]
    series: tuple[Series, ...]
    machine: Machine

    def ns_per_request(self, series: Series) -> Summary:
        return self._sum_up(series, lambda s: s.wall_ns / self.plan.requests)

    def loop_ns_per_request(self) -> Summary:
        return summarize([s.wall_ns / self.plan.requests for s in self.loop])

    def pages_per_second(self, series: Series) -> float:
        """By the median round."""
        return (
            self.plan.pages
            * 1e9
            / summarize([s.wall_ns for s in series.samples]).median
        )

    def bytes_per_second(self, series: Series) -> float:
        return self.pages_per_second(series) * PAGE_SIZE

    def efficiency(self, series: Series) -> Summary | None:
        """Ideal time over time, round by round.

        Ideal is the bare loop's time divided among the threads, or among the
        CPUs if those are fewer.  None for empty requests.
        """
        if self.plan.handler == EMPTY:
            return None
        share = min(series.threads, self.machine.usable_cpus)
        return summarize(
            [
                loop.wall_ns / share / sample.wall_ns
                for loop, sample in zip(self.loop, series.samples, strict=True)
            ]
        )

    def busy_rate(self, series: Series) -> float:
        """Submissions that had to wait for a result, over requests; 0 to 1."""
        return self._sum_up(series, lambda s: s.busy / self.plan.requests).median

    def cpu_ns_per_request(self, series: Series) -> float:
        return self._sum_up(series, lambda s: s.cpu_ns / self.plan.requests).median

    def idle_cpu(self, series: Series) -> float:
        """CPUs that an idle queue keeps busy, 0 to the number of threads."""
        return self._sum_up(series, lambda s: s.idle_cpu_ns / s.idle_ns).median

    def wakeups(self, series: Series) -> float | None:
        """Of workers and submitter, for each request; None if not counted."""
        return self._per_request(
            series, lambda s: _added(s.worker_wakeups, s.submitter_wakeups)
        )

    def spins(self, series: Series) -> float | None:
        return self._per_request(
            series, lambda s: _added(s.worker_spins, s.submitter_spins)
        )

    def _per_request(
        self, series: Series, count: Callable[[Sample], int | None]
    ) -> float | None:
        counts = [count(sample) for sample in series.samples]
        known = [c / self.plan.requests for c in counts if c is not None]
        return summarize(known).median if len(known) == len(counts) else None

    def _sum_up(self, series: Series, value: Callable[[Sample], float]) -> Summary:
        return summarize([value(sample) for sample in series.samples])


def _added(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
