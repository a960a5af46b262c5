# SPDX-License-Identifier: LGPL-2.1-or-later
"""Round trips of anything that can be an image, checked by a second reader."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import BytesIO, FileIO
from itertools import cycle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migcomp._core import xxh64
from migcomp.choice import Choice
from migcomp.codecs import CODECS, GROUPINGS
from migcomp.errors import StreamError
from migcomp.images.image import PAGE_SIZES
from migcomp.images.open import open_image
from migcomp.images.raw import RawImage
from migcomp.pipeline import compress
from migcomp.restore import restore, verify
from migcomp.results import Block, PageCounts, RunResult
from migcomp.stream.header import unpack_header
from migcomp.stream.layout import INDEX_ENTRIES
from migcomp.stream.reader import open_stream
from tests.conftest import (
    KINDS,
    PAGE,
    compressed,
    make_page,
    make_pages,
    memory_file,
    restored,
)
from tests.stream_anatomy import INDEX, decode, dissect

LEVELS = {
    "zstd": (-7, 1, 3, 9),
    "lz4": (-4, 0, 1, 3, 12),
    "zlib": (0, 1, 6, 9),
    "none": (0,),
}


def relaxed(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
    )


@dataclass(frozen=True)
class Guest:
    """``blocks``: the pages of each; ``tail``: bytes of a last page cut off."""

    page_size: int
    blocks: tuple[tuple[bytes, ...], ...]
    tail: bytes

    @property
    def data(self) -> bytes:
        return b"".join(map(b"".join, self.blocks)) + self.tail

    @property
    def layout(self) -> tuple[Block, ...]:
        if len(self.blocks) == 1:
            return ()
        return tuple(
            Block(f"block{i}", len(pages) * self.page_size, i << 40)
            for i, pages in enumerate(self.blocks)
        )


@st.composite
def guests(draw: st.DrawFn) -> Guest:
    size = draw(st.sampled_from((PAGE, PAGE, PAGE, *PAGE_SIZES)))
    most = 40 if size == PAGE else 6
    # Few seeds, so that pages repeat; page by page, so that a shrunk failure
    # names the page at fault.
    one = st.builds(make_page, st.sampled_from(KINDS), st.integers(0, 2), st.just(size))
    block = st.lists(one, min_size=1, max_size=most).map(tuple)
    blocks = draw(st.lists(block, min_size=1, max_size=3).map(tuple))
    odd = len(blocks) == 1 and draw(st.booleans())
    tail = draw(st.binary(min_size=1, max_size=40)) if odd else b""
    return Guest(size, blocks, tail)


@st.composite
def choices(draw: st.DrawFn) -> Choice:
    codec = draw(st.sampled_from(CODECS))
    grouping = draw(st.sampled_from(GROUPINGS))
    packet = draw(st.one_of(st.none(), st.integers(1, 9)))
    by_page = grouping == "page" and packet is not None
    return Choice(
        codec=codec,
        level=draw(st.sampled_from(LEVELS[codec])),
        grouping=grouping,
        threads=draw(st.integers(1, 4)),
        requests_per_thread=draw(st.integers(1, 4)),
        packet_pages=packet,
        request_pages=draw(st.integers(1, packet or 1)) if by_page else None,
        channels=draw(st.integers(1, 5)),
        dedup=draw(st.booleans()),
    )


@contextmanager
def a_pipe(data: bytes, chunks: list[int]) -> Iterator[str]:
    """The path of a pipe through which ``data`` comes in pieces of these sizes."""
    reading, writing = os.pipe()

    def write() -> None:
        at = 0
        for size in cycle(chunks):
            if at >= len(data):
                break
            at += os.write(writing, data[at : at + size])
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield f"/proc/self/fd/{reading}"
    finally:
        os.close(reading)
        writer.join()


@contextmanager
def a_sparse_file(data: bytes, step: int) -> Iterator[str]:
    """A file with a hole wherever ``step`` bytes, 4 KiB or more, are zero."""
    with memory_file(size=len(data)) as path:
        with FileIO(path, "rb+") as file:
            for at in range(0, len(data), step):
                if any(data[at : at + step]):
                    file.seek(at)
                    file.write(data[at : at + step])
        yield path


def compress_from(path: str, guest: Guest, choice: Choice) -> tuple[bytes, RunResult]:
    sink = BytesIO()
    size, layout = guest.page_size, guest.layout
    with open_image(path, page_size=size, layout=layout, pad=bool(guest.tail)) as image:
        result = compress(image, sink, choice)
    return sink.getvalue(), result


def recount(guest: Guest, dedup: bool) -> tuple[int, int, int, int]:
    """Zero, same-filled, deduplicated and content pages, found the plain way."""
    data, size = guest.data, guest.page_size
    data += bytes(-len(data) % size)
    zero = same = deduplicated = content = 0
    seen = set()
    for at in range(0, len(data), size):
        page = data[at : at + size]
        if page == bytes(size):
            zero += 1
        elif page == page[:8] * (size // 8):
            same += 1
        elif dedup and page in seen:
            deduplicated += 1
        else:
            content += 1
            seen.add(page)
    return zero, same, deduplicated, content


def check_counts(counts: PageCounts, guest: Guest, dedup: bool) -> None:
    assert recount(guest, dedup) == (
        counts.zero,
        counts.same_filled,
        counts.deduplicated,
        counts.normal + counts.compressed,
    )


def check_round_trip(stream: bytes, guest: Guest, threads: int) -> None:
    data = guest.data
    with (
        memory_file(stream) as path,
        memory_file(data) as original,
        ExitStack() as stack,
    ):
        readers = [stack.enter_context(open_stream(path)) for _ in range(4)]
        piped = BytesIO()
        assert restore(readers[0], piped, threads=threads)[1] == []
        assert piped.getvalue() == data
        with memory_file() as target, FileIO(target, "rb+") as file:
            back, _ = restore(readers[1], file, threads=threads)
            file.seek(0)
            assert file.read() == data
        assert back.image_bytes == len(data)
        assert back.stream_bytes == len(stream)
        sound = verify(readers[2], threads=threads)
        size, pad = guest.page_size, bool(guest.tail)
        with open_image(original, page_size=size, pad=pad) as image:
            same = verify(readers[3], image, threads=threads)
        assert back.pages == sound.pages == same.pages == decode(stream).counts
        assert back.image_digest == sound.image_digest


@relaxed(70)
@given(guests(), choices())
def test_a_file_comes_back(guest: Guest, choice: Choice) -> None:
    with memory_file(guest.data) as path:
        stream, result = compress_from(path, guest, choice)
    read = decode(stream)
    assert read.image == guest.data
    assert read.counts == result.pages
    assert result.image_bytes == len(guest.data)
    assert result.stream_bytes == len(stream)
    assert read.lengths == [block.length for block in result.blocks]
    assert sum(region.pages.total for region in result.regions) == result.pages.total
    check_counts(result.pages, guest, choice.dedup)
    check_round_trip(stream, guest, choice.threads or 1)


@relaxed(30)
@given(guests(), choices(), st.integers(0, 4))
def test_holes_anywhere_change_nothing(guest: Guest, choice: Choice, fine: int) -> None:
    step = min(PAGE << fine, guest.page_size * 4)
    with memory_file(guest.data) as path:
        dense, _ = compress_from(path, guest, choice)
    with a_sparse_file(guest.data, step) as path:
        sparse, result = compress_from(path, guest, choice)
    assert sparse == dense
    check_counts(result.pages, guest, choice.dedup)


@relaxed(30)
@given(guests(), choices(), st.lists(st.integers(1, 70000), min_size=1, max_size=5))
def test_a_pipe_comes_back(guest: Guest, choice: Choice, chunks: list[int]) -> None:
    with a_pipe(guest.data, chunks) as path:
        stream, result = compress_from(path, guest, choice)
    with memory_file(guest.data) as path:
        from_file, _ = compress_from(path, guest, choice)
    assert decode(stream).image == guest.data
    check_counts(result.pages, guest, choice.dedup)
    check_round_trip(stream, guest, choice.threads or 1)
    # A pipe's header cannot know the length, and nothing else differs.
    a, b = dissect(stream), dissect(from_file)
    known = unpack_header(b.header)
    assert replace(unpack_header(a.header), blocks=known.blocks) == known
    assert a.data == b.data
    assert a.records[-1].body == b.records[-1].body


@relaxed(25)
@given(guests(), choices(), st.lists(choices(), min_size=2, max_size=2))
def test_bytes_depend_on_no_thread(
    guest: Guest, choice: Choice, others: list[Choice]
) -> None:
    with memory_file(guest.data) as path:
        streams = {compress_from(path, guest, choice)[0]}
        for other in others:
            same = replace(
                choice,
                threads=other.threads,
                requests_per_thread=other.requests_per_thread,
            )
            streams.add(compress_from(path, guest, same)[0])
    assert len(streams) == 1


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("dedup", [False, True])
def test_bytes_are_the_same_at_any_width(grouping: str, dedup: bool) -> None:
    data = make_pages(*((kind, n % 9) for n in range(60) for kind in KINDS))
    packet = 8
    pieces = (None, 1, 3, 8) if grouping == "page" else (None,)
    streams = {
        compressed(
            data,
            Choice(
                grouping=grouping,
                dedup=dedup,
                threads=threads,
                requests_per_thread=requests,
                packet_pages=packet,
                request_pages=pages,
                channels=3,
            ),
        )[0]
        for threads, requests in ((1, 1), (2, 3), (3, 1), (5, 8), (8, 4), (8, 1))
        for pages in pieces
    }
    assert len(streams) == 1
    assert decode(streams.pop()).image == data


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize(
    ("codec", "level"),
    [
        ("zstd", -131072), ("zstd", 19), ("zstd", 22),
        ("lz4", -65537), ("lz4", 2), ("lz4", 12),
        ("zlib", 0), ("zlib", 9),
    ],
)  # fmt: skip
def test_the_ends_of_the_scale(codec: str, level: int, grouping: str) -> None:
    data = make_pages("text", ("text", 1), "noise", "zero", "rows", "text") * 3
    stream, _ = compressed(
        data, Choice(codec, level=level, grouping=grouping, packet_pages=4)
    )
    assert decode(stream).image == data
    assert restored(stream) == data


def test_history_reaches_from_packet_to_packet() -> None:
    data = make_pages("noise") * 20
    sizes = {
        grouping: compressed(
            data, Choice(grouping=grouping, packet_pages=2, channels=1)
        )[1].stream_bytes
        for grouping in ("packet", "stream")
    }
    assert sizes["packet"] > 10 * PAGE
    assert sizes["stream"] < 3 * PAGE


def test_many_records_have_many_indexes() -> None:
    records = 2 * INDEX_ENTRIES + 17
    data = make_pages("same", "zero") * (records // 2 + 1)
    stream, _ = compressed(data, Choice(packet_pages=1))
    indexes = [rec.pages for rec in dissect(stream).records if rec.kind == INDEX]
    assert indexes == [INDEX_ENTRIES, INDEX_ENTRIES, len(data) // PAGE % INDEX_ENTRIES]
    assert decode(stream).image == data
    assert restored(stream) == data
    with memory_file(stream) as path, open_stream(path) as reader:
        for page in (0, INDEX_ENTRIES - 1, INDEX_ENTRIES, records):
            head = reader.find(page).head
            assert (head.first_page, head.pages) == (page, 1)


def test_a_page_is_found_without_reading_the_rest() -> None:
    kinds = [(kind, n) for n in range(20) for kind in KINDS]
    stream, _ = compressed(make_pages(*kinds), Choice(packet_pages=3))
    with memory_file(stream) as path, open_stream(path) as reader:
        for page in range(len(kinds)):
            head = reader.find(page).head
            assert head.first_page <= page < head.first_page + head.pages
        for page in (-1, len(kinds)):
            with pytest.raises(StreamError, match="and no page"):
                reader.find(page)


def test_without_a_sink_the_counts_are_the_same() -> None:
    data = make_pages(*KINDS, *KINDS)
    stream, kept = compressed(data, Choice())
    with memory_file(data) as path, open_image(path) as image:
        assert isinstance(image, RawImage)
        counted = compress(image, None, Choice())
    assert counted.stream_bytes == kept.stream_bytes == len(stream)
    assert counted.pages == kept.pages
    assert counted.image_digest == kept.image_digest


def test_pages_of_one_hash_are_not_taken_for_equal() -> None:
    """XXH64 is easily made to collide, so it must not decide."""
    mask, prime1, prime2 = (1 << 64) - 1, 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F

    def lane(word: int) -> int:
        mixed = (prime1 + prime2 + word * prime2) & mask
        return ((mixed << 31 | mixed >> 33) * prime1) & mask

    first = bytearray(make_pages("rows"))
    second = bytearray(first)
    word, next_word = struct.unpack_from("<Q24xQ", first)
    # What the next stripe must hold to undo another first word.
    undo = (lane(word) - lane(word + 1)) * pow(prime2, -1, 1 << 64)
    struct.pack_into("<Q", second, 0, word + 1)
    struct.pack_into("<Q", second, 32, (next_word + undo) & mask)
    assert first != second
    assert xxh64(first) == xxh64(second)
    data = bytes(first + second + first + second)
    stream, result = compressed(data, Choice(dedup=True))
    assert result.pages.deduplicated == 2
    assert restored(stream) == data
