# SPDX-License-Identifier: LGPL-2.1-or-later
"""Queues that nobody destroys, and what they hold."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from migcomp import ThreadedWorkqueue, _core
from migcomp.codecs import open_codec
from tests.core_tools import WATCHDOG, Request, no_thread_left, nothing, page_queue


@pytest.fixture(autouse=True)
def quick_collections() -> Iterator[None]:
    """Nothing of what the other tests left is looked at again."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_an_abandoned_queue_ends_its_threads() -> None:
    with no_thread_left():
        queue = ThreadedWorkqueue("lost", 4, handler=lambda r: time.sleep(0.001))
        for _ in range(16):
            queue.submit_request(queue.get_request())
        gone = weakref.ref(queue)
        del queue
        assert gone() is None


@pytest.mark.parametrize("busy", [False, True])
def test_cycles_through_every_operation_are_collected(busy: bool) -> None:
    """Threads go on calling operations until the very moment of collection."""

    def make() -> weakref.ref[ThreadedWorkqueue]:
        holder: list[ThreadedWorkqueue] = []

        def operation(*_: object) -> list[ThreadedWorkqueue]:
            return holder[:]

        queue = ThreadedWorkqueue(
            "cycle",
            2,
            handler=operation,
            request_init=operation,
            request_uninit=operation,
            request_done=operation,
            thread_init=operation,
            thread_uninit=operation,
        )
        holder.append(queue)
        for _ in range(8 if busy else 0):
            request = queue.get_request()
            request.payload = queue
            queue.submit_request(request)
        return weakref.ref(queue)

    with no_thread_left():
        for _ in range(30):
            gone = make()
            deadline = time.monotonic() + WATCHDOG
            # A thread that is inside a handler keeps the queue.
            while gone() is not None:
                gc.collect()
                assert time.monotonic() < deadline


def test_a_queue_collected_by_its_own_thread() -> None:
    """A thread cannot join itself."""

    def handler(request: Request) -> None:
        abandoned.wait(WATCHDOG)
        for _ in range(3):
            gc.collect()
        request.payload.set()

    with no_thread_left():
        for _ in range(10):
            abandoned, collected = threading.Event(), threading.Event()
            queue = ThreadedWorkqueue("own", 1, 1, handler=handler)
            holder = [queue]
            request = queue.get_request()
            request.payload = collected
            queue.submit_request(request)
            holder.append(holder)  # type: ignore[arg-type]
            del queue, holder, request
            abandoned.set()
            assert collected.wait(WATCHDOG)


def test_a_queue_dropped_by_its_own_handler() -> None:
    """The handler's reference is the last one."""

    def handler(request: Request) -> None:
        holder, go = request.payload
        go.wait(WATCHDOG)
        holder.clear()

    with no_thread_left():
        for _ in range(20):
            go = threading.Event()
            holder = [ThreadedWorkqueue("own", 1, 1, handler=handler)]
            request = holder[0].get_request()
            request.payload = holder, go
            holder[0].submit_request(request)
            del request
            go.set()


def test_request_data_outlives_nothing_unsafely() -> None:
    queue, request = page_queue()
    view = memoryview(request)
    assert view.readonly
    expected = bytes(view)
    assert len(expected) == 4 * 4096
    with pytest.raises(BufferError, match="in use"):
        queue.release_request(request)
    with pytest.raises(BufferError, match="in use"):
        queue.submit_request(request)
    with pytest.raises(BufferError, match="in use"):
        request.read(0, 0, 1, 0)
    with pytest.raises(BufferError, match="in use"):
        queue.destroy()
    with pytest.raises(BufferError, match="in use"):
        queue.destroy(drain=False)
    # The view alone keeps all of it.
    del queue, request
    gc.collect()
    assert bytes(view) == expected
    with no_thread_left():
        view.release()


def test_a_view_in_a_cycle_with_its_queue() -> None:
    class Queue(ThreadedWorkqueue):
        view: memoryview

    codec = open_codec("none")
    with no_thread_left():
        handler = _core.compressor(codec.library, page_size=4096, pages_max=1)
        queue = Queue("cycle", 1, 1, handler=handler)
        queue.view = memoryview(queue.get_request())
        gone = weakref.ref(queue)
        del queue
        gc.collect()
        assert gone() is None


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_nothing_leaks() -> None:
    def work(number: int) -> None:
        with ThreadedWorkqueue("leak", 1, 1, handler=nothing) as queue:
            request = queue.get_request()
            request.payload = bytearray(1000)
            queue.submit_request(request)
            queue.collect_request()
        if number % 10:
            return
        with contextlib.suppress(ZeroDivisionError):
            ThreadedWorkqueue("leak", 1, handler=nothing, thread_init=lambda i: 1 // i)
        queue, request = page_queue()
        queue.release_request(request)
        queue.destroy()

    for number in range(300):
        work(number)
    gc.collect()
    objects, memory = len(gc.get_objects()), resident_bytes()
    for number in range(2000):
        work(number)
    gc.collect()
    assert len(gc.get_objects()) - objects < 50
    # A sanitizer keeps freed memory to see who still uses it.
    if "ASAN_OPTIONS" not in os.environ:
        assert resident_bytes() - memory < 4 << 20
