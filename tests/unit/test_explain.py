# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is found out about an image, against what was put into it."""

from __future__ import annotations

import array
import math
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migcomp import _core
from migcomp.choice import Choice
from migcomp.errors import ImageError, PageError
from migcomp.explain.explain import explain
from migcomp.explain.layout import Cutter, Packet
from migcomp.explain.results import Explanation
from migcomp.explain.sample import Stratum, draw, estimate, without
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from migcomp.results import Block
from tests.conftest import make_page, make_pages, memory_file, piped
from tests.core_tools import PAGE, a_map, a_queue, noise, text

SAMPLES = Path(__file__).parents[2] / "sample_images"
CLASSIFY = 1


def explained(
    data: bytes,
    before: bytes | None = None,
    *,
    layout: tuple[Block, ...] = (),
    sample_bytes: int = 1 << 30,
    seed: int = 0,
) -> Explanation:
    with ExitStack() as stack:
        path = stack.enter_context(memory_file(data))
        image = stack.enter_context(open_image(path, layout=layout))
        previous = None
        if before is not None:
            earlier = stack.enter_context(memory_file(before))
            previous = stack.enter_context(open_image(earlier))
        return explain(image, previous, sample_bytes=sample_bytes, seed=seed, threads=1)


# --- Entropy ------------------------------------------------------------------------


@contextmanager
def classified(page_map: _core.PageMap, pages: int) -> Iterator[_core.PageRequest]:
    with a_queue("none") as queue:
        request = queue.get_request()
        request.load(page_map, 0, pages, CLASSIFY, 0)
        queue.submit_request(request)
        assert queue.collect_request() is request
        yield request


def entropies(content: bytes) -> list[int]:
    with classified(a_map(content), len(content) // PAGE) as request:
        return list(array.array("H", request.entropies()))


def test_entropy_of_known_pages() -> None:
    two = b"ab" * (PAGE // 4) + b"ba" * (PAGE // 4)
    even = bytes(range(256)) * (PAGE // 256)
    assert entropies(two + even) == [1000, 8000]
    assert entropies(bytes(PAGE) + b"12345678" * 512) == [0, 0]


@given(st.binary(min_size=9, max_size=200))
def test_entropy_is_shannons(pattern: bytes) -> None:
    page = (pattern * PAGE)[:PAGE]
    counts = Counter(page).values()
    bits = -sum(n / PAGE * math.log2(n / PAGE) for n in counts)
    if page[8:] != page[:-8]:
        assert entropies(page) == [pytest.approx(bits * 1000, abs=1)]


def test_entropy_of_an_image_that_shrank() -> None:
    with memory_file(noise(4)) as path, open_image(path) as image:
        assert image.page_map is not None
        with classified(image.page_map, 4) as request:
            os.truncate(path, 0)
            with pytest.raises(PageError, match="became shorter"):
                request.entropies()


def test_entropy_of_nothing() -> None:
    with a_queue("none") as queue:
        assert queue.get_request().entropies() == b""
    with (
        a_queue(kind=_core.decompressor) as queue,
        pytest.raises(ValueError, match="compress"),
    ):
        queue.get_request().entropies()


# --- Looking at all pages -----------------------------------------------------------


def test_classes_and_distances() -> None:
    some = make_pages(
        "zero", ("same", 3), ("text", 1), ("rows", 1), ("text", 1), "zero"
    )
    content = some + noise(200) + make_page("rows", 1)
    found = explained(content)
    total = found.total
    assert (total.zero, total.same_filled, total.duplicate) == (2, 1, 2)
    assert total.content == 202
    assert found.distances == (0, 1, 0, 0, 0, 0, 0, 1)  # 2 and 203 pages
    assert sum(found.entropies) == 202
    assert sum(found.entropies[7 * 8 :]) == 200
    assert found.image_bytes == len(content)


def test_stretches_follow_the_blocks() -> None:
    big, small = 1600, 8
    data = noise(big) + bytes(small * PAGE) + make_pages(*[("same", 1)] * small)
    layout = (
        Block("pc.ram", big * PAGE, 1 << 32),
        Block("rom", small * PAGE, 0),
        Block("vga", small * PAGE, 1 << 20),
    )
    found = explained(data, layout=layout)
    *main, rest = found.stretches
    assert [stretch.name for stretch in main] == ["pc.ram"] * len(main)
    assert main[0].guest_address == 1 << 32
    assert main[1].guest_address == (1 << 32) + main[0].pages * PAGE
    assert all(stretch.pages % 128 == 0 for stretch in main[:-1])
    assert sum(stretch.tally.content for stretch in main) == big
    assert (rest.guest_address, rest.blocks) == (None, 2)
    assert (rest.tally.zero, rest.tally.same_filled) == (small, small)
    for stretch in found.stretches:
        assert stretch.tally.total == stretch.pages
    assert sum(region.pages.total for region in found.map) == found.total.total


def test_holes_are_zero_pages_and_not_read() -> None:
    """More of them than could be read."""
    pages = 1 << 26
    with memory_file(noise(3), pages * PAGE) as path, open_image(path) as image:
        found = explain(image, threads=1)
    assert (found.total.zero, found.total.content) == (pages - 3, 3)
    assert sum(region.pages.total for region in found.map) == pages


def test_a_pipe_is_explained_too() -> None:
    content = make_pages("zero", ("text", 1), ("text", 1))
    with piped(content) as path, open_image(path) as image:
        found = explain(image, threads=1)
    assert (found.total.zero, found.total.content, found.total.duplicate) == (1, 1, 1)


def test_an_image_that_shrinks() -> None:
    with memory_file(noise(300)) as path, open_image(path) as image:
        os.truncate(path, 100 * PAGE)
        with pytest.raises(ImageError, match=r"changed|shorter|no longer"):
            explain(image, threads=1)


# --- What is measured ---------------------------------------------------------------


@pytest.mark.parametrize("grouping", ["page", "packet"])
def test_what_is_measured_whole_is_what_a_run_sends(grouping: str) -> None:
    path = SAMPLES / "heap-8m.raw"
    with open_image(str(path)) as image:
        found = explain(image, threads=1)
        assert found.sample.whole
        run = compress(
            image,
            None,
            Choice("zstd", 1, grouping, threads=1, dedup=True),
        )
    technique = found.technique(grouping)
    assert technique is not None
    assert technique.sent.value == run.compressed_bytes + run.normal_bytes
    assert technique.sent.error == 0
    assert technique.pages == run.pages.compressed + run.pages.normal
    assert found.total.duplicate == run.pages.deduplicated
    assert technique.cpu_seconds_per_gib > 0


def test_a_gain_is_over_the_same_pages() -> None:
    with open_image(str(SAMPLES / "heap-8m.raw")) as image:
        found = explain(image, threads=1)
        plain = compress(image, None, Choice("zstd", 1, "packet", threads=1))
    pages, packets = found.technique("page"), found.technique("packet")
    dedup = found.technique("deduplication")
    assert pages
    assert packets
    assert dedup
    assert packets.gain
    assert dedup.gain
    assert packets.gain.value == pages.sent.value - packets.sent.value
    before = plain.compressed_bytes + plain.normal_bytes
    assert dedup.gain.value == before - packets.sent.value - dedup.sent.value


def test_the_sample_says_how_sure_it_is() -> None:
    """19 of 20 times the truth is as near as said; 18 of 30 would be a miracle if it
    were half as often."""
    generator = random.Random(7)
    kinds = ("text", "rows", "noise", "spot", "zero")
    content = bytearray()
    for _ in range(60):  # packets of like pages, as memory has
        kind = generator.choice(kinds)
        other = generator.choice(kinds)
        for _ in range(16):
            chosen = kind if generator.random() < 0.8 else other
            content += make_page(chosen, generator.randrange(1 << 30))
        content += bytes(112 * PAGE)
    truth = explained(bytes(content)).technique("page")
    assert truth
    hits = 0
    for seed in range(30):
        found = explained(bytes(content), sample_bytes=200 * PAGE, seed=seed)
        assert not found.sample.whole
        assert found.sample.packets < found.sample.packets_of
        technique = found.technique("page")
        assert technique
        assert technique.sent.error > 0
        off = abs(technique.sent.value - truth.sent.value)
        hits += off <= technique.sent.error
    assert hits >= 24


def test_a_seed_draws_the_same_sample() -> None:
    content = b"".join(noise(1, n) + bytes(127 * PAGE) for n in range(40))
    one, same, other = (
        explained(content, sample_bytes=20 * PAGE, seed=seed) for seed in (1, 1, 2)
    )
    for key in ("page", "packet"):
        assert one.technique(key).sent == same.technique(key).sent  # type: ignore[union-attr]
    assert one.sample == same.sample
    assert one.sample != other.sample


def test_a_dictionary_helps_pages_that_share_words() -> None:
    generator = random.Random(3)
    words = [generator.randbytes(60) for _ in range(300)]
    content = b"".join(
        b"".join(generator.choices(words, k=69))[:PAGE] for _ in range(2000)
    )
    found = explained(content)
    trained = found.technique("dictionary")
    assert found.dictionary
    assert trained
    assert trained.gain
    assert trained.gain.value - trained.gain.error > 0
    assert found.dictionary.pages <= found.total.content / 4


def test_too_little_for_a_dictionary() -> None:
    found = explained(noise(3))
    assert found.dictionary is None
    assert found.technique("dictionary") is None


def test_nothing_but_zeros() -> None:
    found = explained(bytes(300 * PAGE))
    assert found.total.zero == found.total.total == 300
    packets = found.technique("packet")
    assert packets
    assert (packets.pages, packets.sent.value) == (0, 0)
    assert found.sample.packets == found.sample.packets_of == 0


# --- The sample by itself -----------------------------------------------------------


def packets(count: int) -> list[Packet]:
    return [Packet(128 * n, 128) for n in range(count)]


def test_an_estimate_by_hand() -> None:
    """One stratum of 4 packets, 2 drawn; another that is drawn whole."""
    a, b, c, d = packets(4)
    strata = [Stratum(4, (a, b)), Stratum(2, (c, d))]
    sizes = {a: 10, b: 20, c: 30, d: 40}
    results = {a: 4, b: 12, c: 15, d: 20}
    # Weighted sizes are 2 * 30 + 70 = 130, results 2 * 16 + 35 = 67.
    found = estimate(strata, sizes, results, 260)
    ratio = 67 / 130
    assert found.value == pytest.approx(260 * ratio)
    off = [4 - 10 * ratio, 12 - 20 * ratio]
    spread = (off[0] - off[1]) ** 2 / 2
    error = 1.96 * math.sqrt(16 * (1 - 2 / 4) * spread / 2) * 260 / 130
    assert found.error == pytest.approx(error)


def test_an_estimate_of_nothing() -> None:
    assert estimate([], {}, {}, 0).value == 0


@given(st.lists(st.integers(0, 128), max_size=200), st.integers(0, 5000))
def test_every_packet_is_in_one_stratum(counts: list[int], wanted: int) -> None:
    sizes = dict(zip(packets(len(counts)), counts, strict=True))
    entropy = {packet: 3.0 * size for packet, size in sizes.items()}
    strata = draw(entropy, sizes, wanted, random.Random(1))
    some = [packet for packet, size in sizes.items() if size]
    assert sum(stratum.packets for stratum in strata) == len(some)
    drawn = [packet for stratum in strata for packet in stratum.drawn]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) <= set(some)
    if wanted >= sum(counts):
        assert set(drawn) == set(some)
    share = min(1.0, wanted / sum(counts)) if some else 0.0
    assert len(drawn) >= share * len(some)
    gone = set(drawn[::3])
    rest = without(strata, gone)
    assert sum(stratum.packets for stratum in rest) == len(some)
    left = [packet for stratum in rest for packet in stratum.drawn]
    assert set(left) == set(drawn) - gone
    if len(left) > 1:
        assert all(len(stratum.drawn) > 1 for stratum in rest)


def test_packets_are_cut_from_the_start_of_a_block() -> None:
    layout = (Block("a", 130 * PAGE, 0), Block("b", 200 * PAGE, 1 << 30))
    with (
        memory_file(bytes(330 * PAGE)) as path,
        open_image(path, layout=layout) as image,
    ):
        cutter = Cutter(image)
    assert list(cutter.pieces(100, 30)) == [
        (Packet(0, 128), 100, 28),
        (Packet(128, 2), 128, 2),
    ]
    assert list(cutter.pieces(130, 200)) == [
        (Packet(130, 128), 130, 128),
        (Packet(258, 72), 258, 72),
    ]


# --- An earlier image ---------------------------------------------------------------


def touched(content: bytes, pages: dict[int, bytes]) -> bytes:
    changed = bytearray(content)
    for page, data in pages.items():
        changed[page * PAGE : page * PAGE + len(data)] = data
    return bytes(changed)


def test_what_changed_since_an_earlier_image() -> None:
    before = bytes(4 * PAGE) + noise(396)
    now = touched(before, {0: b"new", 10: b"!", 300: b"??", 399: bytes(PAGE)})
    found = explained(now, before)
    assert found.previous
    # The last page is zero now, and sent for nothing.
    assert (found.previous.same, found.previous.changed) == (393, 3)
    assert found.previous.new == 0
    unchanged, delta = found.technique("unchanged"), found.technique("delta")
    assert unchanged
    assert delta
    assert unchanged.pages == 393
    assert delta.pages == 3
    assert delta.sent.value < 200
    assert delta.gain
    # Two of noise do not shrink by themselves.
    assert delta.gain.value > 2 * PAGE - 200


def test_an_earlier_image_with_less_memory() -> None:
    found = explained(noise(200), noise(200)[: 150 * PAGE])
    assert found.previous
    assert (found.previous.same, found.previous.changed) == (150, 0)
    assert found.previous.new == 50


def test_memory_is_compared_where_the_guest_has_it() -> None:
    """Blocks in another order, and one that is cut in two."""
    low, high = noise(100, 1), noise(60, 2)
    now = (Block("low", 100 * PAGE, 0), Block("high", 60 * PAGE, 1 << 32))
    before = (
        Block("top", 60 * PAGE, 1 << 32),
        Block("one", 40 * PAGE, 0),
        Block("two", 60 * PAGE, 40 * PAGE),
    )
    with ExitStack() as stack:
        one = stack.enter_context(memory_file(low + high))
        other = stack.enter_context(memory_file(high + low))
        image = stack.enter_context(open_image(one, layout=now))
        previous = stack.enter_context(open_image(other, layout=before))
        found = explain(image, previous, threads=1)
    assert found.previous
    assert found.previous.same == 160


def test_images_that_have_nothing_in_common() -> None:
    with ExitStack() as stack:
        one = stack.enter_context(memory_file(noise(4)))
        other = stack.enter_context(memory_file(noise(2)))
        image = stack.enter_context(open_image(one))
        layout = (Block("far", 2 * PAGE, 1 << 40),)
        previous = stack.enter_context(open_image(other, layout=layout))
        with pytest.raises(ImageError, match="no memory in common"):
            explain(image, previous, threads=1)
        wide = stack.enter_context(memory_file(noise(4)))
        larger = stack.enter_context(open_image(wide, page_size=8192))
        with pytest.raises(ImageError, match="pages of 8192 bytes"):
            explain(image, larger, threads=1)


def test_deltas_are_of_changes_however_large() -> None:
    """Every number that a page can differ by comes out as it is."""
    before = text(128)
    now = bytes(byte ^ 0xFF for byte in before[:PAGE]) + before[PAGE:]
    found = explained(now, before)
    delta = found.technique("delta")
    assert delta
    assert delta.pages == 1
    # All its bytes are 0xFF then: same-filled, and no byte of content.
    assert delta.sent.value == 0
