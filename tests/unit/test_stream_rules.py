# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rules of the format that a reader holds every stream to."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from migcomp import _core
from migcomp.choice import Choice
from migcomp.errors import StreamError
from migcomp.restore import restore, verify
from migcomp.results import Block
from migcomp.stream.layout import INDEX_ENTRIES
from migcomp.stream.packets import Packets
from migcomp.stream.reader import open_stream
from tests.conftest import (
    MEMORY,
    PAGE,
    compressed,
    make_pages,
    memory_file,
    piped,
    restored,
    salvaged,
)
from tests.core_tools import a_queue
from tests.stream_anatomy import (
    END,
    INDEX,
    PAGES,
    ZEROS,
    Anatomy,
    Rec,
    decode,
    dissect,
    sealed,
)

DATA = make_pages(*(("spot", n) for n in range(11)))


def parts(grouping: str = "packet", data: bytes = DATA, **more: object) -> Anatomy:
    settings = {"grouping": grouping, "packet_pages": 2, "channels": 2} | more
    return dissect(compressed(data, Choice(**settings))[0])  # type: ignore[arg-type]


# --- Packets and channels -----------------------------------------------------------


def test_channels_of_blocks_that_end_within_a_packet() -> None:
    """The channel goes by the packet's first page, whatever came before it."""
    layout = tuple(
        Block(f"b{n}", pages * PAGE, n << 32) for n, pages in enumerate((3, 1, 5, 2))
    )
    choice = Choice(grouping="stream", packet_pages=2, channels=3)
    stream, _ = compressed(DATA, choice, layout=layout)
    whole = dissect(stream)
    assert [(rec.first_page, rec.pages, rec.channel) for rec in whole.data] == [
        (0, 2, 0), (2, 1, 1), (3, 1, 1), (4, 2, 2), (6, 2, 0), (8, 1, 1), (9, 2, 1),
    ]  # fmt: skip
    assert decode(stream).image == restored(stream) == DATA
    with memory_file(stream) as path, open_stream(path) as reader:
        packets: Packets = reader.packets
    records = whole.data
    for i, first in enumerate(records):
        for j, last in enumerate(records[i:], i):
            pages = range(first.first_page, last.first_page + last.pages)
            channels = {rec.channel for rec in records[i : j + 1]}
            assert packets.channels_of(pages) == channels


@pytest.mark.parametrize("grouping", ["page", "packet", "stream"])
def test_a_record_of_another_channel(grouping: str) -> None:
    for channel in (1, 2, 300):
        whole = parts(grouping)
        whole.data[2].channel = channel
        with pytest.raises(StreamError, match="another channel than its pages"):
            restored(whole.pack())
        lost = {4, 5} if grouping != "stream" else {4, 5, 8, 9}
        assert salvaged(whole.pack())[1] == lost


def test_records_that_are_not_packets() -> None:
    split = parts("packet", make_pages(*["same"] * 11))
    body = b"\1" + split.data[0].body[2:10]
    split.records[0:1] = [Rec(PAGES, 0, 1, body), Rec(PAGES, 1, 1, body)]
    zeros = parts("packet", make_pages(*["zero"] * 11))
    zeros.records[0:1] = [Rec(ZEROS, 0, 3), Rec(ZEROS, 3, 8)]
    for whole in (split, zeros):
        with pytest.raises(StreamError, match="begin and end with packets"):
            restored(whole.pack_indexed())


def test_records_that_reach_into_the_next_block() -> None:
    layout = (Block("a", 4 * PAGE, 0), Block("b", 4 * PAGE, 1 << 32))
    choice = Choice(packet_pages=2)
    whole = dissect(compressed(bytes(8 * PAGE), choice, layout=layout)[0])
    assert [rec.pages for rec in whole.data] == [4, 4]
    whole.records[0:2] = [Rec(ZEROS, 0, 8)]
    with pytest.raises(StreamError, match="begin and end with packets"):
        restored(whole.pack_indexed())


# --- Deduplicated pages --------------------------------------------------------------


def deduplicated() -> Anatomy:
    """Pages 1 and 2 equal page 0."""
    pages = make_pages("text", "text", "text", "rows")
    return parts("page", pages, packet_pages=1, dedup=True)


def refuse(stream: bytes, sentence: str) -> None:
    """Restored to a file, to a pipe, and nowhere."""
    with pytest.raises(StreamError, match=sentence):
        restored(stream)
    with memory_file(stream) as path:
        with open_stream(path) as reader, pytest.raises(StreamError, match=sentence):
            restore(reader, BytesIO())
        with open_stream(path) as reader, pytest.raises(StreamError, match=sentence):
            verify(reader)


def test_deduplicated_pages_that_the_header_excludes() -> None:
    whole = deduplicated()
    head = bytearray(whole.header[:-8])
    assert head[21] == 1
    head[21] = 0
    stream = replace(whole, header=sealed(bytes(head))).pack()
    refuse(stream, "page [12]: a deduplicated page in a stream without them")
    assert salvaged(stream)[1] == {1, 2}


@pytest.mark.parametrize("packet", [1, 4])
def test_a_deduplicated_page_of_a_deduplicated_page(packet: int) -> None:
    pages = make_pages("text", "text", "text", "rows")
    whole = parts("page", pages, packet_pages=packet, dedup=True)
    rec = whole.data[2 if packet == 1 else 0]
    assert rec.body.count(struct.pack("<Q", 0)) == (1 if packet == 1 else 2)
    at = rec.body.rindex(struct.pack("<Q", 0))
    rec.body = rec.body[:at] + struct.pack("<Q", 1) + rec.body[at + 8 :]
    refuse(whole.pack(), "refers to one that it must not refer to")
    image, missing = salvaged(whole.pack())
    assert missing == ({2} if packet == 1 else {0, 1, 2, 3})
    for page in range(4):
        expected = bytes(PAGE) if page in missing else pages[page * PAGE :][:PAGE]
        assert image[page * PAGE :][:PAGE] == expected


def test_chains_far_apart_are_found() -> None:
    """Of pages in many words of the set, in any of them."""
    data = make_pages("text") + b"".join(
        make_pages(*["zero"] * 70, "text") for _ in range(200)
    )
    sound = parts("page", data, packet_pages=1, dedup=True)
    assert restored(sound.pack()) == data
    last = sound.data[-1]
    for n in (0, 1, 77, 198):
        last.body = b"\2" + struct.pack("<Q", (n + 1) * 71)
        with pytest.raises(StreamError, match="must not refer to"):
            restored(sound.pack())
    last.body = b"\2" + struct.pack("<Q", 0)
    assert restored(sound.pack()) == data


def test_requests_are_restored_in_order() -> None:
    def body(equal: int) -> bytes:
        return b"\2" + struct.pack("<Q", equal)

    with (
        memory_file(bytes(PAGE)) as path,
        Path(path).open("rb") as file,
        a_queue(kind=_core.decompressor, dedup=True) as queue,
    ):
        for page, error in ((900, None), (901, None), (100, "Invalid argument")):
            request = queue.get_request()
            data = body(0)
            request.load_record(data, page, 1, 0, _core.xxh64(data), False)
            queue.submit_request(request)
            queue.collect_request()
            if error is None:
                request.restore_deduplicated(file.fileno())
            else:
                with pytest.raises(OSError, match=error):
                    request.restore_deduplicated(file.fileno())
            queue.release_request(request)


# --- The end and the indexes ---------------------------------------------------------


@pytest.mark.parametrize("grouping", ["page", "packet", "stream"])
@pytest.mark.parametrize("field", [16, 24, 56, 64])
def test_an_end_that_counts_otherwise(grouping: str, field: int) -> None:
    whole = parts(grouping, DATA + make_pages("zero", "zero", "same", "same"))
    end = whole.records[-1]

    def change(at: int, by: int) -> None:
        (value,) = struct.unpack_from("<Q", end.body, at)
        new = struct.pack("<Q", value + by)
        end.body = end.body[:at] + new + end.body[at + 8 :]

    change(field, 1)
    if field < 56:
        change(24 if field == 16 else 16, -1)
    with pytest.raises(StreamError, match="its end counts other pages"):
        restored(whole.pack())


def test_an_end_that_is_mostly_index(bounded_memory: None) -> None:
    """Of 256 MiB, which would be a GiB of Python's objects."""
    whole = parts()
    end = whole.records[-1]
    count = (1 << 28) // 16 - 10
    end.body = end.body[:-20] + struct.pack("<I", count)
    size = len(end.body) + count * 16
    checksum = _core.Xxh64()
    checksum.update(end.body)
    zeros, left = bytes(1 << 20), count * 16
    while left:
        checksum.update(zeros[:left])
        left -= min(left, len(zeros))
    end.body_size, end.body_sum = size, checksum.intdigest()
    stream = whole.pack(footer=b"")
    assert size > 2 * MEMORY - (1 << 20)
    with memory_file(stream) as path:
        with Path(path).open("rb+") as file:
            file.truncate(len(stream) + count * 16)
            file.seek(0, 2)
            file.write(struct.pack("<Q", end.offset) + b"MIGCEND\n")
        with open_stream(path) as reader:
            refuse_end(reader.load_end, "leads to no such record")
        with open_stream(path) as reader:
            refuse_end(lambda: list(reader.records()), "impossible size")
    with piped(stream) as path, open_stream(path) as reader:
        refuse_end(lambda: list(reader.records()), "impossible size")


def refuse_end(read: Callable[[], object], sentence: str) -> None:
    with pytest.raises(StreamError, match=sentence):
        read()


def test_an_index_that_comes_early() -> None:
    whole = parts()
    whole.records.insert(2, Rec(INDEX, 0, 0))
    with pytest.raises(StreamError, match="index comes too early"):
        restored(whole.pack_indexed())


def test_heads_of_indexes_and_ends() -> None:
    for kind, sentence in ((INDEX, "index does not fit"), (END, "end does not fit")):
        for field in ("first_page", "pages", "channel"):
            whole = parts()
            (rec,) = (rec for rec in whole.records if rec.kind == kind)
            setattr(rec, field, getattr(rec, field) + 1)
            with pytest.raises(StreamError, match=sentence):
                restored(whole.pack())


def test_full_indexes_may_follow_each_other() -> None:
    data = make_pages("same", "zero") * INDEX_ENTRIES
    stream = compressed(data, Choice(packet_pages=1))[0]
    indexes = [rec.pages for rec in dissect(stream).records if rec.kind == INDEX]
    assert indexes == [INDEX_ENTRIES, INDEX_ENTRIES]
    with memory_file(stream) as path, open_stream(path) as reader:
        assert len(reader.load_end().indexes) == 2


# --- Zeros ---------------------------------------------------------------------------


def test_zeros_cost_what_their_records_do(bounded_memory: None) -> None:
    """Page by page, these would take hours."""
    records, pages = 100, 1 << 31
    whole = parts("packet", make_pages(*["zero"] * 11))
    at = whole.header.index(struct.pack("<Q", len(DATA)))
    length = struct.pack("<Q", records * pages * PAGE)
    head = whole.header[:at] + length + whole.header[at + 8 : -8]
    index, end = whole.records[-2:]
    total = records * pages
    digest = _core.xxh64(struct.pack("<QQ", _core.xxh64(b""), total))
    rest = struct.pack("<QQQ", total, digest, total) + bytes(48)
    end.first_page, end.body = total, rest + struct.pack("<I", 1) + length + bytes(4)
    zeros = [Rec(ZEROS, n * pages, pages) for n in range(records)]
    whole = Anatomy(sealed(head), [*zeros, index, end])
    told: list[int] = []
    with memory_file(whole.pack_indexed()) as path, open_stream(path) as reader:
        result = verify(reader, progress=lambda done, _: told.append(done))
    assert result.pages.zero == total
    assert told == [n * pages for n in range(1, records + 1)]


def test_long_runs_of_zeros_end_with_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migcomp.stream.writer.ZEROS_MAX", 16)
    stream, _ = compressed(bytes(50 * PAGE), Choice(packet_pages=5))
    assert [rec.pages for rec in dissect(stream).data] == [15, 15, 15, 5]
    assert restored(stream) == bytes(50 * PAGE)


def test_the_digest_is_of_the_image_alone() -> None:
    data = make_pages("zero", "text", *["zero"] * 9, "same", "rows", "zero", "text")
    digests = {
        compressed(data, choice)[1].image_digest
        for choice in (
            Choice(packet_pages=1),
            Choice(packet_pages=4, dedup=True),
            Choice("none", grouping="page", packet_pages=7),
            Choice(grouping="stream"),
        )
    }
    assert len(digests) == 1
    longer = compressed(data + bytes(PAGE), Choice())[1].image_digest
    moved = compressed(bytes(PAGE) + data[:-PAGE], Choice())[1].image_digest
    assert len(digests | {longer, moved}) == 3
