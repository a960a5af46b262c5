# SPDX-License-Identifier: LGPL-2.1-or-later
"""Restoring to anything that can be written, and comparing with an image."""

from __future__ import annotations

import errno
import os
import threading
from io import BytesIO, FileIO
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, setrlimit
from typing import BinaryIO, cast

import pytest

from migcomp._core import xxh64
from migcomp.choice import Choice
from migcomp.codecs import GROUPINGS
from migcomp.errors import CodecUnavailable, Mismatch, StreamError, WorkerError
from migcomp.images.open import open_image
from migcomp.outputs import OutputFile
from migcomp.pipeline import compress
from migcomp.restore import restore, verify
from migcomp.stream.reader import StreamReader, open_stream
from migcomp.targets import SparseFile
from tests.conftest import (
    PAGE,
    await_threads,
    compressed,
    make_pages,
    memory_file,
    restored,
    threads_now,
)
from tests.sinks import Sink
from tests.small_streams import COUNT, DATA, sound
from tests.stream_anatomy import dissect

# --- Targets ------------------------------------------------------------------------


def test_zero_pages_become_holes(tmp_path: Path) -> None:
    data = bytes(8 << 20) + make_pages("noise") + bytes(8 << 20)
    stream, _ = compressed(data, Choice())
    path = tmp_path / "image"
    with (
        memory_file(stream) as source,
        open_stream(source) as reader,
        OutputFile(str(path)) as file,
    ):
        restore(reader, file)
    assert path.read_bytes() == data
    assert path.stat().st_blocks * 512 <= 1 << 20


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("dedup", [False, True])
def test_any_number_of_threads(grouping: str, dedup: bool) -> None:
    for threads, requests in ((1, 1), (2, 4), (5, 1), (3, 8)):
        image = restored(
            sound(grouping, dedup), threads=threads, requests_per_thread=requests
        )
        assert image == DATA


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("dedup", [False, True])
def test_from_a_pipe_to_a_pipe(grouping: str, dedup: bool) -> None:
    ends = [os.pipe(), os.pipe()]
    stream = sound(grouping, dedup)

    def send() -> None:
        for at in range(0, len(stream), 77):
            os.write(ends[0][1], stream[at : at + 77])
        os.close(ends[0][1])

    received: list[bytes] = []

    def receive() -> None:
        with FileIO(ends[1][0]) as file:
            received.append(file.readall())

    threads = [threading.Thread(target=work) for work in (send, receive)]
    for thread in threads:
        thread.start()
    with (
        open_stream(f"/proc/self/fd/{ends[0][0]}") as reader,
        FileIO(ends[1][1], "w") as target,
    ):
        result, _ = restore(reader, target)
    for thread in threads:
        thread.join()
    os.close(ends[0][0])
    assert received == [DATA]
    assert result.stream_bytes == len(stream)


@pytest.mark.parametrize("tail", [1, 100, PAGE - 1])
@pytest.mark.parametrize("last", ["zero", "noise", "spot"])
def test_a_padded_end_is_cut_off_again(tail: int, last: str) -> None:
    data = make_pages("text", "zero", last)[: 2 * PAGE + tail]
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    sink = BytesIO()
    with open_image(f"/proc/self/fd/{reading}", pad=True) as image:
        compress(image, sink, Choice(packet_pages=2))
    os.close(reading)
    assert restored(sink.getvalue()) == data
    with memory_file(sink.getvalue()) as path, open_stream(path) as reader:
        target = BytesIO()
        restore(reader, target)
    assert target.getvalue() == data


@pytest.mark.parametrize("dedup", [False, True])
def test_a_target_that_takes_little_at_a_time(dedup: bool) -> None:
    with memory_file(sound(dedup=dedup)) as path, open_stream(path) as reader:
        sink = Sink(999)
        restore(reader, cast(BinaryIO, sink))
    assert sink.data == DATA


@pytest.mark.parametrize("room", [0, 5000, 20000])
def test_a_full_target(room: int) -> None:
    before = threads_now()
    with memory_file(sound()) as path, open_stream(path) as reader:
        sink = Sink(999, room)
        with pytest.raises(OSError, match="No space left") as caught:
            restore(reader, cast(BinaryIO, sink))
    assert caught.value.errno == errno.ENOSPC
    # Though the exception still holds what its frames refer to.
    await_threads(before)


@pytest.mark.parametrize("room", [0, PAGE, 3 * PAGE + 1])
@pytest.mark.parametrize("dedup", [False, True])
def test_a_full_file(dedup: bool, room: int, tmp_path: Path) -> None:
    """Workers write it, and the submitter what is deduplicated."""
    before = threads_now()
    data = make_pages(("spot", 1), "noise") + make_pages(("spot", 1), "zero") * 3
    stream, _ = compressed(data, Choice(packet_pages=2, dedup=dedup))
    with (
        memory_file(stream) as path,
        open_stream(path) as reader,
        FileIO(tmp_path / "image", "wb+") as target,
    ):
        setrlimit(RLIMIT_FSIZE, (room, RLIM_INFINITY))
        try:
            with pytest.raises(OSError, match="File too large"):
                restore(reader, target)
        finally:
            setrlimit(RLIMIT_FSIZE, (RLIM_INFINITY, RLIM_INFINITY))
    await_threads(before)


def test_a_closed_pipe() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (
        memory_file(sound()) as path,
        open_stream(path) as reader,
        FileIO(writing, "w") as target,
        pytest.raises(BrokenPipeError),
    ):
        restore(reader, target)


@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize("work", ["restore", "run"])
def test_a_pipe_that_does_not_block(work: str, buffered: bool) -> None:
    """Whoever else holds it may have made it so."""
    data = make_pages(*(("noise", n) for n in range(64)))
    stream, _ = compressed(data, Choice("none"))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    received: list[bytes] = []

    def receive() -> None:
        with FileIO(reading) as file:
            received.append(file.readall())

    thread = threading.Thread(target=receive)
    with open(writing, "wb", buffering=-1 if buffered else 0) as target:  # noqa: PTH123
        # Full at once, since nobody reads yet.
        threading.Timer(0.2, thread.start).start()
        if work == "run":
            with memory_file(data) as path, open_image(path) as image:
                compress(image, target, Choice("none"))
        else:
            with memory_file(stream) as path, open_stream(path) as reader:
                restore(reader, target)
        assert not os.get_blocking(writing)
    thread.join()
    assert received == [stream if work == "run" else data]


def test_a_page_that_cannot_be_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk is not the stream's."""
    data = make_pages("text", "zero", "text", "zero")
    stream, _ = compressed(data, Choice(packet_pages=2, dedup=True))
    with memory_file() as path:
        unreadable = os.open(path, os.O_WRONLY)

        def target_of(file: BinaryIO) -> SparseFile:
            target = SparseFile(file)
            target.fd = unreadable
            return target

        monkeypatch.setattr("migcomp.restore.SparseFile", target_of)
        with pytest.raises(OSError, match="Bad file descriptor"):
            restored(stream)
        os.close(unreadable)


# --- Verifying ----------------------------------------------------------------------


@pytest.mark.parametrize("dedup", [False, True])
def test_another_image(dedup: bool) -> None:
    def check(data: bytes, page_size: int = PAGE) -> None:
        with (
            memory_file(sound(dedup=dedup)) as path,
            memory_file(data) as original,
            open_stream(path) as reader,
            open_image(original, page_size=page_size) as image,
        ):
            verify(reader, image)

    check(DATA)
    for page in range(COUNT):
        changed = bytearray(DATA)
        changed[page * PAGE + 7] ^= 1
        with pytest.raises(Mismatch, match=f"in page {page}$"):
            check(bytes(changed))
    with pytest.raises(Mismatch, match="in page 14"):
        check(DATA[:-PAGE])
    with pytest.raises(Mismatch, match=f"and .* has {len(DATA) + PAGE}"):
        check(DATA + bytes(PAGE))
    with pytest.raises(Mismatch, match="with the same page size"):
        check(DATA + bytes(PAGE), page_size=8192)


# --- Handlers ------------------------------------------------------------------------


def test_a_handler_is_named_by_the_user_only() -> None:
    handler = "tests.cli.codec_of_ours:Codec"
    stream, _ = compressed(DATA, Choice(handler=handler))
    for other in ("", "tests.cli.codec_of_ours:Broken"):
        with pytest.raises(CodecUnavailable, match=f"if you trust it.*{handler}"):
            restored(stream, handler=other)
    assert restored(stream, handler=handler) == DATA


class Half:
    """Gives back half of what it should."""

    def __init__(self, level: int) -> None: ...

    def compress(self, pages: memoryview) -> bytes:
        return bytes(pages[:7])

    def decompress(self, data: memoryview, size: int) -> bytes:
        return bytes(size // 2)


def test_a_handler_that_gives_too_little() -> None:
    handler = f"{__name__}:Half"
    stream, _ = compressed(make_pages("spot"), Choice(handler=handler))
    with pytest.raises(WorkerError, match=r"page 0: 2048 bytes where 4096 were"):
        restored(stream, handler=handler)


def test_a_reader_says_how_far_it_came() -> None:
    stream = bytearray(sound())
    hit = dissect(bytes(stream)).data[2]
    stream[hit.offset + 3] ^= 1
    with memory_file(bytes(stream)) as path, open_stream(path) as reader:
        assert isinstance(reader, StreamReader)
        where = rf"at byte {hit.offset}, after page {hit.first_page} of {COUNT}"
        with pytest.raises(StreamError, match=where):
            verify(reader)


def test_xxh64_is_xxh64() -> None:
    # Of the specification's test vectors, and one of each way through the code.
    assert xxh64(b"") == 0xEF46DB3751D8E999
    assert xxh64(b"a") == 0xD24EC4F1A98C6E5B
    assert xxh64(b"abc") == 0x44BC2CF5AD770999
    long = b"Nobody inspects the spammish repetition"
    assert xxh64(long) == 0xFBCEA83C8A378BF1


def test_no_request_is_busy_twice() -> None:
    """A channel's thread may be asked again and again for one request."""
    choice = Choice(grouping="stream", channels=2, packet_pages=1)
    stream, _ = compressed(make_pages("rows", "text") * 100, choice)
    with memory_file(stream) as source, open_stream(source) as reader:
        queue = verify(reader, threads=2, requests_per_thread=1).queue
    assert 0 < queue.busy <= queue.requests == 200
