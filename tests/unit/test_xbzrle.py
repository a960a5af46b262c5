# SPDX-License-Identifier: LGPL-2.1-or-later
"""XBZRLE as QEMU has it: deltas, the cache of pages sent before, and the receiver.

The encoder and the cache here follow QEMU's rules in no clever way.
"""

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
from tests.qemu_tools import NORMAL, XBZRLE, Page, decode, patched

ZERO, UNCHANGED, DELTA, OVERFLOW, MISS = range(5)
RUN_MOST = 0x3FFF
#: Of the records after the first round.
CLASS_OF = {NORMAL: MISS, XBZRLE: DELTA}
SIZES = [4096, 8192, 16384, 65536]


def length(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    return bytes([number & 0x7F | 0x80, number >> 7])


def reference(old: bytes, new: bytes, room: int) -> bytes | None:
    """Where QEMU looks for room, and None where its assertion would end it."""
    delta, at = b"", 0
    while at < len(new):
        if len(delta) + 2 > room:
            return None
        same = at
        while same < len(new) and old[same] == new[same]:
            same += 1
        if same == len(new):
            break
        end = same
        while end < len(new) and old[end] != new[end]:
            end += 1
        if max(same - at, end - same) > RUN_MOST:
            return None
        delta += length(same - at)
        if len(delta) + 2 > room:
            return None
        delta += length(end - same) + new[same:end]
        if len(delta) > room:
            return None
        at = end
    return delta


def flip(page: bytes, at: int, size: int = 1) -> bytes:
    """Other bytes in a run, as far as the page goes."""
    run = bytes(byte ^ 0xA5 for byte in page[at : at + size])
    return page[:at] + run + page[at + len(run) :]


@st.composite
def versions(draw: st.DrawFn, sizes: list[int] = SIZES) -> tuple[bytes, bytes]:
    """A page and a later version of it."""
    size = draw(st.sampled_from(sizes))
    seed = draw(st.integers(0, 1 << 32))
    old = draw(st.sampled_from([bytes(size), Random(seed).randbytes(size)]))
    new = old
    for at, run in draw(
        st.lists(
            st.tuples(
                st.integers(0, size - 1),
                st.sampled_from([1, 2, 7, 8, 63, 64, 65, 127, 128, 300, 5000, 17000]),
            ),
            max_size=8,
        )
    ):
        new = flip(new, at, run)
    # Every so many bytes, so that a delta comes close to the page's size.
    step = draw(st.sampled_from([0, 0, 2, 3, 4, 5, 64]))
    for at in range(0, size if step else 0, step or 1):
        new = flip(new, at) if draw_less(seed, at) else new
    return old, new


def draw_less(seed: int, at: int) -> bool:
    return (seed ^ at * 2654435761) & 7 != 0


# --- Deltas ---------------------------------------------------------------------------


def test_the_vector_of_qemus_documentation() -> None:
    old = bytes(1001) + bytes(range(5, 0x14)) + b"\x68\0\0\x6b\0\x6d" + bytes(3074)
    new = bytes(1001) + bytes(range(1, 0x10)) + b"\x68\0\0\x67\0\x69" + bytes(3074)
    delta = bytes.fromhex("e9070f0102030405060708090a0b0c0d0e0f030167010169")
    assert _core.xbzrle_encode(old, new, PAGE) == delta
    assert _core.xbzrle_encode(old, old, PAGE) == b""


@settings(deadline=None, max_examples=40)
@given(versions())
def test_round_trips(pages: tuple[bytes, bytes]) -> None:
    old, new = pages
    delta = _core.xbzrle_encode(old, new, len(old))
    assert delta == reference(old, new, len(old))
    if delta is not None:
        assert patched(old, delta) == new
        memory = bytearray(old)
        sent = (bytes([DELTA]), struct.pack("=I", len(delta)), delta)
        _core.xbzrle_load(memory, len(old), struct.pack("=Q", 0), *sent)
        assert memory == new


@settings(deadline=None, max_examples=60)
@given(versions([PAGE]), st.data())
def test_what_does_not_fit(pages: tuple[bytes, bytes], data: st.DataObject) -> None:
    delta = reference(*pages, 1 << 20)
    assert delta is not None
    most = min(PAGE, len(delta) + 3)
    room = data.draw(st.integers(max(0, most - 8), most))
    assert _core.xbzrle_encode(*pages, room) == reference(*pages, room)


@pytest.mark.parametrize("room", range(8))
@pytest.mark.parametrize("at", [0, 1, 127, 128, PAGE - 1])
def test_hardly_any_room(at: int, room: int) -> None:
    old = make_page("noise")
    new = flip(old, at)
    assert _core.xbzrle_encode(old, new, room) == reference(old, new, room)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("at", [0, 1, 16383, 16384, 16385])
@pytest.mark.parametrize("run", [1, 16383, 16384])
def test_longest_runs(size: int, at: int, run: int) -> None:
    old = make_page("noise", 1, size)
    new = flip(old, at, run) if at < size else old
    delta = _core.xbzrle_encode(old, new, size)
    assert delta == reference(old, new, size)
    if size == 65536:
        assert (delta is None) == (at > RUN_MOST or run > RUN_MOST)


@pytest.mark.parametrize(
    ("old", "new", "room"),
    [
        (PAGE, PAGE - 64, 0),
        (64, 64, 64),
        (PAGE + 1, PAGE + 1, 0),
        (131072, 131072, 0),
        (PAGE, PAGE, -1),
        (PAGE, PAGE, PAGE + 1),
        (0, 0, 0),
    ],
)
def test_what_is_no_page(old: int, new: int, room: int) -> None:
    with pytest.raises(ValueError, match=r"pages must have one size|room must be"):
        _core.xbzrle_encode(bytes(old), bytes(new), room)


# --- The cache ------------------------------------------------------------------------


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


# --- The receiver ---------------------------------------------------------------------


def load(classes: bytes, sizes: list[int], payload: bytes) -> bytearray:
    memory = bytearray(make_page("noise") * 2)
    numbers = struct.pack(f"={len(classes)}Q", *range(len(classes)))
    packed = struct.pack(f"={len(sizes)}I", *sizes)
    _core.xbzrle_load(memory, PAGE, numbers, classes, packed, payload)
    return memory


@pytest.mark.parametrize(
    ("kind", "sizes", "payload"),
    [
        (ZERO, [1], b"a"),
        (UNCHANGED, [1], b"a"),
        (MISS, [PAGE - 1], bytes(PAGE - 1)),
        (OVERFLOW, [0], b""),
        (DELTA, [2], b"\0\0"),
        (DELTA, [3], b"\0\1"),  # cut off
        (DELTA, [1 << 31], b"\0\1a"),
        # Longer than the page it is for: QEMU refuses that before it decodes.
        (DELTA, [3 * PAGE // 2], b"\1\1a" * (PAGE // 2)),
        (5, [0], b""),
        (255, [0], b""),
    ],
)
def test_what_nobody_sent(kind: int, sizes: list[int], payload: bytes) -> None:
    with pytest.raises(PageError, match="page 0: it was sent malformed"):
        load(bytes([kind]), sizes, payload)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=2), st.lists(st.integers(0, 9)), st.binary(max_size=20))
def test_noise_is_refused_or_loaded(
    classes: bytes, sizes: list[int], payload: bytes
) -> None:
    try:
        load(classes, sizes, payload)
    except (PageError, ValueError):
        return
    assert len(sizes) == len(classes)
    assert sum(sizes) == len(payload)


def test_arguments_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="a byte in classes and 4 in sizes"):
        load(bytes([ZERO, ZERO]), [0], b"")
    with pytest.raises(ValueError, match="beyond the last page"):
        load(bytes([ZERO]), [0], b"a")
    with pytest.raises(ValueError, match="page 2 is not in the memory"):
        load(bytes([ZERO] * 3), [0] * 3, b"")
    with pytest.raises(ValueError, match="page_size must be"):
        _core.xbzrle_load(bytearray(8), 8, b"", b"", b"", b"")
    with pytest.raises(TypeError, match="read-write"):
        _core.xbzrle_load(bytes(PAGE), PAGE, b"", b"", b"", b"")  # type: ignore[arg-type, unused-ignore]
