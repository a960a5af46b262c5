# SPDX-License-Identifier: LGPL-2.1-or-later
"""PageRequest: what it does, and what it refuses."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from migcomp import ThreadedWorkqueue, _core
from migcomp.codecs import open_codec
from migcomp.errors import PageError
from tests.core_tools import PAGE, a_map, a_queue, noise, text

ZERO, SAME, DEDUPLICATED, NORMAL, COMPRESSED = range(5)
WHOLE, CLASSIFY, COMPRESS, FRAME = range(4)
PACKET = 1


@pytest.fixture
def packing() -> Iterator[_core.PageRequest]:
    """A reserved request of a compressing queue."""
    with a_queue() as queue:
        yield queue.get_request()


@pytest.fixture
def unpacking() -> Iterator[_core.PageRequest]:
    with a_queue(kind=_core.decompressor) as queue:
        yield queue.get_request()


def test_a_request_classifies_and_compresses() -> None:
    content = bytes(PAGE) + b"12345678" * 512 + noise(1) + text(1)
    with a_queue() as queue:
        request = queue.get_request()
        request.load(a_map(content), 0, 4, WHOLE, 0, b"\0\0\0\0")
        queue.submit_request(request)
        assert queue.collect_request() is request
        assert list(request.classes) == [ZERO, SAME, NORMAL, COMPRESSED]
        assert request.counts == (1, 1, 0, 1, 1)
        assert (request.first_page, request.pages) == (0, 4)
        pattern, size = struct.unpack("<8sH", request.details)
        assert pattern == b"12345678"
        assert request.data_size == PAGE + size == len(memoryview(request))
        assert memoryview(request)[:PAGE] == noise(1)
        hashes = [_core.xxh64(content[i : i + PAGE]) for i in range(0, 4 * PAGE, PAGE)]
        items = [item for page in (1, 2, 3) for item in (page, hashes[page])]
        assert list(struct.unpack("<6Q", request.hashes)) == items
        assert request.elapsed_ns > 0


def test_many_pages_have_their_hashes() -> None:
    """Whether they are hashed together or, as the last few, one by one."""
    pages = [
        bytes(PAGE) if n % 5 == 1 else noise(1, n) if n % 3 else text(2)[n : n + PAGE]
        for n in range(30)
    ]
    content = b"".join(pages)
    items = [x for n in range(30) if n % 5 != 1 for x in (n, _core.xxh64(pages[n]))]
    with a_queue(pages_max=30) as queue:
        request = queue.get_request()
        request.load(a_map(content), 0, 30, WHOLE, 0)
        queue.submit_request(request)
        assert queue.collect_request() is request
        assert list(struct.unpack("<48Q", request.hashes)) == items
        body = request.classes + request.details + bytes(memoryview(request))
    with a_queue(pages_max=30, kind=_core.decompressor) as queue:
        request = queue.get_request()
        request.load_record(body, 0, 30, 0, _core.xxh64(body), False)
        queue.submit_request(request)
        assert queue.collect_request() is request
        assert list(struct.unpack("<48Q", request.hashes)) == items


@pytest.mark.parametrize("codec", ["zstd", "zlib", "lz4"])
def test_a_frame_has_all_pages(codec: str) -> None:
    """Zero pages too, and also where it does not shrink them."""
    for content in (bytes(PAGE) + text(2) + noise(1), noise(3)):
        pages = len(content) // PAGE
        with a_queue(codec, grouping=PACKET) as queue:
            request = queue.get_request()
            request.load(a_map(content), 0, pages, FRAME, 0)
            queue.submit_request(request)
            assert queue.collect_request() is request
            assert request.counts == (0, 0, 0, 0, pages)
            assert request.frame_hash == _core.xxh64(content)
            frame = bytes(request)
        if codec == "zstd":
            assert zstandard.ZstdDecompressor().decompress(frame) == content
        if codec == "zlib":
            assert zlib.decompress(frame) == content


def test_what_makes_no_frame() -> None:
    for codec, grouping, holes in (
        ("none", PACKET, None),
        ("zstd", 0, None),
        ("zstd", PACKET, b"\0\1"),
    ):
        with a_queue(codec, grouping=grouping) as queue:
            request = queue.get_request()
            with pytest.raises(ValueError, match="a frame needs a codec, grouping"):
                request.load(a_map(text(2)), 0, 2, FRAME, 0, holes)


def test_holes_are_not_read() -> None:
    with a_queue() as queue:
        request = queue.get_request()
        request.load(a_map(noise(3)), 0, 3, WHOLE, 0, b"\1\0\1")
        queue.submit_request(request)
        queue.collect_request()
        assert list(request.classes) == [ZERO, NORMAL, ZERO]


def test_everything_belongs_to_whoever_holds_the_request() -> None:
    """Nothing of a request can be touched unless it is reserved."""
    queue = a_queue(kind=_core.decompressor)
    request = queue.get_request()
    packing = a_queue()
    other = packing.get_request()

    def uses() -> Iterator[tuple[_core.PageRequest, Any]]:
        for name in ("classes", "hashes", "details", "counts", "first_page", "pages"):
            yield request, lambda name=name: getattr(request, name)
        yield request, lambda: request.data_size
        yield request, lambda: request.elapsed_ns
        yield request, lambda: request.stage
        yield request, lambda: memoryview(request)
        yield request, lambda: request.load_record(b"", 0, 1, 0, 0, False)
        yield request, lambda: request.restore_deduplicated(1)
        yield request, lambda: request.write_deduplicated()
        yield other, lambda: other.load(a_map(noise(1)), 0, 1, WHOLE, 0)
        yield other, lambda: other.read(0, 0, 1, 0)
        yield other, lambda: setattr(other, "stage", WHOLE)
        yield other, lambda: _core.DedupTable().resolve(other, a_map(noise(1)))

    queue.release_request(request)
    packing.release_request(other)
    for _, use in uses():
        with pytest.raises(ValueError, match="released"):
            use()
    queue.destroy()
    packing.destroy()
    for _, use in uses():
        with pytest.raises(ValueError, match="destroyed"):
            use()


def test_a_submitted_request_is_the_workers() -> None:
    with a_queue() as queue:
        request = queue.get_request()
        request.load(a_map(noise(1)), 0, 1, WHOLE, 0)
        queue.submit_request(request)
        with pytest.raises(ValueError, match="submitted"):
            request.load(a_map(noise(1)), 0, 1, WHOLE, 0)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((0, 0, WHOLE, 0), "1 to 8 pages"),
        ((0, 9, WHOLE, 0), "1 to 8 pages"),
        ((0, 2**32 + 1, WHOLE, 0), "out of range"),
        ((0, 5, WHOLE, 0), "not in the map"),
        ((4, 1, WHOLE, 0), "not in the map"),
        ((2**64 - 1, 2, WHOLE, 0), "not in the map"),
        ((2**64, 1, WHOLE, 0), "out of range"),
        ((-1, 1, WHOLE, 0), "out of range"),
        ((0, 1, FRAME + 1, 0), "stage"),
        ((0, 1, FRAME, 0), "a frame needs"),
        ((0, 1, -1, 0), "out of range"),
        ((0, 1, WHOLE, 1), "channel must be 0 to 0"),
        ((0, 2, WHOLE, 0, b"\0"), "byte for each page"),
        ((0, 2, WHOLE, 0, b"\0" * 3), "byte for each page"),
    ],
)
def test_loads_that_do_not_fit(
    packing: _core.PageRequest, arguments: Any, problem: str
) -> None:
    page_map = a_map(noise(4))
    packing.load(page_map, 0, 4, WHOLE, 0)
    with pytest.raises(ValueError, match=problem):
        packing.load(page_map, *arguments)


def test_a_request_whose_load_failed_is_empty() -> None:
    with a_queue() as queue:
        request = queue.get_request()
        with pytest.raises(ValueError, match="not in the map"):
            request.load(a_map(noise(4)), 3, 4, WHOLE, 0)
        queue.submit_request(request)
        assert queue.collect_request().counts == (0, 0, 0, 0, 0)


def test_page_sizes_of_map_and_handler_must_agree(packing: _core.PageRequest) -> None:
    wide = _core.PageMap(bytes(65536), [(0, 1, 0)], 65536, False)
    with pytest.raises(ValueError, match="65536 bytes, the handler's 4096"):
        packing.load(wide, 0, 1, WHOLE, 0)
    packing.load(a_map(noise(4)), 0, 4, WHOLE, 0)
    with pytest.raises(ValueError, match="65536 bytes, the handler's 4096"):
        _core.DedupTable().resolve(packing, wide)


def test_each_kind_of_request_has_its_own_methods(
    packing: _core.PageRequest, unpacking: _core.PageRequest
) -> None:
    """A record shorter than its pages would be read beyond its end."""
    with pytest.raises(ValueError, match="not for requests that compress"):
        packing.load_record(b"short", 0, 8, 0, 0, False)
    with pytest.raises(ValueError, match="not for requests that compress"):
        packing.write_deduplicated()
    with pytest.raises(ValueError, match="not for requests that decompress"):
        unpacking.load(a_map(noise(1)), 0, 1, WHOLE, 0)
    with pytest.raises(ValueError, match="not for requests that decompress"):
        unpacking.read(0, 0, 1, 0)


def test_stages(packing: _core.PageRequest) -> None:
    packing.stage = COMPRESS
    for stage in (3, -1, 2**32):
        with pytest.raises(ValueError, match=r"stage|out of range"):
            packing.stage = stage
    with pytest.raises(TypeError):
        packing.stage = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="stage"):
        del packing.stage
    assert packing.stage == COMPRESS


def test_stages_know_no_previous_versions() -> None:
    """They would compress against what the thread had last."""
    with a_queue("zstd", grouping=PACKET, deltas=True) as queue:
        request = queue.get_request()
        request.load(a_map(text(2)), 0, 2, WHOLE, 0, None, a_map(noise(2)))
        for stage in (CLASSIFY, COMPRESS):
            with pytest.raises(ValueError, match="no such stage"):
                request.stage = stage
        request.stage = WHOLE
        queue.submit_request(request)
        queue.collect_request()


def test_a_channel_has_one_thread() -> None:
    """Two of them would use its compressor at once."""
    library = open_codec("zlib", grouping="stream").library
    job: dict[str, Any] = {"page_size": PAGE, "pages_max": 1, "channels": 3}
    with ThreadedWorkqueue(
        "x", 2, 1, handler=_core.compressor(library, level=1, grouping=2, **job)
    ) as queue:
        first, second = (queue.get_request(thread=thread) for thread in (0, 1))
        for request, others in ((first, (1,)), (second, (0, 2))):
            for channel in others:
                with pytest.raises(ValueError, match=f"{channel} needs a request of"):
                    request.load(a_map(noise(1)), 0, 1, WHOLE, channel)
        first.load(a_map(noise(1)), 0, 1, WHOLE, 2)
        second.load(a_map(noise(1)), 0, 1, WHOLE, 1)


def test_numbers_that_run_code_cannot_pull_the_request_away() -> None:
    queue = a_queue(kind=_core.decompressor)
    request = queue.get_request()

    class Destroyer:
        def __index__(self) -> int:
            queue.destroy()
            return 1

        fileno = __index__

    with pytest.raises(ValueError, match="destroyed"):
        request.restore_deduplicated(Destroyer())
    queue = a_queue()
    request = queue.get_request()
    with pytest.raises(ValueError, match="destroyed"):
        request.stage = Destroyer()


def test_reading_from_a_file(packing: _core.PageRequest, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(noise(3)[: 2 * PAGE + 10])
    with path.open("rb") as file:
        assert packing.read(file.fileno(), 7, 8, 0) == 2 * PAGE + 10
        assert (packing.first_page, packing.pages) == (7, 3)
        assert packing.read(file.fileno(), 10, 8, 0) == 0
        assert packing.pages == 0
    with pytest.raises(OSError, match="descriptor"):
        packing.read(2**20, 0, 1, 0)


# --- Records ---


def test_pages_that_no_file_is_long_enough_for(tmp_path: Path) -> None:
    with a_queue() as queue, (tmp_path / "pages").open("wb") as file:
        request = queue.get_request()
        request.load(a_map(bytes(PAGE) + noise(1)), 0, 2, WHOLE, 0)
        queue.submit_request(request)
        queue.collect_request()
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            request.write_pages(file.fileno(), 2**63 - 1)


def test_a_queue_that_goes_while_its_pages_are_looked_at(tmp_path: Path) -> None:
    path, raised = tmp_path / "image", []
    path.write_bytes(noise(1024))
    with path.open("r+b") as file:
        image = mmap.mmap(file.fileno(), 0)
        queue = a_queue("none", 1024)
        request = queue.get_request()
        request.load(_core.PageMap(image, [(0, 1024, 0)], PAGE, True), 1, 1023, 1, 0)
        queue.submit_request(request)
        queue.collect_request()
        file.truncate(1023 * PAGE)

    def look() -> None:
        try:
            request.entropies()
        except PageError as error:
            raised.append(error.page)
        except ValueError:  # it went before
            raised.append(1)

    thread = threading.Thread(target=look)
    thread.start()
    del queue
    thread.join()
    assert raised == [1]
