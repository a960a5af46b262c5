# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compressing: choices, failures, interrupts and memory."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from io import BytesIO, RawIOBase
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, setrlimit
from typing import Any, BinaryIO, Self, cast

import pytest

from migcomp import _core
from migcomp.choice import Choice
from migcomp.codecs import GROUPINGS, open_codec
from migcomp.errors import (
    ImageError,
    MigcompError,
    PageError,
)
from migcomp.images.image import Run
from migcomp.images.open import open_image
from migcomp.outputs import OutputFile
from migcomp.pipeline import Progress, compress
from migcomp.results import Block
from migcomp.workqueue import ThreadedWorkqueue
from tests.conftest import (
    KINDS,
    PAGE,
    REPOSITORY,
    await_threads,
    compressed,
    folder_names,
    make_pages,
    memory_file,
    restored,
    threads_now,
)
from tests.sinks import Sink

MIB = 1 << 20
DATA = make_pages(*((kind, n % 3) for n in range(30) for kind in KINDS))


def run(
    path: str | Path,
    sink: BinaryIO | RawIOBase | None,
    choice: Choice,
    progress: Progress | None = None,
) -> None:
    with open_image(str(path)) as image:
        compress(image, cast("BinaryIO | None", sink), choice, progress=progress)


# --- Choices that cannot be ---------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"grouping": "heap"}, "no grouping 'heap'"),
        ({"packet_pages": 1025}, "a packet has 1 to 1024 pages"),
        ({"packet_pages": -1}, "a packet has 1 to 1024 pages"),
        ({"request_pages": 9, "packet_pages": 8}, r"a request has 1 to 8 pages"),
        ({"request_pages": 4}, "give --packet-pages instead"),
        ({"threads": 0}, "threads must be 1 to"),
        ({"threads": 100000}, "threads must be 1 to"),
        ({"requests_per_thread": 0}, "requests per thread must be 1 to"),
        ({"grouping": "stream", "channels": 0}, "channels must be 1 to 256"),
        ({"grouping": "stream", "channels": 257}, "channels must be 1 to 256"),
        ({"level": 23}, "levels -131072 to 22, not 23"),
        ({"codec": "rar"}, "no codec 'rar'"),
    ],
)
def test_impossible_choices(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MigcompError, match=sentence):
        compressed(DATA, Choice(**options))


# --- Sinks -------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["zstd", "none"])
@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
def test_a_sink_that_takes_little_at_a_time(codec: str, step: int) -> None:
    data = DATA[: 20 * PAGE]
    whole, _ = compressed(data, Choice(codec))
    sink = Sink(step)
    with memory_file(data) as path:
        run(path, sink, Choice(codec))
    assert sink.data == whole


@pytest.mark.parametrize("room", [0, 1, 3000, 100000])
def test_a_full_disk(room: int) -> None:
    before = threads_now()
    with (
        memory_file(DATA) as path,
        pytest.raises(OSError, match="No space left") as caught,
    ):
        run(path, Sink(1000, room), Choice("none", packet_pages=8))
    assert caught.value.errno == errno.ENOSPC
    # Though the exception still holds what its frames refer to.
    await_threads(before)


@pytest.fixture
def small_files() -> Iterator[None]:
    """The kernel writes what fits, and then refuses: as on a full disk."""
    setrlimit(RLIMIT_FSIZE, (98_400, RLIM_INFINITY))
    yield
    setrlimit(RLIMIT_FSIZE, (RLIM_INFINITY, RLIM_INFINITY))


@pytest.mark.usefixtures("small_files")
def test_a_file_that_takes_a_part_and_no_more(tmp_path: Path) -> None:
    path, output = tmp_path / "image", tmp_path / "out.migc"
    for _ in range(6):
        with path.open("ab") as file:
            file.write(make_pages("noise") * 4)
    before = threads_now()
    with pytest.raises(OSError, match="File too large") as caught:  # noqa: SIM117
        with OutputFile(str(output)) as sink:
            run(path, sink, Choice("none", packet_pages=8))
    assert caught.value.errno == errno.EFBIG
    await_threads(before)
    assert folder_names(tmp_path) == ["image"]


# --- Interrupts --------------------------------------------------------------------


def test_an_exception_in_progress_leaves_nothing(tmp_path: Path) -> None:
    calls = []

    def interrupted(pages: int, written: int) -> None:
        calls.append((pages, written))
        if len(calls) == 3:
            raise KeyboardInterrupt

    before = threading.active_count()
    with memory_file(DATA) as path, pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with OutputFile(str(tmp_path / "out.migc")) as sink:
            run(path, sink, Choice(packet_pages=4), interrupted)
    assert len(calls) == 3
    assert calls == sorted(calls)
    assert folder_names(tmp_path) == []
    assert threading.active_count() == before


SLOW = """
import sys, time

class Slow:
    def __init__(self, level): pass
    def compress(self, pages):
        sys.stdout.write("ready\\n")  # at once, unlike print's, on any thread
        sys.stdout.flush()
        time.sleep(0.02)
        return b""

    decompress = None
"""
INTERRUPTED = """
import sys
from migcomp.images.open import open_image
from migcomp.outputs import OutputFile
from migcomp.choice import Choice
from migcomp.pipeline import compress

with open_image(sys.argv[1]) as image, OutputFile(sys.argv[2]) as sink:
    compress(image, sink, Choice(handler="slow:Slow", packet_pages=1, threads=2))
"""


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    image, code = tmp_path / "image", tmp_path / "slow.py"
    image.write_bytes(make_pages("noise") * 3000)
    code.write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", INTERRUPTED, image, tmp_path / "out.migc"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout
    # Two threads may write into one line.
    assert process.stdout.readline().startswith(b"ready")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGINT
    assert errors.splitlines()[-1] == b"KeyboardInterrupt"
    assert folder_names(tmp_path) == ["image", "slow.py"]


# --- Images that change -----------------------------------------------------------


class Shrinking:
    """Cuts the image off while it works on it."""

    path = ""

    def __init__(self, level: int) -> None: ...

    def compress(self, pages: memoryview) -> bytes:
        os.truncate(self.path, PAGE)
        return bytes(pages[:9])


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("dedup", [False, True])
def test_an_image_that_shrinks(grouping: str, dedup: bool) -> None:
    data = make_pages(*(("rows", n) for n in range(400)))
    choice = Choice(grouping=grouping, dedup=dedup, packet_pages=4, threads=2)
    with (
        memory_file(data) as path,
        pytest.raises(ImageError, match=r"page \d+: the image became shorter"),
    ):
        run(path, None, choice, lambda *_: os.truncate(path, PAGE))


@pytest.mark.parametrize("dedup", [False, True])
def test_an_image_that_shrinks_under_a_handler(dedup: bool) -> None:
    data = make_pages(*(("rows", n) for n in range(400)))
    choice = Choice(
        handler=f"{__name__}:Shrinking", packet_pages=4, threads=1, dedup=dedup
    )
    with memory_file(data) as path:
        Shrinking.path = path
        with pytest.raises(ImageError, match="the image became shorter"):
            run(path, None, choice)


def test_an_image_that_shrinks_before_its_pages_are_compared() -> None:
    data = make_pages(*[("rows", 1)] * 8)
    handler = _core.compressor(open_codec("none").library, page_size=PAGE, pages_max=8)
    with (
        memory_file(data) as path,
        open_image(path) as image,
        ThreadedWorkqueue("shrink", 1, 1, handler=handler) as queue,
    ):
        pages = image.page_map
        assert pages is not None
        request = queue.get_request()
        request.load(pages, 0, 8, 1, 0)
        queue.submit_request(request)
        request = queue.collect_request()
        os.truncate(path, 0)
        with pytest.raises(PageError, match="the image became shorter") as caught:
            _core.DedupTable().resolve(request, pages)
        assert caught.value.of_input


def test_an_image_that_grows() -> None:
    with memory_file(DATA[:-100]) as path, open_image(path, pad=True) as image:
        os.truncate(path, len(DATA) + PAGE)
        with pytest.raises(ImageError, match="do not change it while it is read"):
            compress(image, None, Choice())


# --- What is not read, and what is not kept ----------------------------------------


class Claims:
    """An image whose memory is not what it says of its holes."""

    path, format, page_size, fd, pad = "claims", "claims", PAGE, -1, False
    taken = b""
    facts: Mapping[str, object] = {}

    def __init__(self, data: bytes, holes: set[int]) -> None:
        self.pages = len(data) // PAGE
        self.blocks = (Block("ram", len(data), 0),)
        self.page_map = _core.PageMap(data, [(0, self.pages, 0)], PAGE, False)
        self._holes = holes

    def runs(self, block: int) -> Iterator[Run]:
        for page in range(self.pages):
            yield Run(page, 1, page in self._holes)

    def read(self, first_page: int, pages: int) -> bytes:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("dedup", [False, True])
@pytest.mark.parametrize("handler", ["", "tests.cli.codec_of_ours:Codec"])
def test_holes_are_not_looked_at(grouping: str, dedup: bool, handler: str) -> None:
    if handler and grouping == "stream":
        pytest.skip("a handler has no history")
    holes = {0, 3, 4, 5, *range(8, 33), 47, 59}
    data = make_pages(*(("rows", n % 20) for n in range(60)))
    sink = BytesIO()
    choice = Choice(
        grouping=grouping, dedup=dedup, handler=handler, packet_pages=4, threads=2
    )
    result = compress(Claims(data, holes), sink, choice)
    assert result.pages.zero == len(holes)
    expected = bytearray(data)
    for page in holes:
        expected[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
    assert restored(sink.getvalue(), handler=handler) == expected


def anonymous_bytes() -> int:
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return int(rollup.partition("Anonymous:")[2].split()[0]) << 10


def peaks(path: Path, choice: Choice) -> tuple[int, int]:
    """Most anonymous memory, and most memory of Python objects, during a run."""
    most = 0

    def watch(pages: int, written: int) -> None:
        nonlocal most
        most = max(most, anonymous_bytes())

    tracemalloc.start()
    run(path, None, choice, watch)
    _, python = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most, python


@pytest.mark.parametrize(
    ("grouping", "dedup"), [("page", False), ("packet", True), ("stream", False)]
)
def test_memory_does_not_grow_with_the_image(
    tmp_path: Path, grouping: str, dedup: bool
) -> None:
    """Sixteen times the data and the address space."""
    stretch = make_pages(*KINDS[1:] * 32) * 2
    sizes = {}
    for name, size in (("small", 16), ("large", 256)):
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(size * MIB)
            for at in range(0, size, 2):
                file.seek(at * MIB)
                file.write(stretch)
        choice = Choice(
            "none" if grouping == "packet" else "lz4",
            grouping=grouping,
            dedup=dedup,
            threads=2,
        )
        sizes[name] = peaks(path, choice)
        path.unlink()
    table = 16 * MIB if dedup else 0
    assert sizes["large"][0] - sizes["small"][0] < 6 * MIB + table
    assert sizes["large"][1] - sizes["small"][1] < MIB


def test_progress_tells_how_far_it_came() -> None:
    seen: list[tuple[int, int]] = []
    sink = BytesIO()
    with memory_file(DATA) as path:
        run(path, sink, Choice(packet_pages=8), lambda *now: seen.append(now))
    assert seen == sorted(seen)
    assert seen[-1][0] == len(DATA) // PAGE
    assert seen[-1][1] <= len(sink.getvalue())


def test_the_queue_was_used() -> None:
    _, result = compressed(DATA, Choice(packet_pages=4, threads=3))
    assert sum(w.requests for w in result.workers) == result.queue.submitted > 30
    assert len(result.workers) == 3
    assert result.request_times.p50 <= result.request_times.most
    assert result.request_times.most > 0


def test_progress_of_holes() -> None:
    told: list[int] = []
    with memory_file(size=64 << 20) as path, open_image(path) as image:
        result = compress(
            image, None, Choice(), progress=lambda pages, size: told.append(pages)
        )
    assert result.pages.zero == told[-1] == (64 << 20) // PAGE
