# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of the core share: content, queues, threads."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migcomp import ThreadedWorkqueue, _core
from migcomp.codecs import GROUPINGS, Codec, open_codec, providers

Request = _core.ObjectRequest

PAGE = 4096

#: How long something may take that takes no time, before it counts as hung.
WATCHDOG = 60.0

#: By codec: the variables that name its libraries.
OVERRIDES = {
    "zstd": ("MIGCOMP_LIBZSTD",),
    "lz4": ("MIGCOMP_LIBLZ4",),
    "zlib": ("MIGCOMP_LIBZ", "MIGCOMP_LIBDEFLATE"),
}
#: By provider.
SONAMES = {
    "libzstd": "libzstd.so.1",
    "liblz4": "liblz4.so.1",
    "libz": "libz.so.1",
    "libdeflate": "libdeflate.so.0",
}


def noise(pages: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(pages * PAGE)


def text(pages: int) -> bytes:
    return (b"the quick brown fox jumps over the lazy dog; " * 100 * pages)[
        : pages * PAGE
    ]


PAGES = 12


def guest() -> bytes:
    """Pages of every kind, so that packets are cut in all ways."""
    generator = random.Random(5)
    words = [generator.randbytes(8) for _ in range(40)]
    pages = [
        generator.randbytes(PAGE)
        if i == 4
        else bytes(PAGE)
        if i == 5
        else b"poisoned" * (PAGE // 8)
        if i == 6
        else b"".join(generator.choices(words, k=PAGE // 8))
        for i in range(PAGES)
    ]
    return b"".join(pages)


GUEST = guest()


def a_map(content: bytes | bytearray | memoryview) -> _core.PageMap:
    return _core.PageMap(content, [(0, len(content) // PAGE, 0)], PAGE, False)


def a_queue(codec: str = "zlib", pages_max: int = 8, **job: Any) -> ThreadedWorkqueue:
    kind = job.pop("kind", _core.compressor)
    handler = kind(
        open_codec(codec).library,
        level=0 if codec == "none" else 1,
        page_size=PAGE,
        pages_max=pages_max,
        **job,
    )
    return ThreadedWorkqueue("core", 1, 2, handler=handler)


def nothing(request: Request) -> None:
    pass


class Unhappy(Exception):
    pass


def double(request: Request) -> None:
    request.result = request.payload * 2


def fail(*_: object) -> None:
    raise Unhappy("no")


class Gate:
    """A handler that waits until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, request: Request) -> None:
        self.entered.release()
        assert self.open.wait(WATCHDOG)


def submit(queue: ThreadedWorkqueue, payload: object = None) -> Request:
    request: Request = queue.get_request(timeout=WATCHDOG)
    request.payload = payload
    queue.submit_request(request)
    return request


def page_queue(pages: int = 4) -> tuple[ThreadedWorkqueue, _core.PageRequest]:
    """A queue of one request that is collected and has data."""
    codec = open_codec("none")
    handler = _core.compressor(codec.library, page_size=4096, pages_max=pages)
    queue = ThreadedWorkqueue("pages", 1, 1, handler=handler)
    content = bytes(range(256)) * (16 * pages)
    request: _core.PageRequest = queue.get_request()
    request.load(_core.PageMap(content, [(0, pages, 0)], 4096, False), 0, pages, 0, 0)
    queue.submit_request(request)
    assert queue.collect_request() is request
    return queue, request


def round_trip(codec: Codec, grouping: str, content: bytes = GUEST) -> int:
    """Compresses twice (for the history of streams) and decompresses; bytes."""
    pages = len(content) // PAGE
    job: dict[str, Any] = {
        "grouping": GROUPINGS.index(grouping),
        "page_size": PAGE,
        "pages_max": pages,
        "channels": 1 if grouping == "stream" else 0,
    }
    page_map = _core.PageMap(content, [(0, pages, 0)], PAGE, False)
    packing = _core.compressor(codec.library, level=codec.level, **job)
    unpacking = _core.decompressor(codec.library, fill_zeros=True, **job)
    size = 0
    with (
        ThreadedWorkqueue("pack", 1, 1, handler=packing) as pack,
        ThreadedWorkqueue("unpack", 1, 1, handler=unpacking) as unpack,
    ):
        request, back = pack.get_request(), unpack.get_request()
        for _ in range(2):
            request.load(page_map, 0, pages, 0, 0)
            pack.submit_request(request)
            pack.collect_request()
            body = request.classes + request.details + bytes(memoryview(request))
            size = request.data_size
            back.load_record(body, 0, pages, 0, _core.xxh64(body), False)
            unpack.submit_request(back)
            unpack.collect_request()
            assert bytes(memoryview(back)) == content
    return size


def is_installed(soname: str) -> bool:
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


needs = {
    provider: pytest.mark.skipif(not is_installed(soname), reason=f"no {soname}")
    for provider, soname in SONAMES.items()
}


def libraries() -> Iterator[_core.Library]:
    for provider in providers():
        if provider.native and not provider.problem:
            yield _core.bind(provider.provider, provider.path)


def threads_nr() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@contextlib.contextmanager
def no_thread_left() -> Iterator[None]:
    before = threads_nr()
    yield
    deadline = time.monotonic() + WATCHDOG
    while threads_nr() > before:
        assert time.monotonic() < deadline
        gc.collect()


def run_script(
    script: str, *, watchdog: float = WATCHDOG
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=watchdog,
        check=False,
    )
