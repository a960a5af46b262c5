# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pages compressed against what the receiver has of them already."""

from __future__ import annotations

import mmap
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp import ThreadedWorkqueue, _core
from migcomp.codecs import Codec, open_codec
from migcomp.errors import CodecUnavailable, PageError
from tests.conftest import PAGE, make_page, make_pages, memory_file
from tests.core_tools import a_map

PAGE_GROUPING, PACKET = 0, 1
ZERO, SAME, _, NORMAL, COMPRESSED, UNCHANGED = range(6)
ROOM = 15  # pages, of which lz4 sees the previous version in a packet

#: Each codec and kind of level, and each grouping.
WAYS = [
    (codec, level, grouping)
    for codec, level in (("zstd", 1), ("zstd", 19), ("lz4", 1), ("lz4", 9))
    for grouping in (PAGE_GROUPING, PACKET)
]


@cache
def bound(codec: str, level: int) -> Codec:
    return open_codec(codec, level=level)


@contextmanager
def queues(
    codec: str, level: int, grouping: int, **job: Any
) -> Iterator[tuple[ThreadedWorkqueue, ThreadedWorkqueue]]:
    """One that compresses, and one that decompresses."""
    library = bound(codec, level).library
    options: dict[str, Any] = {
        "grouping": grouping,
        "page_size": PAGE,
        "pages_max": ROOM,
        "deltas": True,
    } | job
    packing = _core.compressor(library, level=level, **options)
    unpacking = _core.decompressor(library, fill_zeros=True, **options)
    with (
        ThreadedWorkqueue("pack", 1, 1, handler=packing) as pack,
        ThreadedWorkqueue("unpack", 1, 1, handler=unpacking) as unpack,
    ):
        yield pack, unpack


def packed(
    queue: ThreadedWorkqueue, new: _core.PageMap, old: _core.PageMap | None
) -> tuple[bytes, int, bytes]:
    """The record's body, its size without the classes, and those."""
    request: _core.PageRequest = queue.get_request()
    request.load(new, 0, new.pages, 0, 0, None, old)
    queue.submit_request(request)
    assert queue.collect_request() is request
    classes = request.classes
    body = classes + request.details + bytes(memoryview(request))
    assert sum(request.counts) == new.pages - classes.count(UNCHANGED)
    queue.release_request(request)
    return body, len(body) - len(classes), classes


def unpacked(
    queue: ThreadedWorkqueue, body: bytes, pages: int, old: _core.PageMap | None
) -> bytes:
    request: _core.PageRequest = queue.get_request()
    request.load_record(body, 0, pages, 0, _core.xxh64(body), False, old)
    queue.submit_request(request)
    assert queue.collect_request() is request
    content = bytes(memoryview(request))
    queue.release_request(request)
    return content


def class_of(old: bytes, new: bytes) -> set[int]:
    if old == new:
        return {UNCHANGED}
    if not any(new):
        return {ZERO}
    if new[:8] * (PAGE // 8) == new:
        return {SAME}
    return {NORMAL, COMPRESSED}


def split(content: bytes) -> list[bytes]:
    return [content[at : at + PAGE] for at in range(0, len(content), PAGE)]


def changed(page: bytes, rng: Random) -> bytes:
    at = rng.randrange(PAGE - 8)
    return page[:at] + rng.randbytes(rng.randrange(1, 9)) + page[at + 8 :]


@st.composite
def versions(draw: st.DrawFn) -> tuple[bytes, bytes]:
    rng = Random(draw(st.integers(0, 1 << 32)))
    old, new = b"", b""
    for _ in range(draw(st.integers(1, ROOM))):
        kinds = st.sampled_from(["zero", "same", "text", "rows", "noise"])
        page = make_page(draw(kinds), rng.randrange(9))
        change = draw(st.sampled_from(["nothing", "spot", "spot", "other"]))
        old += page
        later = changed(page, rng)[:PAGE] if change == "spot" else page
        later += bytes(PAGE - len(later))
        new += make_page(draw(kinds), rng.randrange(9)) if change == "other" else later
    return old, new


@pytest.mark.parametrize(("codec", "level", "grouping"), WAYS)
def test_round_trips(codec: str, level: int, grouping: int) -> None:
    with queues(codec, level, grouping) as (pack, unpack):

        @settings(deadline=None, max_examples=25)
        @given(versions())
        def check(pages: tuple[bytes, bytes]) -> None:
            old, new = pages
            body, _, classes = packed(pack, a_map(new), a_map(old))
            for kind, before, after in zip(
                classes, split(old), split(new), strict=True
            ):
                assert kind in class_of(before, after)
            assert unpacked(unpack, body, len(classes), a_map(old)) == new
            # The same queue takes pages of which the receiver has nothing.
            alone, _, classes = packed(pack, a_map(new), None)
            assert UNCHANGED not in classes
            assert unpacked(unpack, alone, len(classes), None) == new
            # What came before leaves no trace.
            assert packed(pack, a_map(new), a_map(old))[0] == body

        check()


@pytest.mark.parametrize(("codec", "level", "grouping"), WAYS)
def test_a_small_change_is_small(codec: str, level: int, grouping: int) -> None:
    old = [make_page("noise", n) for n in range(ROOM)]
    new = b"".join(page[:100] + b"changed!" + page[108:] for page in old)
    with queues(codec, level, grouping) as (pack, unpack):
        body, size, classes = packed(pack, a_map(new), a_map(b"".join(old)))
        assert set(classes) == {COMPRESSED}
        assert size < 100 * ROOM
        assert unpacked(unpack, body, ROOM, a_map(b"".join(old))) == new


def test_pages_from_here_and_there() -> None:
    """A round's dirty pages are numbered one after the other in two tables."""
    memory = make_pages(*(("text", n) for n in range(40)))
    there = bytearray(memory)
    for page in (3, 17, 30):
        there[page * PAGE + 5] ^= 1
    dirty = [30, 3, 4, 17]
    entries = b"".join(
        (page * PAGE).to_bytes(8, "little") + _core.STORED_RAW.to_bytes(8, "little")
        for page in dirty
    )
    new, old = (
        _core.PageMap(content, [], PAGE, False, entries=entries)
        for content in (memory, there)
    )
    with queues("zstd", 1, PAGE_GROUPING) as (pack, unpack):
        body, _, classes = packed(pack, new, old)
        assert list(classes) == [COMPRESSED, COMPRESSED, UNCHANGED, COMPRESSED]
        content = unpacked(unpack, body, len(dirty), old)
    assert split(content) == [split(memory)[page] for page in dirty]


def test_unchanged_pages_are_not_written() -> None:
    old = make_pages("text", "rows", "text")
    new = old[:PAGE] + make_page("rows", 5) + old[2 * PAGE :]
    fd = os.memfd_create("target")
    os.truncate(fd, 3 * PAGE)
    try:
        with queues("zstd", 1, PAGE_GROUPING) as (pack, _):
            body, _, _ = packed(pack, a_map(new), a_map(old))
        handler = _core.decompressor(
            bound("zstd", 1).library,
            page_size=PAGE,
            pages_max=3,
            deltas=True,
            output_fd=fd,
        )
        with ThreadedWorkqueue("write", 1, 1, handler=handler) as queue:
            assert unpacked(queue, body, 3, a_map(old)) == new
        assert os.pread(fd, 3 * PAGE, 0) == bytes(PAGE) + new[PAGE:-PAGE] + bytes(PAGE)
    finally:
        os.close(fd)


def test_a_known_hole_is_a_zero_page() -> None:
    with queues("zstd", 1, PACKET) as (pack, _):
        request: _core.PageRequest = pack.get_request()
        pages = a_map(make_pages("text", "text"))
        request.load(pages, 0, 2, 0, 0, b"\1\0", pages)
        pack.submit_request(request)
        pack.collect_request()
        assert list(request.classes) == [ZERO, UNCHANGED]
        assert (request.data_size, request.hashes) == (0, b"")


# --- What is no good ------------------------------------------------------------------


@pytest.mark.parametrize("grouping", [PAGE_GROUPING, PACKET])
@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_another_previous_version(codec: str, grouping: int) -> None:
    """It makes other pages, or an error, and nothing worse."""
    old, new = make_page("noise", 1), make_page("noise", 1)[:-8] + b"another!"
    with queues(codec, 1, grouping) as (pack, unpack):
        body, _, _ = packed(pack, a_map(new), a_map(old))
        assert unpacked(unpack, body, 1, a_map(make_page("noise", 2))) != new
    with queues(codec, 1, grouping) as (_, unpack), pytest.raises(PageError):
        unpacked(unpack, body, 1, None)


def test_an_unchanged_page_needs_a_previous_version() -> None:
    body = bytes([UNCHANGED])
    with queues("zstd", 1, PAGE_GROUPING) as (_, unpack):
        assert unpacked(unpack, body, 1, a_map(make_page("text"))) == make_page("text")
        with pytest.raises(PageError, match="page of unknown class"):
            unpacked(unpack, body, 1, None)


def test_a_spoilt_delta() -> None:
    old = make_page("text", 1)
    new = old[:50] + b"new" + old[53:]
    for codec in ("zstd", "lz4"):
        with queues(codec, 1, PAGE_GROUPING, salvage=True) as (pack, unpack):
            body, _, _ = packed(pack, a_map(new), a_map(old))
            rng = Random(7)
            for _ in range(300):
                spoilt = bytearray(body)
                spoilt[rng.randrange(1, len(body))] ^= 1 << rng.randrange(8)
                request: _core.PageRequest = unpack.get_request()
                sum_ = _core.xxh64(spoilt)
                request.load_record(spoilt, 0, 1, 0, sum_, False, a_map(old))
                unpack.submit_request(request)
                unpack.collect_request()
                assert request.lost or request.data_size == PAGE
                unpack.release_request(request)


def test_maps_that_shrink() -> None:
    """Both of them, mapped: the page is named, and the process lives."""
    for shrinking in (0, 1):
        with memory_file(make_pages("text", "rows")) as path:
            fd = os.open(path, os.O_RDWR)
            content = mmap.mmap(fd, 2 * PAGE, prot=mmap.PROT_READ)
            mapped = _core.PageMap(content, [(0, 2, 0)], PAGE, True)
            maps = [a_map(make_pages("text", "noise")), mapped]
            os.truncate(fd, PAGE)
            os.close(fd)
            with (
                queues("zstd", 1, PAGE_GROUPING) as (pack, _),
                pytest.raises(PageError, match=r"page 1: .* shorter") as caught,
            ):
                packed(pack, *(maps if shrinking else maps[::-1]))
            assert caught.value.of_input


def test_a_mapped_record() -> None:
    old, new = make_page("text", 1), make_page("text", 1)[:-3] + b"new"
    with queues("zstd", 1, PAGE_GROUPING) as (pack, unpack):
        body, _, _ = packed(pack, a_map(new), a_map(old))
        request: _core.PageRequest = unpack.get_request()
        request.load_record(body, 0, 1, 0, _core.xxh64(body), True, a_map(old))
        unpack.submit_request(request)
        unpack.collect_request()
        assert bytes(memoryview(request)) == new


def test_misuse() -> None:
    content = make_pages("text", "text")
    pages = a_map(content)
    with queues("zstd", 1, PAGE_GROUPING) as (pack, unpack):
        request: _core.PageRequest = pack.get_request()
        back: _core.PageRequest = unpack.get_request()
        with pytest.raises(ValueError, match="no such stage"):
            request.load(pages, 0, 2, 1, 0, None, pages)
        with pytest.raises(TypeError, match="previous must be a PageMap"):
            request.load(pages, 0, 2, 0, 0, None, content)  # type: ignore[arg-type]
        large = _core.PageMap(content, [(0, 1, 0)], 2 * PAGE, False)
        encoded = _core.PageMap(
            content,
            [],
            PAGE,
            False,
            entries=bytes(32),
            codecs=(bound("zstd", 1).library,),
        )
        for previous in (large, encoded, a_map(content[:PAGE])):
            with pytest.raises(ValueError, match="previous must have these pages"):
                request.load(pages, 0, 2, 0, 0, None, previous)
            with pytest.raises(ValueError, match="previous must have these pages"):
                back.load_record(b"", 0, 2, 0, 0, False, previous)
    with queues("zstd", 1, PAGE_GROUPING, deltas=False) as (pack, _):
        request = pack.get_request()
        with pytest.raises(ValueError, match="the handler makes no deltas"):
            request.load(pages, 0, 2, 0, 0, None, pages)


def test_blocks_that_are_too_large() -> None:
    lz4, zstd = bound("lz4", 1).library, bound("zstd", 1).library
    for library, size, pages, grouping in (
        (lz4, PAGE, 15, PACKET),
        (lz4, PAGE, 128, PAGE_GROUPING),
        (zstd, PAGE, 1024, PACKET),
        (zstd, 65536, 1, PAGE_GROUPING),
    ):
        _core.compressor(
            library,
            level=1,
            page_size=size,
            pages_max=pages,
            grouping=grouping,
            deltas=True,
        )
    for size, pages, grouping in ((PAGE, 16, PACKET), (65536, 1, PAGE_GROUPING)):
        with pytest.raises(ValueError, match="deltas of lz4 are of 63 KiB at most"):
            _core.compressor(
                lz4,
                level=1,
                page_size=size,
                pages_max=pages,
                grouping=grouping,
                deltas=True,
            )
    with pytest.raises(ValueError, match="deltas need grouping page or packet"):
        _core.compressor(
            zstd,
            level=1,
            page_size=PAGE,
            pages_max=1,
            grouping=2,
            channels=1,
            deltas=True,
        )


@pytest.mark.parametrize("codec", ["zlib", "none"])
def test_codecs_without_deltas(codec: str) -> None:
    library = open_codec(codec).library
    for make in (_core.compressor, _core.decompressor):
        with pytest.raises(
            CodecUnavailable, match=f"^{codec} makes no deltas; take zstd"
        ):
            make(library, page_size=PAGE, pages_max=1, deltas=True)


def test_a_library_without_them(tmp_path: Path) -> None:
    """One that hands everything on but what deltas need."""
    names = (
        *("versionNumber", "minCLevel", "maxCLevel", "compressBound", "isError"),
        *("getErrorName", "createCCtx", "freeCCtx", "CCtx_setParameter", "compress2"),
        *("compressStream2", "createDCtx", "freeDCtx", "DCtx_setParameter"),
        *("decompressDCtx", "decompressStream"),
    )
    source, path = tmp_path / "part.c", tmp_path / "part.so"
    source.write_text(
        "#include <dlfcn.h>\ntypedef unsigned long W;\n"
        + "".join(
            f"W ZSTD_{name}(W a, W b, W c, W d, W e) {{\n"
            "    static W (*real)(W, W, W, W, W);\n"
            f'    if (!real) real = dlsym(dlopen("libzstd.so.1", 1), "ZSTD_{name}");\n'
            "    return real(a, b, c, d, e); }\n"
            for name in names
        )
    )
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-w", source, "-o", path, "-ldl"], check=True
    )
    library = _core.bind("libzstd", str(path))
    _core.compressor(library, level=1, page_size=PAGE, pages_max=1)
    with pytest.raises(
        CodecUnavailable,
        match=r"^libzstd \S+ has no symbol ZSTD_CCtx_refPrefix, which deltas need; ",
    ):
        _core.compressor(library, level=1, page_size=PAGE, pages_max=1, deltas=True)
