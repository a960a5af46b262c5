# SPDX-License-Identifier: LGPL-2.1-or-later
"""The core's types by themselves: hashes, page maps, deduplication."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migcomp import ThreadedWorkqueue, _core
from migcomp.codecs import open_codec
from migcomp.errors import WorkqueueError
from tests.core_tools import PAGE, a_map, a_queue, noise

ZERO, SAME, DEDUPLICATED, NORMAL, COMPRESSED = range(5)
WHOLE, CLASSIFY, COMPRESS = range(3)


@pytest.fixture
def packing() -> Iterator[_core.PageRequest]:
    """A reserved request of a compressing queue."""
    with a_queue() as queue:
        yield queue.get_request()


# --- xxh64 ---

#: XXH64, seed 0, of the first n bytes of the reference's test buffer.
VECTORS = {
    0: 0xEF46DB3751D8E999,
    1: 0xE934A84ADB052768,
    4: 0x9136A0DCA57457EE,
    14: 0x8282DCC4994E35C8,
    222: 0xB641AE8CB691C174,
}


def reference_buffer(size: int) -> bytes:
    generator, content = 2654435761, bytearray()
    for _ in range(size):
        content.append(generator >> 56)
        generator = generator * 11400714785074694797 % 2**64
    return bytes(content)


@pytest.mark.parametrize("size", VECTORS)
def test_xxh64_of_the_reference_vectors(size: int) -> None:
    assert _core.xxh64(reference_buffer(size)) == VECTORS[size]


def test_xxh64_of_known_strings() -> None:
    assert _core.xxh64(b"a") == 0xD24EC4F1A98C6E5B
    assert _core.xxh64(b"abc") == 0x44BC2CF5AD770999
    assert _core.xxh64(b"Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1


def test_xxh64_in_pieces() -> None:
    content = noise(1)[:1000]
    for cut in range(0, 1000, 7):
        pieces = _core.Xxh64()
        pieces.update(content[:cut])
        pieces.intdigest()
        pieces.update(memoryview(content)[cut:])
        assert pieces.intdigest() == _core.xxh64(content)


def test_xxh64_agrees_with_the_package() -> None:
    xxhash = pytest.importorskip("xxhash")
    content = noise(1)
    for size in [*range(100), 1000, PAGE]:
        assert _core.xxh64(content[:size]) == xxhash.xxh64_intdigest(content[:size])


def test_xxh64_refuses_what_is_no_buffer() -> None:
    for call in (_core.xxh64, _core.Xxh64().update):
        with pytest.raises(TypeError):
            call("text")  # type: ignore[arg-type]
        with pytest.raises(BufferError):
            call(memoryview(bytes(16))[::2])
    with pytest.raises(TypeError):
        _core.Xxh64(1)  # type: ignore[call-arg]


# --- PageMap ---


@pytest.mark.parametrize(
    "extents",
    [
        [(0, 5, 0)],
        [(0, 1, 4 * PAGE)],
        [(0, 1, 3 * PAGE + 1)],
        [(0, 2, 0), (1, 1, 0)],
        [(2, 1, 0), (0, 1, 0)],
        [(0, 2**52, 0)],
        [(0, 1, 2**64 - PAGE)],
        [(2**64 - 1, 1, 0)],
        [(0, 2**64 - 1, 0)],
        [(-1, 1, 0)],
        [(0, 2**64 + 1, 0)],
    ],
)
def test_extents_must_fit(extents: list[tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match=r"extents|out of range"):
        _core.PageMap(bytes(4 * PAGE), extents, PAGE, False)


@pytest.mark.parametrize("extent", [1, [0, 1, 0], (0, 1), (0, 1, "0"), (0, 1, 0.0)])
def test_extents_must_be_triples(extent: Any) -> None:
    with pytest.raises(TypeError):
        _core.PageMap(bytes(PAGE), [extent], PAGE, False)


def test_extents_that_change_while_they_are_read() -> None:
    extents: list[tuple[Any, ...]] = []

    class Number:
        def __index__(self) -> int:
            extents.clear()
            return 0

    extents += [(Number(), 1, 0), (1, 1, 0)]
    _core.PageMap(bytes(PAGE), extents, PAGE, False)


def test_pages_in_several_buffers() -> None:
    first, second = b"a" * PAGE + b"b" * PAGE, bytearray(b"-" + b"c" * PAGE)
    extents = [(0, 1, PAGE), (2, 1, 2 * PAGE + 1), (3, 1, 0)]
    page_map = _core.PageMap((first, second), extents, PAGE, False)
    assert page_map.read(0, 4) == b"b" * PAGE + bytes(PAGE) + b"c" * PAGE + b"a" * PAGE
    assert [page_map.run(0, 4), page_map.run(1, 4), page_map.run(2, 4)] == [
        (1, False),
        (1, True),
        (2, False),
    ]
    with pytest.raises(BufferError):
        second.clear()
    del page_map
    second.clear()


@pytest.mark.parametrize("extent", [(0, 1, 1), (0, 1, PAGE + 1), (0, 1, 2 * PAGE)])
def test_extents_must_fit_one_buffer(extent: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="extents"):
        _core.PageMap((bytes(PAGE), bytes(PAGE)), [extent], PAGE, False)
    with pytest.raises(ValueError, match="extents"):
        _core.PageMap((), [extent], PAGE, False)
    with pytest.raises(TypeError):
        _core.PageMap((bytes(PAGE), "text"), [], PAGE, False)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 2048, 4097, 131072, 2**32 + 4096, -4096])
def test_page_sizes(size: int) -> None:
    with pytest.raises(ValueError, match=r"power of two|out of range"):
        _core.PageMap(bytes(4), [], size, False)
    with pytest.raises(ValueError, match=r"power of two|out of range"):
        _core.compressor(open_codec("none").library, page_size=size, pages_max=1)


def test_a_map_keeps_its_buffer() -> None:
    content = bytearray(PAGE)
    page_map = a_map(content)
    with pytest.raises(BufferError):
        content.append(0)
    del page_map
    content.append(0)


# --- Handlers ---


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        ({"pages_max": 0}, "1 page to 4096 KiB"),
        ({"pages_max": 1025}, "1 page to 4096 KiB"),
        ({"pages_max": 2**32 + 1}, "out of range"),
        ({"grouping": 3}, "grouping"),
        ({"grouping": -1}, "grouping"),
        ({"grouping": 2}, "channels"),
        ({"grouping": 2, "channels": 257}, "channels"),
        ({"channels": 257}, "channels"),
        ({"channels": -1}, "out of range"),
        ({"level": 1}, "level must be 0 to 0"),
    ],
)
def test_handlers_check_their_job(job: dict[str, Any], problem: str) -> None:
    library = open_codec("none").library
    with pytest.raises(ValueError, match=problem):
        _core.compressor(library, **{"page_size": PAGE, "pages_max": 1, **job})


def test_stream_needs_a_streaming_library() -> None:
    library = _core.python_library("plain", "python", "1", "", lambda level: None)
    with pytest.raises(ValueError, match="cannot keep history"):
        _core.compressor(library, page_size=PAGE, pages_max=1, grouping=2, channels=1)


# --- Deduplication ---


def classify(
    queue: ThreadedWorkqueue, page_map: _core.PageMap, first: int, pages: int
) -> _core.PageRequest:
    request: _core.PageRequest = queue.get_request()
    request.load(page_map, first, pages, CLASSIFY, 0)
    queue.submit_request(request)
    queue.collect_request()
    return request


def test_equal_pages_are_found() -> None:
    content = noise(2) + noise(2) + noise(1, seed=2)
    page_map = a_map(content)
    with a_queue() as queue:
        request = classify(queue, page_map, 0, 5)
        _core.DedupTable().resolve(request, page_map)
        assert list(request.classes) == [
            *(NORMAL, NORMAL, DEDUPLICATED, DEDUPLICATED, NORMAL)
        ]


def test_a_hash_alone_makes_no_pages_equal() -> None:
    """The earlier page changes after it was remembered: its hash still agrees."""
    content = bytearray(noise(1) + noise(1))
    page_map = a_map(content)
    table = _core.DedupTable()
    with a_queue() as queue:
        first = classify(queue, page_map, 0, 1)
        table.resolve(first, page_map)
        second = classify(queue, page_map, 1, 1)
        assert first.hashes[8:] == second.hashes[8:]
        content[10] ^= 1
        table.resolve(second, page_map)
        assert list(second.classes) == [NORMAL]


def test_the_earlier_page_must_be_in_the_map() -> None:
    content = noise(1) + noise(1)
    table = _core.DedupTable()
    with a_queue() as queue:
        whole, rest = (
            a_map(content),
            _core.PageMap(content, [(1, 1, PAGE)], PAGE, False),
        )
        table.resolve(classify(queue, whole, 0, 1), whole)
        second = classify(queue, rest, 1, 1)
        table.resolve(second, rest)
        assert list(second.classes) == [NORMAL]


def test_wrong_arguments_of_resolve(packing: _core.PageRequest) -> None:
    table = _core.DedupTable()
    table.resolve(packing, a_map(b""))
    with pytest.raises(TypeError):
        table.resolve(packing, b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _core.DedupTable(1)  # type: ignore[call-arg]


# --- The stub ---


def test_types_cannot_be_made_by_hand() -> None:
    for kind in (_core.PageRequest, _core.ObjectRequest, _core.Handler, _core.Library):
        with pytest.raises(TypeError, match="cannot create"):
            kind()
    with pytest.raises(TypeError, match="immutable"):
        _core.Library.codec = 1  # type: ignore[assignment]
    assert issubclass(WorkqueueError, Exception)


def test_the_stub_agrees_with_the_module() -> None:
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "migcomp._core"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
