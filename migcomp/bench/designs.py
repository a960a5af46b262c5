# SPDX-License-Identifier: LGPL-2.1-or-later
"""Designs of work queues that the benchmark drives.

Those in C run without the GIL, timed loop and all (``migcomp/_core/bench.h``);
of those in Python the loop here is the same, and its cost is theirs.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from migcomp._core import BenchJob, BenchTally, BenchWorker
from migcomp.bench.queue_results import Sample

IDLE_NS = 50_000_000

#: The bare loop: no queue, the submitter does the work itself.
LOOP = "loop"

Result = tuple[int, int]  # index of a request, its digest


def _patience(job: BenchJob, threads: int) -> float:
    """Seconds to wait for a result before it is lost."""
    return min(job.patience_ns(threads) / 1e9, threading.TIMEOUT_MAX)


class Design(Protocol):
    """``round`` takes all of the job's requests through a new queue.

    Raises OSError or RuntimeError when threads cannot be made.
    """

    @property
    def name(self) -> str: ...
    def round(self, job: BenchJob, threads: int, requests: int) -> Sample: ...


class NativeDesign:
    """One of those in C."""

    def __init__(self, name: str) -> None:
        self.name = name

    def round(self, job: BenchJob, threads: int, requests: int) -> Sample:
        return Sample(**job.round(self.name, threads, requests, IDLE_NS))


class ExecutorDesign:
    """``concurrent.futures.ThreadPoolExecutor``, a task a request."""

    name = "executor"

    def round(self, job: BenchJob, threads: int, requests: int) -> Sample:
        workers = [BenchWorker(job) for _ in range(threads)]
        own = threading.local()

        def start() -> None:
            own.worker = workers.pop()

        def serve(index: int) -> Result:
            return index, own.worker.serve(index)

        pending: deque[Future[Result]] = deque()
        patience = _patience(job, threads)
        executor = ThreadPoolExecutor(threads, initializer=start)
        try:
            return timed_round(
                job,
                threads * requests,
                lambda index: pending.append(executor.submit(serve, index)),
                lambda: pending[0].done(),
                lambda: pending.popleft().result(patience),
            )
        finally:
            executor.shutdown(cancel_futures=True)


class SimpleQueueDesign:
    """Threads between two of ``queue.SimpleQueue``."""

    name = "simplequeue"

    def round(self, job: BenchJob, threads: int, requests: int) -> Sample:
        work: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        results: queue.SimpleQueue[Result] = queue.SimpleQueue()

        def run(worker: BenchWorker) -> None:
            while (index := work.get()) is not None:
                results.put((index, worker.serve(index)))

        workers = [
            threading.Thread(target=run, args=(BenchWorker(job),))
            for _ in range(threads)
        ]
        started: list[threading.Thread] = []
        patience = _patience(job, threads)
        try:
            for thread in workers:
                thread.start()
                started.append(thread)
            return timed_round(
                job,
                threads * requests,
                work.put,
                lambda: not results.empty(),
                lambda: results.get(timeout=patience),
            )
        finally:
            with contextlib.suppress(queue.Empty):
                while True:
                    work.get_nowait()
            for _ in started:
                work.put(None)
            for thread in started:
                thread.join()


def timed_round(
    job: BenchJob,
    room: int,
    submit: Callable[[int], object],
    ready: Callable[[], bool],
    collect: Callable[[], Result],
) -> Sample:
    """What ``bench_round.c`` does, for queues that hold ``room`` requests.

    ``ready`` tells whether ``collect`` would give a result without waiting;
    ``collect`` raises TimeoutError or ``queue.Empty`` when none comes.
    """
    warm_up = BenchTally(job, job.requests // 10)
    _pass(room, job.requests // 10, submit, ready, collect, warm_up)
    tally = BenchTally(job, job.requests)
    cpu, own = time.process_time_ns(), time.thread_time_ns()
    start = time.perf_counter_ns()
    busy = _pass(room, job.requests, submit, ready, collect, tally)
    wall = time.perf_counter_ns() - start
    own, cpu = time.thread_time_ns() - own, time.process_time_ns() - cpu

    idle_cpu, idle = time.process_time_ns(), time.perf_counter_ns()
    time.sleep(IDLE_NS / 1e9)
    idle = time.perf_counter_ns() - idle
    idle_cpu = time.process_time_ns() - idle_cpu
    return Sample(
        wall_ns=wall,
        cpu_ns=cpu,
        submitter_cpu_ns=own,
        idle_ns=idle,
        idle_cpu_ns=idle_cpu,
        busy=busy,
        lost=warm_up.lost + tally.lost,
        repeated=warm_up.repeated + tally.repeated,
        wrong=warm_up.wrong + tally.wrong,
    )


def _pass(
    room: int,
    requests: int,
    submit: Callable[[int], object],
    ready: Callable[[], bool],
    collect: Callable[[], Result],
    tally: BenchTally,
) -> int:
    """Takes the first ``requests`` through the queue; how often it was full of
    requests that were still being handled."""
    busy = pending = index = 0
    try:
        while index < requests:
            if pending < room:
                submit(index)
                index += 1
                pending += 1
                continue
            busy += not ready()
            tally.add(*collect())
            pending -= 1
        for _ in range(pending):
            tally.add(*collect())
    except (TimeoutError, queue.Empty):
        pass  # the tally knows what did not come
    return busy


#: Those that have one request to a thread, whatever they are asked for.
ONE_REQUEST = frozenset({"thread-locks"})

#: The first is ours; those after it are what one would use instead.
DESIGNS: tuple[Design, ...] = (
    NativeDesign("workqueue"),
    NativeDesign("thread-locks"),
    NativeDesign("one-lock"),
    ExecutorDesign(),
    SimpleQueueDesign(),
)
