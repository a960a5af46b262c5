# SPDX-License-Identifier: LGPL-2.1-or-later
"""The benchmark of work queues counts rightly and believes nobody; no test here
looks at a time."""

from __future__ import annotations

import errno
import os
import queue
import signal
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from migcomp import _core
from migcomp.bench import designs, pages
from migcomp.bench.designs import DESIGNS, LOOP, NativeDesign, timed_round
from migcomp.bench.pages import PAGE_SIZE, guest_pages
from migcomp.bench.queue import CODECS, HANDLERS, measure, open_handler
from migcomp.bench.queue_results import Plan, Sample
from migcomp.errors import CodecUnavailable, QueueFault, WorkerError

PLAN = Plan(
    handler="empty",
    level=0,
    cost_ns=0,
    designs=("workqueue",),
    threads=(1, 2),
    requests_per_thread=(1, 4),
    request_pages=1,
    memory=500 * PAGE_SIZE,
    repeat=2,
)


@pytest.fixture(autouse=True)
def no_idling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(designs, "IDLE_NS", 1000)


# --- The job and its check -------------------------------------------------------


def test_memory_is_pages_that_differ_and_compress_as_a_guests_do() -> None:
    memory = guest_pages(3000 * PAGE_SIZE)
    cut = [memory[i : i + PAGE_SIZE] for i in range(0, len(memory), PAGE_SIZE)]
    assert len(set(cut)) == 3000
    assert all(any(page[8:]) for page in cut)
    rate = len(memory) / sum(len(zlib.compress(page, 1)) for page in cut)
    assert 1.5 < rate < 6


def test_memory_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_available", lambda: 1 << 20)
    with pytest.raises(ValueError, match=r"2\.00 MiB of pages are more than"):
        guest_pages(2 << 20)


@pytest.mark.parametrize("handler", CODECS)
@pytest.mark.parametrize("request_pages", [1, 7, 128])
def test_a_job_compresses_every_page(handler: str, request_pages: int) -> None:
    codec = open_handler(handler, None)
    assert codec is not None
    memory = guest_pages(100 * PAGE_SIZE)
    job = _core.BenchJob(
        memory=memory,
        library=codec.library,
        level=codec.level,
        request_size=request_pages * PAGE_SIZE,
    )
    assert job.requests == -(-100 // request_pages)
    assert 0 < job.bytes_out < len(memory)
    worker, tally = _core.BenchWorker(job), _core.BenchTally(job, job.requests)
    for index in reversed(range(job.requests)):
        tally.add(index, worker.serve(index))
    assert (tally.lost, tally.repeated, tally.wrong) == (0, 0, 0)


def test_the_tally_tells_what_is_lost_repeated_and_wrong() -> None:
    job = _core.BenchJob(requests=200)
    worker, tally = _core.BenchWorker(job), _core.BenchTally(job, 100)
    assert tally.lost == 100
    for index in range(98):
        tally.add(index, worker.serve(index))
    tally.add(7, worker.serve(7))
    tally.add(98, worker.serve(99))
    tally.add(100, worker.serve(0))
    assert (tally.lost, tally.repeated, tally.wrong) == (2, 1, 2)
    assert len({worker.serve(index) for index in range(100)}) == 100


def test_what_a_job_does_not_take() -> None:
    with pytest.raises(ValueError, match="either"):
        _core.BenchJob()
    library = open_handler("zlib", 1)
    assert library is not None
    native = library.library
    with pytest.raises(ValueError, match="either"):
        _core.BenchJob(requests=1, memory=b"x", library=native)
    with pytest.raises(ValueError, match="must not be empty"):
        _core.BenchJob(memory=b"", library=native, request_size=1)
    for size in (0, _core.REQUEST_BYTES_MAX + 1):
        with pytest.raises(ValueError, match="requests hold"):
            _core.BenchJob(memory=b"x", library=native, request_size=size)
    for other in (
        _core.bind("built in", ""),
        _core.python_library("x", "python", "", "", lambda level: level),
    ):
        with pytest.raises(ValueError, match="native"):
            _core.BenchJob(memory=b"x", library=other, request_size=1)
    job = _core.BenchJob(requests=5)
    for arguments in ((0, 1, 0), (1, 0, 0), (1, 65, 0), (1025, 1, 0), (1, 1, 1 << 40)):
        with pytest.raises(ValueError, match="range"):
            job.round("workqueue", *arguments)
    with pytest.raises(ValueError, match="no design 'bus'"):
        job.round("bus", 1, 1, 0)
    with pytest.raises(ValueError, match="no request 5"):
        _core.BenchWorker(job).serve(5)
    with pytest.raises(ValueError, match="range"):
        _core.BenchWorker(job).serve(-1)


def test_a_tally_of_exbibytes() -> None:
    with pytest.raises(MemoryError):
        _core.BenchTally(_core.BenchJob(requests=1 << 62), 1 << 62)
    with pytest.raises(ValueError, match="not as many"):
        _core.BenchTally(_core.BenchJob(requests=5), 6)


def test_a_worker_is_one_threads() -> None:
    # Two threads that serve again and again meet, whoever comes first.
    job = _core.BenchJob(requests=2, cost_ns=1_000_000)
    worker = _core.BenchWorker(job)
    refusals: list[str] = []

    def serve(index: int) -> None:
        while not refusals:
            try:
                worker.serve(index)
            except ValueError as error:
                refusals.append(str(error))

    threads = [threading.Thread(target=serve, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("another thread" in refusal for refusal in refusals)


def test_patience_is_as_long_as_requests_are_slow() -> None:
    second = 10**9
    empty, slow = _core.BenchJob(requests=1), _core.BenchJob(requests=1, cost_ns=10**8)
    assert empty.patience_ns(1024) == 10 * second
    assert slow.patience_ns(1) == 11 * second
    assert slow.patience_ns(1024) == (10 + 1024) * second
    codec = open_handler("zlib", 1)
    assert codec is not None
    compressed = _core.BenchJob(
        memory=guest_pages(PAGE_SIZE), library=codec.library, request_size=PAGE_SIZE
    )
    assert compressed.patience_ns(1) > 10 * second
    with pytest.raises(ValueError, match="range"):
        slow.patience_ns(-1)


@pytest.mark.parametrize("design", DESIGNS[3:], ids=lambda d: d.name)
def test_who_has_no_patience_loses(
    monkeypatch: pytest.MonkeyPatch, design: designs.Design
) -> None:
    job = _core.BenchJob(requests=20, cost_ns=20_000_000)
    assert design.round(job, 1, 1).lost == 0
    monkeypatch.setattr(designs, "_patience", lambda job, threads: 0.001)
    assert design.round(job, 1, 1).lost > 0


# --- Designs ---------------------------------------------------------------------


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("design", [NativeDesign(LOOP), *DESIGNS], ids=lambda d: d.name)
def test_each_design_takes_each_request_once(
    design: designs.Design, handler: str
) -> None:
    plan = replace(
        PLAN,
        handler=handler,
        cost_ns=1000 if handler == "cost" else 0,
        designs=(design.name,),
    )
    result = measure(plan, open_handler(handler, None), designs=[design])
    per_thread = (1,) if design.name == "thread-locks" else (1, 4)
    assert [(s.threads, s.requests_per_thread) for s in result.series] == [
        (threads, requests) for threads in (1, 2) for requests in per_thread
    ]
    for series in result.series:
        assert len(series.samples) == 2
        for sample in series.samples:
            assert (sample.lost, sample.repeated, sample.wrong) == (0, 0, 0)
            assert 0 <= sample.busy < plan.requests
            assert sample.wall_ns > 0
            polls = design.name == "workqueue"
            assert (sample.worker_spins is not None) == polls
            assert (sample.submitter_spins is not None) == polls
            assert sample.cpu_ns >= sample.submitter_cpu_ns > 0


@contextmanager
def ctrl_c_soon() -> Iterator[None]:
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.join()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("cost_ns", [0, 50_000_000])
@pytest.mark.parametrize("design", [NativeDesign(LOOP), *DESIGNS], ids=lambda d: d.name)
def test_ctrl_c_ends_a_round(design: designs.Design, cost_ns: int) -> None:
    job = _core.BenchJob(requests=1 << 30, cost_ns=cost_ns)  # would take hours
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), ctrl_c_soon():
        design.round(job, 2, 4)
    assert threading.active_count() == before


def test_ctrl_c_ends_a_job_that_is_being_made() -> None:
    codec = open_handler("zlib", 9)
    assert codec is not None
    memory = guest_pages(256 << 20)  # would take many seconds
    with pytest.raises(KeyboardInterrupt), ctrl_c_soon():
        _core.BenchJob(
            memory=memory, library=codec.library, level=9, request_size=PAGE_SIZE
        )


class Faulty:
    """A work queue in the submitter's own thread, with a defect."""

    name = "faulty"

    def __init__(
        self,
        defect: Callable[[tuple[int, int]], list[tuple[int, int]]],
        defective: int = 321,
    ):
        self._defect = defect
        self._defective = defective

    def round(self, job: _core.BenchJob, threads: int, requests: int) -> Sample:
        worker = _core.BenchWorker(job)
        done: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()

        def submit(index: int) -> None:
            result = (index, worker.serve(index))
            for kept in self._defect(result) if index == self._defective else [result]:
                done.put(kept)

        return timed_round(
            job, threads * requests, submit, lambda: not done.empty(), done.get_nowait
        )


@pytest.mark.parametrize(("slow", "busy"), [(0, 0), (1, 96), (3, 32)])
def test_busy_are_submissions_that_had_to_wait(slow: int, busy: int) -> None:
    # Four have room, so that 96 of 100 find none; each slow-th has to wait.
    job = _core.BenchJob(requests=100)
    worker = _core.BenchWorker(job)
    done: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    looks = 0

    def submit(index: int) -> None:
        nonlocal looks
        if index == 0:
            looks = 0  # of the warm-up
        done.put((index, worker.serve(index)))

    def ready() -> bool:
        nonlocal looks
        looks += 1
        return not slow or looks % slow != 0

    assert timed_round(job, 4, submit, ready, done.get_nowait).busy == busy
    assert looks == 96


@pytest.mark.parametrize(
    ("defect", "told"),
    [
        (lambda result: [], "lost 1"),
        (lambda result: [(322, result[1])], "lost 1, spoilt 1"),
        (lambda result: [(result[0], 5)], "lost 1, spoilt 1"),
    ],
)
def test_a_design_that_loses_or_spoils_a_page_is_caught(
    defect: Callable[[tuple[int, int]], list[tuple[int, int]]], told: str
) -> None:
    plan = replace(PLAN, designs=("faulty",))
    with pytest.raises(QueueFault, match=f"faulty with . threads .* {told} of 500"):
        measure(plan, None, designs=[Faulty(defect)])


def test_what_goes_wrong_in_the_warm_up_counts() -> None:
    # Once in the warm-up, once in what is timed.
    lossy = Faulty(lambda result: [(result[0], 5)], defective=32)
    with pytest.raises(QueueFault, match="lost 2, spoilt 2 of 500"):
        measure(replace(PLAN, designs=("faulty",)), None, designs=[lossy])


def test_a_design_that_repeats_a_page_is_caught() -> None:
    plan = replace(PLAN, designs=("faulty",))
    twice = Faulty(lambda result: [result, result])
    with pytest.raises(QueueFault, match="lost 1, repeated 1 of 500"):
        measure(plan, None, designs=[twice])


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (OSError(errno.EAGAIN, "No room"), "No room"),
    ],
)
def test_threads_that_cannot_be_made(error: Exception, why: str) -> None:
    class Poor:
        name = "poor"

        def round(self, job: _core.BenchJob, threads: int, requests: int) -> Sample:
            raise error

    plan = replace(PLAN, designs=("poor",), threads=(1,))
    told = f"^poor with 1 thread cannot be run: {why}; take fewer threads$"
    with pytest.raises(WorkerError, match=told):
        measure(plan, None, designs=[Poor()])


def test_only_native_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGCOMP_LIBZ", "none")
    monkeypatch.setenv("MIGCOMP_LIBDEFLATE", "none")
    with pytest.raises(CodecUnavailable, match="native codecs only, and no native"):
        open_handler("zlib", 1)
    assert open_handler("empty", None) is None


def test_too_many_requests() -> None:
    with pytest.raises(ValueError, match="more than 2,147,483,648; take less memory"):
        measure(replace(PLAN, memory=1 << 50), None)


def test_rounds_are_interleaved_in_an_order_that_changes_but_repeats() -> None:
    class Logged(Faulty):
        def __init__(self, name: str, log: list[str]) -> None:
            super().__init__(lambda result: [result])
            self.name = name
            self._log = log

        def round(self, job: _core.BenchJob, threads: int, requests: int) -> Sample:
            self._log.append(self.name)
            return super().round(job, threads, requests)

    logs: list[list[str]] = []
    for _ in range(2):
        log: list[str] = []
        names = tuple("abcde")
        plan = replace(
            PLAN, designs=names, threads=(1,), requests_per_thread=(1,), repeat=4
        )
        told: list[tuple[int, int]] = []
        measure(
            plan,
            None,
            designs=[Logged(name, log) for name in names],
            progress=lambda done, of, told=told: told.append((done, of)),  # type: ignore[misc]
        )
        assert told == [(n, 24) for n in range(24)]
        logs.append(log)
    assert logs[0] == logs[1]
    rounds = [tuple(logs[0][i : i + 5]) for i in range(0, 20, 5)]
    assert all(sorted(r) == list("abcde") for r in rounds)
    assert len(set(rounds)) > 1
