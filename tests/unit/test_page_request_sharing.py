# SPDX-License-Identifier: LGPL-2.1-or-later
"""A PageRequest that several threads use at once.

Where there is a GIL, the windows are those in which it is released.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from migcomp import ThreadedWorkqueue, _core
from migcomp.codecs import open_codec
from migcomp.errors import WorkqueueError
from tests.core_tools import PAGE, WATCHDOG, a_map, a_queue, noise

WHOLE = 0
COMPRESSED = 4


@contextmanager
def reading(request: _core.PageRequest) -> Iterator[None]:
    """Another thread reads pages from a pipe into it."""
    source, sink = os.pipe()
    thread = threading.Thread(target=lambda: request.read(source, 0, 2, 0))
    thread.start()
    try:
        os.write(sink, noise(1))
        deadline = time.monotonic() + WATCHDOG
        while is_free(request):
            assert time.monotonic() < deadline
        yield
    finally:
        os.close(sink)
        thread.join(WATCHDOG)
        os.close(source)


def is_free(request: _core.PageRequest) -> bool:
    try:
        request.stage = WHOLE
    except BufferError:
        return False
    return True


def uses(queue: ThreadedWorkqueue, request: _core.PageRequest) -> dict[str, Any]:
    page_map = a_map(noise(1))
    return {
        "classes": lambda: request.classes,
        "counts": lambda: request.counts,
        "stage": lambda: request.stage,
        "buffer": lambda: memoryview(request),
        "entropies": lambda: request.entropies(),
        "write_pages": lambda: request.write_pages(1, 0),
        "load": lambda: request.load(page_map, 0, 1, WHOLE, 0),
        "resolve": lambda: _core.DedupTable().resolve(request, page_map),
        "submit": lambda: queue.submit_request(request),
        "release": lambda: queue.release_request(request),
        "destroy": lambda: queue.destroy(),
    }


def test_nobody_else_uses_a_request_that_is_filled() -> None:
    with a_queue() as queue:
        request = queue.get_request()
        with reading(request):
            for use in uses(queue, request).values():
                with pytest.raises(BufferError, match="still in use"):
                    use()
            assert request.thread == 0
        assert request.pages == 1


def test_a_view_lets_others_read_only() -> None:
    with a_queue() as queue:
        request = queue.get_request()
        request.load(a_map(noise(1)), 0, 1, WHOLE, 0)
        queue.submit_request(request)
        queue.collect_request()
        with memoryview(request), memoryview(request):
            for name, use in uses(queue, request).items():
                if name in ("load", "resolve", "submit", "release", "destroy"):
                    with pytest.raises(BufferError, match="still in use"):
                        use()
            with pytest.raises(BufferError, match="still in use"):
                request.stage = WHOLE
            assert request.counts == (0, 0, 0, 1, 0)
        queue.release_request(request)


def test_deduplicated_pages_are_the_submitters(tmp_path: Path) -> None:
    """All requests of a queue add to one set of them."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow:
        def __init__(self, level: int) -> None:
            pass

        def decompress(self, data: memoryview, size: int) -> bytes:
            entered.set()
            assert go_on.wait(WATCHDOG)
            return bytes(size)

    library = _core.python_library("slow", "python", "1", "", Slow)
    handler = _core.decompressor(library, page_size=PAGE, pages_max=1, dedup=True)
    body = bytes([COMPRESSED]) + b"\1\0" + b"x"
    with (
        (tmp_path / "image").open("w+b") as image,
        ThreadedWorkqueue("slow", 1, 2, handler=handler) as queue,
    ):
        first, second = queue.get_request(), queue.get_request()
        first.load_record(body, 0, 1, 0, _core.xxh64(body), False)
        queue.submit_request(first)
        collector = threading.Thread(target=queue.collect_request)
        collector.start()
        assert entered.wait(WATCHDOG)

        def restore_again_and_again() -> None:
            deadline = time.monotonic() + WATCHDOG
            while time.monotonic() < deadline:
                second.restore_deduplicated(image.fileno())

        try:
            with pytest.raises(WorkqueueError, match="one submitter"):
                restore_again_and_again()
        finally:
            go_on.set()
            collector.join(WATCHDOG)


def test_many_threads_at_once(tmp_path: Path) -> None:
    """Nobody sees half of anything, whoever hands over or destroys meanwhile."""
    content = noise(4)
    wrong: list[object] = []

    def see(request: _core.PageRequest) -> None:
        for seen in (request.counts, bytes(memoryview(request))):
            if seen not in ((0, 0, 0, 4, 0), (0, 0, 0, 0, 0), content, b""):
                wrong.append(seen)

    def round_of(file: int) -> None:
        handler = _core.compressor(
            open_codec("none").library, page_size=PAGE, pages_max=4
        )
        queue = ThreadedWorkqueue("many", 1, 1, handler=handler)
        request = queue.get_request()
        queue.release_request(request)
        page_map, table = a_map(content), _core.DedupTable()
        over = threading.Event()
        steps: list[Callable[[], object]] = [
            lambda: queue.get_request(),
            lambda: request.load(page_map, 0, 4, WHOLE, 0),
            lambda: queue.submit_request(request),
            lambda: queue.collect_request(),
            lambda: see(request),
            lambda: request.write_pages(file, 0),
            lambda: table.resolve(request, page_map),
            lambda: queue.release_request(request),
        ]

        def work(number: int) -> None:
            while not over.is_set():
                with suppress(BufferError, ValueError, WorkqueueError):
                    steps[number % len(steps)]()
                number += 1

        threads = [threading.Thread(target=work, args=(n,)) for n in (0, 3, 5)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            with suppress(BufferError, WorkqueueError):
                queue.destroy(drain=False)
        over.set()
        for thread in threads:
            thread.join(WATCHDOG)
        queue.destroy(drain=False)
        with pytest.raises(ValueError, match="destroyed"):
            see(request)

    with (tmp_path / "pages").open("wb") as file:
        for _ in range(10):
            round_of(file.fileno())
    assert wrong == []
