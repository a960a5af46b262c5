# SPDX-License-Identifier: LGPL-2.1-or-later
"""What operations in Python raise, and where it arrives."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from typing import Any

import pytest

from migcomp import ThreadedWorkqueue
from tests.core_tools import (
    WATCHDOG,
    Request,
    Unhappy,
    fail,
    nothing,
    submit,
)


@pytest.mark.parametrize("waiting", ["get", "collect", "poll", "wait", "destroy"])
def test_an_error_arrives_as_it_was_raised(waiting: str) -> None:
    error = Unhappy("page 7", {"why": "this"})

    def inner() -> None:
        raise error

    def handler(request: Request) -> None:
        inner()

    def until_it_fails(queue: ThreadedWorkqueue) -> None:
        match waiting:
            case "collect":
                queue.collect_request()
            case "wait":
                queue.wait_for_requests()
            case "destroy":
                time.sleep(0.05)
                queue.destroy()
        deadline = time.monotonic() + WATCHDOG
        while time.monotonic() < deadline:
            queue.poll_request() if waiting == "poll" else queue.get_request()

    queue = ThreadedWorkqueue("error", 2, handler=handler)
    submit(queue)
    with pytest.raises(Unhappy) as raised:
        until_it_fails(queue)
    assert raised.value is error
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert names[-2:] == ["handler", "inner"]
    if waiting != "destroy":
        with pytest.raises(Unhappy):
            queue.get_request()
    # Told once, it is not told again.
    queue.destroy()


def test_errors_of_each_operation() -> None:
    operations: dict[str, Any]
    for operation in ("request_init", "thread_init"):
        operations = {operation: fail}
        with pytest.raises(Unhappy):
            ThreadedWorkqueue("e", 2, handler=nothing, **operations)
    for operation in ("request_done", "request_uninit", "thread_uninit"):
        operations = {operation: fail}
        queue = ThreadedWorkqueue("e", 2, handler=nothing, **operations)
        submit(queue)
        if operation == "request_done":
            with pytest.raises(Unhappy):
                queue.wait_for_requests()
            queue.destroy()
        else:
            with pytest.raises(Unhappy):
                queue.destroy()
        assert queue.destroy() == 0


def test_init_that_fails_half_way_is_undone_exactly() -> None:
    begun: list[Request] = []
    ended: list[Request] = []

    def request_init(request: Request) -> None:
        if len(begun) == 5:
            raise Unhappy
        begun.append(request)

    def request_uninit(request: Request) -> None:
        # All of them, also those whose memory is gone already.
        assert len({other.sequence for other in begun}) <= 2
        ended.append(request)

    with pytest.raises(Unhappy):
        ThreadedWorkqueue(
            "half",
            3,
            4,
            handler=nothing,
            request_init=request_init,
            request_uninit=request_uninit,
        )
    assert sorted(map(id, begun)) == sorted(map(id, ended))


def test_the_first_error_stops_the_queue() -> None:
    seen = []

    def handler(request: Request) -> None:
        seen.append(request.payload)
        if request.payload == 0:
            raise Unhappy(request.payload)

    queue = ThreadedWorkqueue("first", 1, 8, handler=handler)
    requests = [queue.get_request() for _ in range(8)]
    for number, request in enumerate(requests):
        request.payload = number
        queue.submit_request(request)
    with pytest.raises(Unhappy):
        queue.collect_request()
    assert queue.destroy() == 8
    assert seen == [0]


def test_errors_that_nobody_asked_for_are_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost: list[Any] = []
    entered = threading.Event()

    def handler(request: Request) -> None:
        entered.set()
        raise Unhappy("no")

    monkeypatch.setattr(sys, "unraisablehook", lambda args: lost.append(args.exc_value))
    queue = ThreadedWorkqueue("lost", 1, handler=handler)
    submit(queue)
    assert entered.wait(WATCHDOG)
    queue.destroy(drain=False)
    dropped = ThreadedWorkqueue("lost", 1, handler=nothing, request_uninit=fail)
    del dropped
    assert [type(error) for error in lost] == [Unhappy, Unhappy]


def test_a_queue_dropped_while_an_exception_is_raised() -> None:
    """Its operations run, and the exception is still there afterwards."""
    ended: list[int] = []

    class Holder:
        def __init__(self) -> None:
            self.queue = ThreadedWorkqueue(
                "x",
                1,
                handler=nothing,
                request_uninit=lambda request: ended.append(request.sequence),
            )

        def __iter__(self) -> Holder:
            return self

        def __next__(self) -> int:
            raise Unhappy("next")

    with pytest.raises(Unhappy, match="next"):
        list(map(str, Holder()))
    assert ended
