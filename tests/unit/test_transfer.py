# SPDX-License-Identifier: LGPL-2.1-or-later
"""The handler that compresses pages and decompresses them again."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from migcomp import _core
from migcomp.codecs import Codec, open_codec
from migcomp.errors import WorkerError
from migcomp.precopy.courier import Carried, Courier, cut
from migcomp.precopy.memory import GuestMemory, runs
from tests.conftest import PAGE, make_page
from tests.core_tools import a_map, a_queue, noise, text
from tests.precopy_tools import empty_memory, guest_memory

WAYS = [
    ("none", "page"),
    ("none", "packet"),
    ("zlib", "page"),
    ("zlib", "stream"),
    ("zstd", "page"),
    ("zstd", "packet"),
    ("zstd", "stream"),
    ("lz4", "page"),
    ("lz4", "packet"),
]


def carried(
    source: GuestMemory,
    destination: GuestMemory,
    codec: str,
    grouping: str,
    *,
    pages: Sequence[int] | None = None,
    deltas: bool = False,
) -> list[Carried]:
    with Courier(
        open_codec(codec, grouping=grouping), grouping, PAGE, 16, 3, deltas=deltas
    ) as courier:
        groups = (
            (group, number % 3)
            for number, group in enumerate(cut(pages or range(source.pages), 16))
        )
        return [*courier.carry(source, destination, groups)]


@pytest.mark.parametrize(("codec", "grouping"), WAYS)
def test_pages_arrive(codec: str, grouping: str) -> None:
    with guest_memory(256) as source, empty_memory(source) as destination:
        groups = carried(source, destination, codec, grouping)
        assert source.first_difference(destination) is None
        assert [page for group in groups for page in group.pages] == [*range(256)]
        assert sum(group.zero for group in groups) == 64
        assert sum(group.content for group in groups) == 192
        assert all(bool(group.size) == bool(group.content) for group in groups)


@pytest.mark.parametrize(("codec", "grouping"), WAYS)
def test_only_the_pages_asked_for(codec: str, grouping: str) -> None:
    wanted = [*range(3, 40), 77, 78, 200, 255]
    with guest_memory(256) as source, empty_memory(source) as destination:
        carried(source, destination, codec, grouping, pages=wanted)
        for page in range(256):
            expected = source.read(page) if page in wanted else bytes(PAGE)
            assert destination.read(page) == expected


def test_what_was_there_becomes_zero() -> None:
    with guest_memory(64) as source, empty_memory(source) as destination:
        for page in range(64):
            destination.write(page, make_page("noise", page))
        carried(source, destination, "zstd", "packet")
        assert source.first_difference(destination) is None


def test_sizes_are_those_of_deflate() -> None:
    """Of every page, also those that do not shrink: as QEMU's compress sends them."""
    with guest_memory(64) as source, empty_memory(source) as destination:
        libz = Codec("zlib", 1, open_codec("zlib", level=1, grouping="stream").library)
        if libz.library.version != zlib.ZLIB_RUNTIME_VERSION:
            pytest.skip("Python has another zlib")
        with Courier(libz, "page", PAGE, 64) as courier:
            (group,) = courier.carry(source, destination, [(range(64), 0)])
        for page, size in zip(group.pages, group.sizes, strict=True):
            content = source.read(page)
            assert size == (len(zlib.compress(content, 1)) if any(content) else 0)
        assert max(group.sizes) > PAGE


def test_a_block_of_several_pages_is_the_first_ones() -> None:
    with guest_memory(16) as source, empty_memory(source) as destination:
        (group,) = carried(source, destination, "zstd", "packet")
        assert [*map(bool, group.sizes)] == [False] * 8 + [True] + [False] * 7


def test_deltas() -> None:
    with guest_memory(64) as source, empty_memory(source) as destination:
        carried(source, destination, "zstd", "page")
        source.buffer[20 * PAGE + 7 : 20 * PAGE + 11] = b"abcd"  # noise
        source.write(40, bytes(PAGE))
        groups = carried(source, destination, "zstd", "page", deltas=True)
        assert source.first_difference(destination) is None
        assert sum(group.unchanged for group in groups) == 62
        assert sum(group.zero for group in groups) == 1
        assert 0 < sum(group.size for group in groups) < 100


class _Failing:
    def __init__(self, _level: int) -> None: ...

    def compress(self, pages: memoryview) -> bytes:
        return bytes(pages[:8])

    def decompress(self, data: bytes, size: int) -> bytes:
        raise ValueError("cannot be read")


def test_a_decoder_that_fails_ends_it() -> None:
    library = _core.python_library("mine", "python", "", "mine", _Failing)
    with (
        guest_memory(64) as source,
        empty_memory(source) as destination,
        Courier(Codec("mine", 1, library), "page", PAGE, 16) as courier,
        pytest.raises(WorkerError, match="mine level 1 failed on a page of a guest"),
    ):
        list(courier.carry(source, destination, [(range(64)[8:24], 0)]))


def test_what_is_of_other_handlers_is_refused() -> None:
    library = open_codec("zstd").library
    for wrong in ({"salvage": True}, {"dedup": True}, {"output_fd": 1}):
        with pytest.raises(TypeError, match="not for a handler that transfers"):
            _core.transfer(library, page_size=PAGE, pages_max=1, **wrong)


def test_neither_stages_nor_holes() -> None:
    with a_queue("zstd", kind=_core.transfer) as queue:
        request = queue.get_request()
        with pytest.raises(ValueError, match="takes no holes"):
            request.load(a_map(noise(1)), 0, 1, 0, 0, b"\1")
        with pytest.raises(ValueError, match="no such stage"):
            request.load(a_map(noise(1)), 0, 1, 1, 0)
        with pytest.raises(ValueError, match="no such stage"):
            request.stage = 2


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_requests_without_pages_read_and_again(codec: str, tmp_path: Path) -> None:
    content = text(2) + noise(1)
    (tmp_path / "pages").write_bytes(content)
    with (
        a_queue(codec, kind=_core.transfer) as queue,
        (tmp_path / "pages").open("rb") as file,
    ):
        request = queue.get_request()
        queue.submit_request(request)
        assert queue.collect_request().counts == (0, 0, 0, 0, 0)
        assert request.read(file.fileno(), 0, 3, 0) == 3 * PAGE
        for _ in range(2):
            queue.submit_request(request)
            assert queue.collect_request() is request
            assert bytes(memoryview(request)) == content
            assert sum(request.counts) == 3


def test_runs() -> None:
    assert [*runs([])] == []
    assert [*runs(range(3, 7))] == [(3, 4)]
    assert [*runs([1, 2, 4, 9, 10])] == [(1, 2), (4, 1), (9, 2)]
