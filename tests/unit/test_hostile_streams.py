# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams that somebody damaged, or made to hurt.

Whatever a stream says, reading it ends in one of migcomp's errors or with the
image that was compressed, within memory that is known beforehand.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from migcomp.choice import Choice
from migcomp.codecs import GROUPINGS, open_codec
from migcomp.errors import CodecUnavailable, StreamError
from migcomp.results import Block
from migcomp.stream.reader import open_stream
from tests.conftest import (
    PAGE,
    compressed,
    make_pages,
    memory_file,
    restored,
    salvage_unread,
    salvaged,
)
from tests.stream_anatomy import END, INDEX, PAGES, ZEROS, Anatomy, Rec, dissect, sealed

pytestmark = pytest.mark.usefixtures("bounded_memory")

DATA = make_pages("spot", "zero", ("spot", 1), "same", "spot", *["zero"] * 5, "spot")
LAYOUT = (Block("low", 6 * PAGE, 0), Block("high", 5 * PAGE, 1 << 32))
REFUSALS = (StreamError, CodecUnavailable)


@pytest.fixture(autouse=True)
def one_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for libraries takes longer than all else of a small stream."""
    monkeypatch.setattr("migcomp.restore.open_codec", cache(open_codec))


@cache
def sound(grouping: str = "packet") -> bytes:
    """Several records of every class, in two blocks."""
    choice = Choice(
        grouping=grouping, packet_pages=2, channels=2, dedup=True, threads=1
    )
    return compressed(DATA, choice, layout=LAYOUT)[0]


def parts(grouping: str = "packet") -> Anatomy:
    return dissect(sound(grouping))


def check(stream: bytes) -> bool:
    """Whether it was refused; otherwise it must be the image."""
    try:
        image = restored(stream)
    except REFUSALS:
        return True
    assert image == DATA
    return False


def check_salvage(stream: bytes) -> None:
    """It says what is missing, in order, and fails only as it may."""
    with suppress(*REFUSALS):
        length, said, missing = salvage_unread(stream)
        assert length == said
        bounds = [bound for pages in missing for bound in (pages.start, pages.stop)]
        assert bounds == sorted(set(bounds))
        assert not bounds or bounds[-1] * PAGE <= length + PAGE


def test_the_sound_ones_have_it_all() -> None:
    for grouping in GROUPINGS:
        records = parts(grouping).records
        classes = set(b"".join(r.body[: r.pages] for r in records if r.kind == PAGES))
        assert classes == {0, 1, 2, 4}
        assert {rec.kind for rec in records} == {PAGES, ZEROS, INDEX, END}
        assert not check(sound(grouping))


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_every_flipped_byte_is_noticed(grouping: str) -> None:
    stream = bytearray(sound(grouping))
    for at in range(len(stream)):
        change = (1 << at % 8, 0xFF)[at % 3 == 0]
        stream[at] ^= change
        with pytest.raises(StreamError):
            restored(bytes(stream))
        stream[at] ^= change
    assert bytes(stream) == sound(grouping)


# --- Behind the checksums --------------------------------------------------------

EXTREMES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("<B", (0, 1, 0x7F, 0xFF)),
    ("<H", (0, 0x101, 0xFFFF)),
    ("<I", (0, 1, 1 << 31, (1 << 32) - 1)),
    ("<Q", (0, 1, 1 << 52, 1 << 63, (1 << 64) - 1)),
)


def mutations(data: bytes) -> Iterator[bytes]:
    """``data`` with extreme values in any field that begins anywhere."""
    for at in range(len(data)):
        for layout, values in EXTREMES:
            size = struct.calcsize(layout)
            for value in values:
                changed = data[:at] + struct.pack(layout, value) + data[at + size :]
                if changed != data and at + size <= len(data):
                    yield changed


some_or_all = pytest.mark.parametrize(
    "every", [3, pytest.param(1, marks=pytest.mark.long)]
)


@some_or_all
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_a_header_of_extremes(grouping: str, every: int) -> None:
    whole = parts(grouping)
    for changed in islice(mutations(whole.header[:-8]), 0, None, every):
        stream = replace(whole, header=sealed(changed)).pack()
        check(stream)
        check_salvage(stream)


@some_or_all
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_record_headers_of_extremes(grouping: str, every: int) -> None:
    refused = runs = 0
    header = parts(grouping).header
    for rec in parts(grouping).records:
        before = sound(grouping)[: rec.offset]
        after = sound(grouping)[rec.offset + 40 + len(rec.body) :]
        fixed = rec.pack(header)[:32]
        for head in islice(mutations(fixed), rec.offset % every, None, every):
            stream = before + sealed(head, header[-8:]) + rec.body + after
            refused += check(stream)
            runs += 1
            if runs % 4 == 0:
                check_salvage(stream)
    # Flags may have any value.
    assert 0.5 < refused / runs < 1


@some_or_all
@pytest.mark.parametrize("grouping", GROUPINGS)
def test_bodies_of_extremes(grouping: str, every: int) -> None:
    refused = runs = 0
    for number, rec in enumerate(parts(grouping).records):
        for body in islice(mutations(rec.body), number, None, every):
            whole = parts(grouping)
            whole.records[number] = replace(rec, body=body)
            refused += check(whole.pack())
            runs += 1
            if runs % 4 == 0:
                check_salvage(whole.pack())
    assert 0 < refused == runs


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_records_in_another_order(grouping: str) -> None:
    count = len(parts(grouping).records)

    def dropped(records: list[Rec], i: int) -> None:
        del records[i]

    def doubled(records: list[Rec], i: int) -> None:
        records.insert(i, replace(records[i]))

    def swapped(records: list[Rec], i: int) -> None:
        records[i], records[i - 1] = records[i - 1], records[i]

    def cut(records: list[Rec], i: int) -> None:
        records[i].body = records[i].body[:-1]

    def longer(records: list[Rec], i: int) -> None:
        records[i].body += b"\0"

    changes: tuple[Callable[[list[Rec], int], None], ...]
    changes = dropped, doubled, swapped, cut, longer
    for change in changes:
        for i in range(count):
            for pack in (Anatomy.pack, Anatomy.pack_indexed):
                whole = parts(grouping)
                if (change, whole.records[i].body) == (cut, b""):
                    continue
                change(whole.records, i)
                refused = check(pack(whole))
                assert refused or change in (cut, longer), (change.__name__, i)
                check_salvage(pack(whole))


def test_what_is_wrong_is_said() -> None:
    whole = parts()
    whole.records[1:3] = whole.records[2:0:-1]
    with pytest.raises(StreamError, match="page 2 should follow, and page 4 does"):
        restored(whole.pack())
    whole = parts()
    end = whole.records[-1]
    offset = int.from_bytes(end.body[-8:], "little")
    end.body = end.body[:-8] + struct.pack("<Q", offset + 1)
    with pytest.raises(StreamError, match="end does not fit what precedes it"):
        restored(whole.pack())


def test_an_index_of_nothing() -> None:
    for at in (0, 2, -1):
        whole = parts()
        whole.records.insert(at, Rec(INDEX, 0, 0))
        with pytest.raises(StreamError, match="index does not fit"):
            restored(whole.pack())


def test_an_index_that_never_comes() -> None:
    whole = dissect(compressed(make_pages("same") * 5000, Choice(packet_pages=1))[0])
    whole.records = [rec for rec in whole.records if rec.kind != INDEX]
    with pytest.raises(StreamError, match="index is missing"):
        restored(whole.pack_indexed())


def test_blocks_that_end_within_a_page() -> None:
    header = bytearray(parts().header[:-8])
    at = header.index(b"\x03\x00low") - 8
    header[at : at + 8] = struct.pack("<Q", 6 * PAGE - 1)
    with pytest.raises(StreamError, match="ends within a page"):
        restored(replace(parts(), header=sealed(bytes(header))).pack())


# --- Other versions, and what is no stream at all -------------------------------------


def test_unknown_records() -> None:
    for at in range(len(parts().records)):
        whole = parts()
        whole.records.insert(at, Rec(77, 5, 6, b"from the future", 9, flags=1))
        assert restored(whole.pack_indexed()) == DATA
        whole.records[at].flags = 0
        with pytest.raises(StreamError, match="unknown kind 77; a newer migcomp"):
            restored(whole.pack_indexed())
        assert salvaged(whole.pack_indexed()) == (DATA, set())


def test_versions() -> None:
    whole = parts()
    head = whole.header[:-8]
    minor = head[:10] + b"\x09\x00" + head[12:]
    assert restored(replace(whole, header=sealed(minor)).pack()) == DATA
    major = head[:8] + b"\x02\x00" + head[10:]
    with pytest.raises(StreamError, match=r"version 2\.0.*reads version 1; use"):
        restored(replace(whole, header=sealed(major)).pack())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\x89", "not a migcomp stream"),
        (b"\x89MIGC\r\n\x1a", "cut off within its header"),
        (b"\x7fELF" + bytes(500), "not a migcomp stream"),
    ],
)
def test_no_stream(content: bytes, sentence: str) -> None:
    with memory_file(content) as path, pytest.raises(StreamError, match=sentence):
        open_stream(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(StreamError, match="directory; name the stream"):
        open_stream(str(tmp_path))
    with pytest.raises(StreamError, match="cannot be opened: No such file"):
        open_stream(str(tmp_path / "absent"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.migc"
    path.write_bytes(sound())
    path.chmod(0)
    with pytest.raises(StreamError, match="cannot be opened: Permission denied"):
        open_stream(str(path))


# --- At random -----------------------------------------------------------------------


def mutate(stream: bytes, rng: Random) -> bytes:
    """A few changes of any kind; checksums put right half of the time."""
    whole = dissect(stream)
    for _ in range(rng.randrange(1, 4)):
        rec = rng.choice(whole.records)
        field = rng.choice(("kind", "first_page", "pages", "channel", "flags", "body"))
        if field == "body" and rec.body:
            body = bytearray(rec.body)
            for _ in range(rng.randrange(1, 4)):
                body[rng.randrange(len(body))] = rng.choice((0, 1, 2, 3, 4, 255))
            rec.body = bytes(body[: rng.choice((len(body), rng.randrange(len(body))))])
        elif field == "body":
            rec.body = rng.randbytes(rng.randrange(20))
        else:
            most = {"kind": 8, "first_page": 64, "pages": 32, "channel": 16, "flags": 8}
            value = rng.choice((0, 1, 2, rng.getrandbits(most[field])))
            setattr(rec, field, value % (1 << most[field]))
    ends = [rec for rec in whole.records if rec.kind == END]
    can_index = all(len(rec.body) >= 80 for rec in ends) and rng.random() < 0.5
    data = bytearray(whole.pack_indexed() if can_index else whole.pack())
    if rng.random() < 0.5:
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            size = rng.choice((1, 1, 8, 100))
            data[at : at + size] = rng.choice((b"", rng.randbytes(size), data[:size]))
    return bytes(data)


@pytest.mark.parametrize("rounds", [1000, pytest.param(10000, marks=pytest.mark.long)])
def test_random_mutations(rounds: int) -> None:
    rng = Random(rounds)
    for number in range(rounds):
        stream = mutate(sound(GROUPINGS[number % 3]), rng)
        check(stream)
        check_salvage(stream)
