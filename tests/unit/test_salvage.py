# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is left of a broken stream, page by page."""

from __future__ import annotations

import os
from functools import cache
from io import BytesIO, FileIO
from pathlib import Path
from typing import Any

import pytest

from migcomp.choice import Choice
from migcomp.codecs import GROUPINGS, open_codec
from migcomp.errors import StreamError
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from migcomp.restore import restore
from migcomp.results import Block, RunResult
from migcomp.stream.reader import open_stream
from migcomp.stream.source import FileSource
from tests.conftest import (
    ONE_OF_EACH,
    PAGE,
    compressed,
    make_pages,
    memory_file,
    restored,
    salvage_unread,
    salvaged,
)
from tests.small_streams import COUNT, DATA, PACKET, sound
from tests.stream_anatomy import INDEX, PAGES, ZEROS, Rec, dissect


def page_of(image: bytes, page: int) -> bytes:
    return image[page * PAGE : (page + 1) * PAGE]


def pages_of(rec: Rec) -> set[int]:
    return set(range(rec.first_page, rec.first_page + rec.pages))


def originals(rec: Rec, grouping: str) -> dict[int, int]:
    """Deduplicated page -> the page it equals."""
    found, at = {}, rec.pages
    for i, kind in enumerate(rec.body[: rec.pages]):
        if kind == 2:
            value = int.from_bytes(rec.body[at : at + 8], "little")
            found[rec.first_page + i] = value
        at += 8 if kind in (1, 2) else 2 if (kind, grouping) == (4, "page") else 0
    return found


def check_saved(image: bytes, missing: set[int]) -> None:
    """What is not missing is right, and what is missing is zero."""
    assert len(image) == len(DATA)
    for page in range(COUNT):
        expected = bytes(PAGE) if page in missing else page_of(DATA, page)
        assert page_of(image, page) == expected, page


# --- Salvage ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grouping", "dedup"),
    [("page", True), ("packet", True), ("stream", True), ("stream", False)],
)
def test_every_cut(grouping: str, dedup: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pages of whole records are saved, and the others are named."""
    monkeypatch.setattr("migcomp.restore.open_codec", cache(open_codec))
    stream = sound(grouping, dedup)
    whole = dissect(stream)
    for cut in range(len(stream)):
        if cut < len(whole.header):
            with pytest.raises(StreamError, match=r"is empty|not a migcomp|cut off"):
                salvaged(stream[:cut])
            continue
        with pytest.raises(StreamError, match=r"cut off|no end"):
            restored(stream[:cut])
        saved = set()
        for rec in whole.data:
            if rec.offset + 40 + len(rec.body) <= cut:
                saved |= pages_of(rec)
        image, missing = salvaged(stream[:cut])
        assert missing == set(range(COUNT)) - saved
        check_saved(image, missing)
    assert salvaged(stream) == (DATA, set())


def through_a_pipe(stream: bytes, **options: Any) -> tuple[bytes, set[int]]:
    reading, writing = os.pipe()
    os.write(writing, stream)
    os.close(writing)
    with memory_file() as target, FileIO(target, "rb+") as file:
        with open_stream(f"/proc/self/fd/{reading}") as reader:
            _, missing = restore(reader, file, salvage=True, **(ONE_OF_EACH | options))
        os.close(reading)
        file.seek(0)
        return file.read(), {page for pages in missing for page in pages}


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_cuts_of_a_pipe_of_unknown_length(grouping: str) -> None:
    """The image ends with the last page that could be saved."""
    reading, writing = os.pipe()
    os.write(writing, DATA)
    os.close(writing)
    sink = BytesIO()
    with open_image(f"/proc/self/fd/{reading}") as image:
        compress(image, sink, Choice(grouping=grouping, packet_pages=PACKET))
    os.close(reading)
    stream = sink.getvalue()
    whole = dissect(stream)
    for cut in range(len(whole.header), len(stream), 7):
        done = [r for r in whole.data if r.offset + 40 + len(r.body) <= cut]
        pages = max((r.first_page + r.pages for r in done), default=0)
        for salvage in (salvaged, through_a_pipe):
            assert salvage(stream[:cut]) == (DATA[: pages * PAGE], set())


@pytest.mark.parametrize(
    ("grouping", "dedup"),
    [("page", True), ("packet", True), ("stream", True), ("stream", False)],
)
def test_every_damaged_byte(
    grouping: str, dedup: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Costs its record, what refers to it, and the rest of its channel."""
    monkeypatch.setattr("migcomp.restore.open_codec", cache(open_codec))
    stream = bytearray(sound(grouping, dedup))
    whole = dissect(bytes(stream))
    for rec in whole.records:
        lost = pages_of(rec) if rec.kind in (PAGES, ZEROS) else set()
        may_lose = set(lost)
        for later in whole.data:
            if later.offset > rec.offset and grouping == "stream" and lost:
                kinds = later.body[: later.pages]
                may_lose |= pages_of(later) if 4 in kinds else set()
        for at in range(rec.offset, rec.offset + 40 + len(rec.body)):
            stream[at] ^= 0x55
            image, missing = salvaged(bytes(stream))
            stream[at] ^= 0x55
            orphans = {
                page
                for other in whole.data
                if other.kind == PAGES
                for page, equal in originals(other, grouping).items()
                if equal in missing
            }
            assert lost | orphans <= missing <= may_lose | orphans
            if grouping != "stream":
                assert missing == lost | orphans
            check_saved(image, missing)


def test_a_channel_that_is_whole_is_saved_whole() -> None:
    data = make_pages(*(("spot", n) for n in range(24)))
    choice = Choice(grouping="stream", packet_pages=1, channels=3)
    stream = bytearray(compressed(data, choice)[0])
    hit = dissect(bytes(stream)).data[7]
    stream[hit.offset + 41] ^= 1
    image, missing = salvaged(bytes(stream))
    assert missing == set(range(7, 24, 3))
    assert all(
        page_of(image, n) == page_of(data, n) for n in range(24) if n not in missing
    )


def test_damage_and_a_cut_together() -> None:
    """The end of the channel is missing even if nothing comes behind it."""
    data = make_pages(*(("spot", n) for n in range(9)))
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    sink = BytesIO()
    with open_image(f"/proc/self/fd/{reading}") as image:
        choice = Choice(grouping="stream", packet_pages=1, channels=1)
        compress(image, sink, choice)
    os.close(reading)
    stream = bytearray(sink.getvalue())
    records = dissect(bytes(stream)).records
    index = next(rec for rec in records if rec.kind == INDEX)
    stream[records[4].offset + 41] ^= 1
    saved, missing = salvaged(bytes(stream[: index.offset]))
    assert missing == {4, 5, 6, 7, 8}
    assert saved == data[: 4 * PAGE] + bytes(5 * PAGE)


def test_chains_of_orphans_are_missing() -> None:
    data = make_pages(("spot", 1), ("spot", 2), *[("spot", 1)] * 5, "spot")
    stream = bytearray(compressed(data, Choice(packet_pages=1, dedup=True))[0])
    stream[dissect(bytes(stream)).data[0].offset + 42] ^= 1
    image, missing = salvaged(bytes(stream))
    assert missing == {0, 2, 3, 4, 5, 6}
    assert page_of(image, 1) + page_of(image, 7) == make_pages(("spot", 2), "spot")


# --- Records that are whole, and no good --------------------------------------------


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("defect", ["class", "block", "longer"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_malformed_record_costs_its_pages(
    grouping: str, defect: str, threads: int
) -> None:
    """And what comes after it in its channel."""
    data = make_pages(*(("spot", n) for n in range(24)))
    choice = Choice(grouping=grouping, packet_pages=2, channels=3)
    whole = dissect(compressed(data, choice)[0])
    rec = whole.data[4]
    match defect:
        case "class":
            rec.body = b"\x09" + rec.body[1:]
        case "block":
            rec.body = rec.body[:-12] + bytes(12)
        case _:
            rec.body += b"and more"
    with pytest.raises(StreamError, match="; migcomp restore --salvage saves"):
        restored(whole.pack())
    lost = {8, 9} if grouping != "stream" else {8, 9, 14, 15, 20, 21}
    for take in (salvaged, through_a_pipe):
        image, missing = take(whole.pack(), threads=threads)
        assert missing == lost
        for page in range(24):
            expected = bytes(PAGE) if page in missing else page_of(data, page)
            assert page_of(image, page) == expected


def test_nothing_but_malformed_records() -> None:
    whole = dissect(compressed(make_pages(*["text"] * 8), Choice(packet_pages=2))[0])
    for rec in whole.data:
        rec.body = b"\x07" + rec.body[1:]
    assert salvaged(whole.pack()) == (bytes(8 * PAGE), set(range(8)))


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("bytes_more", [-1, -7, 1, 300])
def test_bytes_that_went_or_came(grouping: str, bytes_more: int) -> None:
    """Only the record that they are of is lost: the next is where it is found."""
    data = make_pages(*(("rows", n) for n in range(12)))
    choice = Choice(grouping=grouping, packet_pages=2, channels=6)
    sound = compressed(data, choice)[0]
    rec = dissect(sound).data[2]
    at = rec.offset + 40 + len(rec.body) // 2
    stream = sound[:at] + b"x" * max(bytes_more, 0) + sound[at + max(-bytes_more, 0) :]
    image, missing = salvaged(stream)
    assert missing == {4, 5}
    assert image == data[: 4 * PAGE] + bytes(2 * PAGE) + data[6 * PAGE :]


def test_a_stream_of_headers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each announces a body of all that follows: testing them all would be endless."""
    layout = (Block("a", 1 << 40, 0),)
    with memory_file(size=1 << 40) as path, open_image(path, layout=layout) as image:
        sink = BytesIO()
        compress(image, sink, Choice(packet_pages=1))
    header = dissect(sink.getvalue()).header
    size = 4096 + 4000
    heads = [Rec(PAGES, n, 1, body_size=size).pack(header) for n in range(20000)]
    stream = header + b"".join(heads)
    tested = 0

    def read(self: FileSource, size: int) -> bytes:
        nonlocal tested
        data = real_read(self, size)
        tested += len(data) if size == 4096 + 4000 else 0
        return data

    real_read = FileSource.read
    monkeypatch.setattr(FileSource, "read", read)
    length, _, missing = salvage_unread(stream)
    assert (length, missing) == (1 << 40, [range(1 << 28)])
    assert len(stream) < tested < 10 * len(stream)


# --- What is said of it -------------------------------------------------------------


def figures(stream: bytes) -> RunResult:
    with (
        memory_file(stream) as path,
        memory_file() as target,
        open_stream(path) as reader,
        FileIO(target, "rb+") as file,
    ):
        return restore(reader, file, salvage=True, **ONE_OF_EACH)[0]


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_figures_are_of_what_was_saved(grouping: str) -> None:
    data = make_pages(*(("rows", n) for n in range(12)), "zero", "zero")
    choice = Choice(grouping=grouping, packet_pages=2, channels=6)
    stream, made = compressed(data, choice)
    same = figures(stream)
    for name in ("pages", "compressed_bytes", "compressed_blocks", "image_digest"):
        assert getattr(same, name) == getattr(made, name)
    assert same.stream_bytes == len(stream)
    assert (same.missing_bytes, same.lost_bytes) == (0, 0)
    records = dissect(stream).data
    sizes = [compressed_in_body(rec, grouping) for rec in records]
    damaged = bytearray(stream)
    damaged[records[1].offset + 45] ^= 1
    malformed = dissect(stream)
    malformed.data[1].body = b"\x08" + records[1].body[1:]
    short = stream[: records[5].offset]
    for broken, lost in (
        (bytes(damaged), [1]),
        (malformed.pack(), [1]),
        (short, [5, 6]),
    ):
        result = figures(broken)
        assert result.pages.total == 14 - 2 * len(lost)
        assert result.missing_bytes == 2 * len(lost) * PAGE
        assert result.saved_bytes == result.pages.total * PAGE
        assert result.compressed_bytes == sum(
            size for n, size in enumerate(sizes) if n not in lost
        )
        gone = records[1]
        expected = 40 + len(gone.body) if lost == [1] else 0
        assert result.lost_bytes == expected
        assert result.image_rate == result.saved_bytes / (len(broken) - expected)


def compressed_in_body(rec: Rec, grouping: str) -> int:
    return (
        len(rec.body) - rec.pages * (3 if grouping == "page" else 1) if rec.body else 0
    )


def test_a_stream_inside_the_guest_is_not_taken_for_ours() -> None:
    """Guests hold streams in their page cache, stored as they are."""
    decoy = make_pages(*[("spot", 77)] * 6)
    inner = compressed(decoy, Choice("none", packet_pages=1))[0]
    inner = b"x" * 100 + inner + bytes(-(len(inner) + 100) % PAGE)
    data = make_pages(("spot", 1)) + inner + make_pages(("spot", 3))
    stream = bytearray(compressed(data, Choice("none", packet_pages=64))[0])
    stream[dissect(bytes(stream)).data[0].offset + 9] ^= 1
    image, missing = salvaged(bytes(stream))
    for page in set(range(len(data) // PAGE)) - missing:
        assert page_of(image, page) == page_of(data, page)


@pytest.mark.long
@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("codec", ["zstd", "none"])
def test_a_real_guest_comes_back(guest_images: Path, grouping: str, codec: str) -> None:
    path, sink = guest_images / "paused.raw", BytesIO()
    with open_image(str(path)) as image:
        compress(image, sink, Choice(codec, grouping=grouping, dedup=True))
    assert restored(sink.getvalue(), threads=2) == path.read_bytes()
