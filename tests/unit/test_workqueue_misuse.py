# SPDX-License-Identifier: LGPL-2.1-or-later
"""ThreadedWorkqueue used as its contract excludes."""

from __future__ import annotations

import os
import threading
import time

import pytest

from migcomp import ThreadedWorkqueue, _core
from migcomp.codecs import open_codec
from migcomp.errors import WorkqueueError
from migcomp.workqueue import MAX_REQUESTS, MAX_THREADS
from tests.core_tools import (
    WATCHDOG,
    Gate,
    Request,
    double,
    nothing,
    run_script,
    submit,
)


@pytest.mark.parametrize(
    ("threads", "requests"),
    [
        (0, 4),
        (-1, 4),
        (MAX_THREADS + 1, 4),
        (2**32 + 1, 4),
        (2**64 + 1, 4),
        (-(2**70), 4),
        (1, 0),
        (1, -1),
        (1, MAX_REQUESTS + 1),
        (1, 2**32 + 4),
        (1, 2**200),
    ],
)
def test_limits(threads: int, requests: int) -> None:
    with pytest.raises(ValueError, match="must be 1 to"):
        ThreadedWorkqueue("limit", threads, requests, handler=nothing)
    with pytest.raises(ValueError, match=r"must be 1 to|out of range"):
        _core.Workqueue("limit", threads, requests, _core.python_handler(nothing))


@pytest.mark.skipif(
    "ASAN_OPTIONS" in os.environ,
    reason="a sanitizer maps terabytes, so that no limit of addresses can be kept",
)
def test_more_threads_than_the_system_gives() -> None:
    done = run_script("""
        import resource

        from migcomp import ThreadedWorkqueue
        from migcomp.errors import ThreadsUnavailable

        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        try:
            ThreadedWorkqueue("many", 1000, 4, handler=print)
        except ThreadsUnavailable as error:
            print(error.exit_code, error)
        """)
    assert done.stdout.startswith("2 the system does not give 1000 threads with 4 requ")
    assert done.stdout.endswith("; take fewer\n")
    assert done.returncode == 0, done.stderr


def test_the_largest_queue() -> None:
    queue = ThreadedWorkqueue("most", MAX_THREADS, 1, handler=nothing)
    assert queue.stats()["threads_nr"] == 1024
    queue.destroy()
    queue = ThreadedWorkqueue("most", 1, MAX_REQUESTS, handler=nothing)
    requests = [queue.get_request() for _ in range(64)]
    assert queue.get_request() is None
    for request in requests:
        queue.submit_request(request)
    assert queue.wait_for_requests()
    assert queue.destroy() == 64


def test_wrong_arguments() -> None:
    native = _core.compressor(open_codec("none").library, page_size=4096, pages_max=1)
    with pytest.raises(TypeError, match="callable"):
        ThreadedWorkqueue("x", 1, handler=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="callable"):
        ThreadedWorkqueue("x", 1, handler=nothing, request_done=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="own operations"):
        ThreadedWorkqueue("x", 1, handler=native, request_done=nothing)
    with pytest.raises(TypeError):
        ThreadedWorkqueue("x", 1.5, handler=nothing)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="null"):
        ThreadedWorkqueue("x\0y", 1, handler=nothing)
    with (
        ThreadedWorkqueue("x", 1, handler=nothing) as queue,
        pytest.raises(TypeError, match="request is needed"),
    ):
        queue.submit_request("page")  # type: ignore[arg-type]


def test_requests_of_other_queues_are_refused() -> None:
    with (
        ThreadedWorkqueue("one", 1, handler=nothing) as one,
        ThreadedWorkqueue("two", 1, handler=nothing) as two,
    ):
        request = one.get_request()
        for hand_over in (two.submit_request, two.release_request):
            with pytest.raises(ValueError, match="another workqueue"):
                hand_over(request)
        one.submit_request(request)
        with pytest.raises(WorkqueueError, match="not reserved"):
            one.submit_request(request)


def test_requests_of_dead_queues_are_refused() -> None:
    """Also when the new queue lies where the old one was."""
    for _ in range(50):
        queue = ThreadedWorkqueue("old", 1, 1, handler=nothing)
        request = queue.get_request()
        queue.destroy()
        del queue
        assert request.sequence is None
        with ThreadedWorkqueue("new", 1, 1, handler=nothing) as queue:
            for hand_over in (queue.submit_request, queue.release_request):
                with pytest.raises(ValueError, match="another workqueue"):
                    hand_over(request)


def test_use_after_destroy() -> None:
    queue = ThreadedWorkqueue("gone", 1, handler=double)
    request = submit(queue, 4)
    assert queue.destroy() == 1
    assert queue.destroy() == 0
    request.payload = "still the user's"
    assert request.result == 8
    for use in (
        queue.get_request,
        queue.collect_request,
        queue.poll_request,
        queue.wait_for_requests,
        queue.stats,
        lambda: queue.submit_request(request),
        lambda: queue.release_request(request),
    ):
        with pytest.raises(WorkqueueError, match="destroyed"):
            use()


def test_a_handler_serves_one_queue_at_a_time() -> None:
    handler = _core.python_handler(nothing)
    with (
        ThreadedWorkqueue("one", 1, handler=handler),
        pytest.raises(WorkqueueError, match="in use by another"),
    ):
        ThreadedWorkqueue("two", 1, handler=handler)
    ThreadedWorkqueue("three", 1, handler=handler).destroy()


def test_one_submitter_at_a_time() -> None:
    gate = Gate()
    errors: list[Exception] = []
    queue = ThreadedWorkqueue("single", 1, 1, handler=gate)
    submit(queue)
    waiter = threading.Thread(target=queue.collect_request)
    waiter.start()
    deadline = time.monotonic() + WATCHDOG
    while not errors and time.monotonic() < deadline:
        try:
            queue.stats()
        except WorkqueueError as error:
            errors.append(error)
    with pytest.raises(WorkqueueError, match="another thread"):
        queue.destroy()
    gate.open.set()
    waiter.join(WATCHDOG)
    queue.destroy()
    assert "one submitter" in str(errors[0])


def test_operations_cannot_call_their_queue() -> None:
    errors: list[str] = []
    queue: ThreadedWorkqueue

    def try_all(request: Request) -> None:
        for use in (queue.get_request, queue.stats, queue.destroy):
            try:
                use()
            except WorkqueueError as error:
                errors.append(str(error))

    queue = ThreadedWorkqueue("self", 1, handler=try_all, request_done=try_all)
    submit(queue)
    queue.wait_for_requests()
    queue.destroy()
    assert len(errors) == 6
