# SPDX-License-Identifier: LGPL-2.1-or-later
"""XBZRLE's cache of the pages sent before, against QEMU's rules in no clever way."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp import _core
from migcomp.errors import PageError
from tests.conftest import PAGE, make_page, memory_file
from tests.qemu_tools import NORMAL, XBZRLE, Page, decode
from tests.xbzrle_tools import flip, reference

ZERO, UNCHANGED, DELTA, OVERFLOW, MISS = range(5)
#: Of the records after the first round.
CLASS_OF = {NORMAL: MISS, XBZRLE: DELTA}


class Cache:
    """QEMU 7.2's and 8.2's."""

    def __init__(self, places: int, page_size: int) -> None:
        self.places: dict[int, tuple[int, int, bytes]] = {}
        self.places_nr, self.page_size = places, page_size
        self.counters = {"pages": 0, "bytes": 0, "cache_miss": 0, "overflow": 0}

    def insert(self, page: int, content: bytes, count: int) -> None:
        place = page % self.places_nr
        other, age, _ = self.places.get(place, (page, 0, b""))
        if other == page or age + 2 <= count:
            self.places[place] = page, count, content

    def save(
        self, page: int, content: bytes, count: int, last: bool
    ) -> tuple[int, bytes]:
        if not any(content):
            self.insert(page, content, count)
            return ZERO, b""
        cached, _, old = self.places.get(page % self.places_nr, (-1, 0, b""))
        if cached != page:
            self.counters["cache_miss"] += 1
            if not last:
                self.insert(page, content, count)
            return MISS, content
        self.counters["pages"] += 1
        delta = reference(old, content, min(self.page_size, 65535))
        kept = old if last or delta == b"" else content
        self.places[page % self.places_nr] = page, count, kept
        if delta == b"":
            return UNCHANGED, b""
        if delta is None:
            self.counters["overflow"] += 1
            self.counters["bytes"] += self.page_size
            return OVERFLOW, content
        self.counters["bytes"] += len(delta) + 3
        return DELTA, delta


PAGES = 8
CHANGES = ["zero", "noise", "spot", "nothing", "nothing", "everywhere"]

rounds = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, PAGES - 1), st.sampled_from(CHANGES))),
        st.integers(0, 3),  # syncs since the round before
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def written(old: bytes, change: str, rng: Random) -> bytes:
    size = len(old)
    if change == "zero":
        return bytes(size)
    if change == "noise":
        return rng.randbytes(size)
    if change == "spot":
        return flip(old, rng.randrange(size), rng.choice([1, 8, 100]))
    if change == "everywhere":
        return bytes(b ^ 1 if i % 2 else b for i, b in enumerate(old))
    return old


@settings(deadline=None, max_examples=60)
@given(rounds, st.sampled_from([1, 2, 4, 16]), st.integers(0, 1000))
def test_cache_does_as_qemu(
    history: list[tuple[list[tuple[int, str]], int, bool]], places: int, seed: int
) -> None:
    rng = Random(seed)
    size = rng.choice([4096, 65536])
    ours, theirs = _core.XbzrleCache(places * size, size), Cache(places, size)
    memory = bytearray(rng.randbytes(4 * size) + bytes(4 * size))
    there = bytearray(memory)
    count = 1
    for batch, syncs, last in history:
        count += syncs
        for page, change in batch:
            at = slice(page * size, page * size + size)
            memory[at] = written(bytes(memory[at]), change, rng)
        # A page may be asked for again: it is then what it was just before.
        numbers = [page for page, _ in batch]
        expected = [
            theirs.save(
                page, bytes(memory[page * size : (page + 1) * size]), count, last
            )
            for page in numbers
        ]
        packed = struct.pack(f"={len(numbers)}Q", *numbers)
        *sent, cpu_ns = ours.save(memory, packed, count, last)
        classes, sizes, payload = sent
        assert list(classes) == [kind for kind, _ in expected]
        assert sizes == b"".join(struct.pack("=I", len(x)) for _, x in expected)
        assert payload == b"".join(x for _, x in expected)
        assert ours.counters == theirs.counters
        assert ours.cached_pages == len(theirs.places)
        assert cpu_ns >= 0
        if not last or len(set(numbers)) == len(numbers):
            _core.xbzrle_load(there, size, packed, classes, sizes, payload)
        if last:
            break
        for page in numbers:
            at = slice(page * size, page * size + size)
            assert there[at] == memory[at]


def test_a_real_qemu_did_the_same(guest_streams: Path) -> None:
    """Its pages in its order: the same go as deltas, which are the same."""
    stream = (guest_streams / "live-xbzrle.qemu").read_bytes()
    cache = _core.XbzrleCache(64 << 20, PAGE)
    memory = bytearray(129 << 20)
    rounds, before = 1, -1

    def save(page: Page) -> None:
        nonlocal rounds, before
        rounds += page.number <= before  # XBZRLE starts with the second one
        before = page.number
        memory[page.number * PAGE : (page.number + 1) * PAGE] = page.new
        if rounds > 1:
            number = struct.pack("=Q", page.number)
            classes, _, payload, _ = cache.save(
                memory, number, rounds, page.last_section
            )
            assert CLASS_OF[page.flags] == classes[0]
            assert payload == (page.delta or page.new)

    decode(stream, save)
    assert cache.counters == {
        "pages": 9,
        "bytes": 489,
        "cache_miss": 2151,
        "overflow": 0,
    }


def test_classes_are_named() -> None:
    names = ("ZERO", "UNCHANGED", "DELTA", "OVERFLOW", "MISS")
    values = [getattr(_core, f"XBZRLE_{name}") for name in names]
    assert values == [ZERO, UNCHANGED, DELTA, OVERFLOW, MISS]


def test_a_delta_whose_size_is_too_long_for_its_record() -> None:
    size = 65536
    old, new, at = bytes(size), bytes(size), 3
    for run in (13000, 13000, 13000, 13000, 13521):
        new = flip(new, at, run)
        at += run + 3
    delta = _core.xbzrle_encode(old, new, size)
    assert delta is not None
    assert len(delta) == size
    cache = _core.XbzrleCache(size, size)
    page = struct.pack("=Q", 0)
    cache.save(old, page, 1, False)
    sent = cache.save(new, page, 1, False)
    assert sent[:3] == (bytes([OVERFLOW]), struct.pack("=I", size), new)


def test_memory_does_not_grow_with_the_cache() -> None:
    """A cache of 64 GiB (whose places take 384 MiB of addresses) holds one page."""
    cache = _core.XbzrleCache(64 << 30, PAGE)
    before = resident()
    cache.save(make_page("noise"), struct.pack("=Q", 0), 1, False)
    assert cache.cached_pages == 1
    assert resident() - before < 8 << 20


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("cache_bytes", "page_size", "message"),
    [
        (0, PAGE, "power of two"),
        (PAGE - 1, PAGE, "power of two"),
        (3 * PAGE, PAGE, "power of two"),
        (PAGE, 2 * PAGE, "one page at least"),
        (PAGE, 1000, "page_size must be"),
        (1 << 64, PAGE, "out of range"),
    ],
)
def test_no_such_cache(cache_bytes: int, page_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.XbzrleCache(cache_bytes, page_size)


def test_a_cache_of_exbibytes() -> None:
    with pytest.raises(MemoryError):
        _core.XbzrleCache(1 << 63, PAGE)


def test_pages_that_are_not_in_the_memory() -> None:
    cache = _core.XbzrleCache(1 << 20, PAGE)
    memory = make_page("noise") * 2 + b"a part of a page"
    for number in (2, 1 << 52, (1 << 64) - 1):
        with pytest.raises(ValueError, match=f"page {number} is not in the memory"):
            cache.save(memory, struct.pack("=QQ", 1, number), 1, False)
    assert cache.counters["cache_miss"] == 1  # and two hits of page 1
    assert cache.counters["pages"] == 2
    with pytest.raises(ValueError, match="8 bytes"):
        cache.save(memory, b"1234567", 1, False)
    assert cache.save(memory, b"", 1, False)[:3] == (b"", b"", b"")


def test_memory_that_shrinks() -> None:
    cache = _core.XbzrleCache(1 << 20, PAGE)
    with memory_file(make_page("noise") * 4) as path:
        fd = os.open(path, os.O_RDWR)
        memory = mmap.mmap(fd, 4 * PAGE, prot=mmap.PROT_READ)
        os.truncate(fd, 2 * PAGE)
        with pytest.raises(PageError, match="shorter while it was read"):
            cache.save(memory, struct.pack("=QQ", 0, 3), 1, False)
        os.close(fd)
    assert cache.cached_pages == 1


def test_one_thread_at_a_time() -> None:
    cache = _core.XbzrleCache(1 << 24, PAGE)
    memory = Random(1).randbytes(512 * PAGE)
    numbers = struct.pack("=512Q", *range(512))
    done: list[int] = []
    refusals: set[str] = set()

    def save() -> None:
        for _ in range(20):
            try:
                cache.save(memory, numbers, 1, False)
            except ValueError as error:
                refusals.add(str(error))
            else:
                done.append(1)

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refusals <= {"another thread is using the cache"}
    counters = cache.counters
    assert counters["pages"] + counters["cache_miss"] == 512 * len(done) > 0


@pytest.mark.long
def test_rounds_of_a_guest(guest_images: Path) -> None:
    """With a cache of half of its pages, the destination ends up as the source."""
    cache = _core.XbzrleCache(64 << 20, PAGE)
    there = bytearray((guest_images / "round0.raw").read_bytes())
    for count, name in enumerate(("round1", "round2", "round1", "round2"), 2):
        memory = (guest_images / f"{name}.raw").read_bytes()
        numbers = b"".join(
            struct.pack("=Q", at // PAGE)
            for at in range(0, len(memory), PAGE)
            if memory[at : at + PAGE] != there[at : at + PAGE]
        )
        *sent, _ = cache.save(memory, numbers, count, count == 5)
        _core.xbzrle_load(there, PAGE, numbers, *sent)
        assert there == memory
        assert UNCHANGED not in sent[0]
    assert DELTA in sent[0]
    assert cache.cached_pages <= 1 << 14
