# SPDX-License-Identifier: LGPL-2.1-or-later
"""ThreadedWorkqueue with operations in Python: requests, order, threads."""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from migcomp import ThreadedWorkqueue
from migcomp.errors import WorkqueueError
from migcomp.workqueue import MAX_THREADS, usable_cpus
from tests.core_tools import (
    WATCHDOG,
    Gate,
    Request,
    double,
    nothing,
    submit,
)

# --- Operations ---


def test_the_four_operations_and_the_threads_own() -> None:
    calls: list[str] = []
    handled: list[tuple[int, int]] = []
    main = threading.get_ident()

    def on_submitter(name: str) -> Callable[[Request], None]:
        def operation(request: Request) -> None:
            assert threading.get_ident() == main
            calls.append(f"{name} {request.thread}")

        return operation

    def thread_init(index: int) -> list[int]:
        assert threading.get_ident() != main
        return [index, threading.get_ident()]

    def handler(request: Request) -> None:
        assert request.thread_state == [request.thread, threading.get_ident()]
        request.result = request.payload**2

    def request_done(request: Request) -> None:
        assert threading.get_ident() == main
        handled.append((request.sequence, request.result))

    ended: list[int] = []

    def thread_uninit(state: list[int]) -> None:
        assert state[1] == threading.get_ident()
        ended.append(state[0])

    with ThreadedWorkqueue(
        "four",
        2,
        2,
        handler=handler,
        request_init=on_submitter("init"),
        request_uninit=on_submitter("uninit"),
        request_done=request_done,
        thread_init=thread_init,
        thread_uninit=thread_uninit,
    ) as queue:
        assert calls == ["init 0", "init 0", "init 1", "init 1"]
        for number in range(100):
            submit(queue, number)
        assert queue.wait_for_requests()
        assert handled == [(n, n * n) for n in range(100)]
        submit(queue, 100)
    assert handled[-1] == (100, 10000)
    assert calls[4:] == ["uninit 0", "uninit 0", "uninit 1", "uninit 1"]
    assert sorted(ended) == [0, 1]


def test_collect_restores_the_order_of_submission() -> None:
    def handler(request: Request) -> None:
        time.sleep(request.payload % 3 / 2000)
        request.result = request.payload

    results = []
    with ThreadedWorkqueue("order", 3, 4, handler=handler) as queue:
        for number in range(200):
            while (request := queue.get_request()) is None:
                done = queue.collect_request()
                results.append((done.sequence, done.result))
                queue.release_request(done)
            request.payload = number
            queue.submit_request(request)
        while (done := queue.collect_request()) is not None:
            results.append((done.sequence, done.result))
            queue.release_request(done)
    assert results == [(n, n) for n in range(200)]


def test_poll_takes_what_is_handled_out_of_order() -> None:
    gate = Gate()

    def handler(request: Request) -> None:
        if request.payload == "slow":
            gate(request)

    with ThreadedWorkqueue("poll", 2, 1, handler=handler) as queue:
        assert queue.poll_request() is None
        slow, fast = submit(queue, "slow"), submit(queue, "fast")
        deadline = time.monotonic() + WATCHDOG
        while (polled := queue.poll_request()) is None:
            assert time.monotonic() < deadline
        assert polled is fast
        assert queue.collect_request(timeout=0) is None
        gate.open.set()
        assert queue.collect_request() is slow
        assert queue.collect_request() is None


def test_a_reserved_request_is_nobody_elses() -> None:
    with ThreadedWorkqueue("reserve", 2, 2, handler=double) as queue:
        taken = [queue.get_request() for _ in range(4)]
        assert len({id(request) for request in taken}) == 4
        assert sorted(request.thread for request in taken) == [0, 0, 1, 1]
        assert queue.get_request() is None
        with pytest.raises(WorkqueueError, match="holds all requests"):
            queue.get_request(timeout=None)
        queue.release_request(taken[2])
        assert queue.get_request(timeout=None) is taken[2]
        queue.release_request(taken[2])
        with pytest.raises(WorkqueueError, match="not reserved"):
            queue.release_request(taken[2])


def test_round_robin_and_choice_of_the_thread() -> None:
    with ThreadedWorkqueue("robin", 3, 4, handler=nothing) as queue:
        taken = [queue.get_request().thread for _ in range(6)]
        assert taken == [0, 1, 2, 0, 1, 2]
        assert [queue.get_request(thread=1).thread for _ in range(2)] == [1, 1]
        assert queue.get_request(thread=1) is None
        for wrong in (3, 2**32 - 1, 2**32, 2**70, -1):
            with pytest.raises(ValueError, match=r"no such thread|out of range"):
                queue.get_request(thread=wrong)


def test_busy_is_none_and_a_wait_has_a_timeout() -> None:
    gate = Gate()
    with ThreadedWorkqueue("busy", 1, 1, handler=gate, request_done=nothing) as queue:
        request = submit(queue)
        assert gate.entered.acquire(timeout=WATCHDOG)
        start = time.monotonic()
        assert queue.get_request() is None
        assert queue.get_request(timeout=0.05) is None
        assert queue.get_request(timeout=0.05, thread=0) is None
        assert queue.wait_for_requests(timeout=0.05) is False
        assert queue.collect_request(timeout=0.05) is None
        assert time.monotonic() - start >= 0.2
        threading.Timer(0.05, gate.open.set).start()
        assert queue.get_request(timeout=None) is request
        assert queue.wait_for_requests() is True


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_timeouts_must_not_be_negative(timeout: float) -> None:
    with ThreadedWorkqueue("time", 1, handler=nothing) as queue:
        for wait in (queue.get_request, queue.collect_request, queue.wait_for_requests):
            with pytest.raises(ValueError, match="negative"):
                wait(timeout=timeout)
        with pytest.raises(TypeError):
            queue.collect_request(timeout="soon")  # type: ignore[arg-type]
        assert queue.collect_request(timeout=float("inf")) is None


def test_payloads_may_be_submitted_again_after_collect() -> None:
    with ThreadedWorkqueue("again", 2, handler=double) as queue:
        request = submit(queue, 1)
        for power in range(1, 20):
            assert queue.collect_request() is request
            assert request.result == 2**power
            request.payload = request.result
            queue.submit_request(request)
        assert request.sequence == 19


# --- Threads and counters ---


def thread_names() -> list[str]:
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except OSError:
            continue
    return names


def test_thread_names() -> None:
    with ThreadedWorkqueue("a long name that is cut", 12, handler=nothing):
        names = thread_names()
        assert "a long name t/0" in names
        assert "a long name /11" in names
    assert not [name for name in thread_names() if name.startswith("a long")]


def test_threads_stay_on_their_cpus() -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]

    def handler(request: Request) -> None:
        request.result = os.sched_getaffinity(0)

    with ThreadedWorkqueue("cpus", 3, 1, handler=handler, cpus=cpus) as queue:
        requests = [submit(queue) for _ in range(3)]
        queue.wait_for_requests()
        assert [request.result for request in requests] == [
            {cpus[i % len(cpus)]} for i in range(3)
        ]


@pytest.mark.parametrize("cpu", [-1, 1023, 10**6, 2**32, 2**100])
def test_cpus_that_are_not_there(cpu: int) -> None:
    with pytest.raises(ValueError, match=r"CPUs of this machine|out of range"):
        ThreadedWorkqueue("cpus", 1, handler=nothing, cpus=[cpu])


def test_threads_default_to_the_usable_cpus() -> None:
    with ThreadedWorkqueue("default", handler=nothing) as queue:
        stats = queue.stats()
    assert stats["threads_nr"] == min(usable_cpus(), MAX_THREADS)
    assert stats["thread_requests_nr"] == 4


def test_counters_add_up() -> None:
    def handler(request: Request) -> None:
        request.result = zlib.crc32(bytes(20000))

    depth = busy = 0
    with ThreadedWorkqueue("count", 2, 2, handler=handler) as queue:
        for _ in range(300):
            while (request := queue.get_request()) is None:
                busy += 1
                queue.release_request(queue.collect_request())
                depth -= 1
            queue.submit_request(request)
            depth += 1
        assert queue.wait_for_requests()
        collected = 0
        while (done := queue.poll_request()) is not None:
            queue.release_request(done)
            collected += 1
        assert collected == depth
        stats = queue.stats()
    assert stats["submitted"] == stats["collected"] == 300
    assert stats["busy"] == busy > 0
    assert stats["depth_max"] == 4
    assert 300 <= stats["depth_sum"] <= 1200
    assert sum(thread["requests"] for thread in stats["threads"]) == 300
    assert all(thread["requests"] and thread["cpu_ns"] for thread in stats["threads"])


def test_an_idle_queue_uses_no_cpu() -> None:
    with ThreadedWorkqueue("idle", 4, handler=nothing) as queue:
        submit(queue)
        queue.wait_for_requests()
        # On a busy machine threads go to sleep only when they get a CPU.
        deadline = time.monotonic() + WATCHDOG
        while not is_idle(queue):
            assert time.monotonic() < deadline


def is_idle(queue: ThreadedWorkqueue) -> bool:
    before = queue.stats()
    time.sleep(0.3)
    after = queue.stats()
    return all(
        new["cpu_ns"] - old["cpu_ns"] < 5_000_000 and new["sleeps"] == old["sleeps"]
        for old, new in zip(before["threads"], after["threads"], strict=True)
    )
