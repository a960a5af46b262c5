# SPDX-License-Identifier: LGPL-2.1-or-later
"""A recorded migration, played again: the pages and content of every round."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp.errors import ImageError
from migcomp.images.open import open_image
from migcomp.images.qemu_recording import Recording
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.replay import Replay
from tests.conftest import make_page, memory_file
from tests.qemu_tools import BLOCKS, PAGE, Writer, a_stream, bulk, mapped_stream

PAGES = [(name, page) for name, pages in BLOCKS for page in range(pages)]
KINDS = ("zero", "normal", "compressed", "changed")

#: (page, kind of record, seed of the content)
RECORD = st.tuples(
    st.integers(0, len(PAGES) - 1), st.sampled_from(KINDS), st.integers(1, 200)
)


def write(writer: Writer, page: int, kind: str, seed: int) -> None:
    name, number = PAGES[page]
    if kind == "zero":
        writer.zero(name, number)
    elif kind == "changed":
        old = writer.pages[name, number]
        writer.changed(name, number, bytes([old[0] ^ seed]) + old[1:])
    else:
        getattr(writer, kind)(name, number, make_page("rows", seed))


def contents(memory: GuestMemory) -> bytes:
    return memory.read(0, memory.pages)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(RECORD, max_size=30),
    st.lists(RECORD, max_size=8, unique_by=lambda record: record[0]),
)
def test_every_round_has_the_pages_and_contents_recorded(
    live: list[tuple[int, str, int]], last: list[tuple[int, str, int]]
) -> None:
    writer = Writer()
    writer.start()
    bulk(writer)
    rounds, memories = [set(range(len(PAGES)))], [writer.memory]
    writer.part()
    for page, kind, seed in live:
        if page in rounds[-1]:
            rounds.append(set())
            memories.append(b"")
        write(writer, page, kind, seed)
        rounds[-1].add(page)
        memories[-1] = writer.memory
    writer.end_records()
    writer.head(3, 2)
    for page, kind, seed in last:
        write(writer, page, kind, seed)
    writer.end_records()
    rounds.append({page for page, _, _ in last})
    memories.append(writer.memory)
    with memory_file(writer.finish()) as path, Replay(path) as replay:
        assert replay.description == f"a recording of {len(rounds)} rounds"
        with replay.memory() as memory:
            for number, (pages, expected) in enumerate(
                zip(rounds, memories, strict=True)
            ):
                assert replay.run(memory, 1.0) == ()
                if number:
                    assert not replay.last_round
                    assert list(replay.next_round(memory)) == sorted(pages)
                assert contents(memory) == expected
            assert replay.last_round
            assert not replay.next_round(memory)
            assert contents(memory) == expected


def test_zero_pages_of_the_first_round_take_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pages that were never written do not."""
    written = []
    write = GuestMemory.write

    def spy(self: GuestMemory, page: int, data: bytes | memoryview) -> None:
        written.append(page)
        write(self, page, data)

    monkeypatch.setattr(GuestMemory, "write", spy)
    writer = Writer()
    writer.start()
    writer.part()
    writer.zero(b"pc.ram", 0)
    writer.zero(b"pc.ram", 1, 7)
    writer.normal(b"pc.ram", 2, make_page("rows", 1))
    writer.zero(b"pc.ram", 2)
    writer.end_records()
    writer.end_ram()
    with (
        memory_file(writer.finish()) as path,
        Replay(path) as replay,
        replay.memory() as memory,
    ):
        assert written == [1, 2]
        assert memory.read(0, 3) == bytes(PAGE) + b"\7" * PAGE + make_page("rows", 1)
        assert list(replay.next_round(memory)) == [2]
        assert memory.read(2) == bytes(PAGE)


def test_a_page_sent_first_when_the_guest_was_stopped_is_of_the_first_round() -> None:
    writer = Writer()
    writer.start()
    writer.part()
    writer.normal(b"pc.ram", 0, make_page("rows", 1))
    writer.end_records()
    writer.head(3, 2)
    writer.normal(b"pc.ram", 1, make_page("rows", 2))
    writer.normal(b"pc.ram", 0, make_page("rows", 3))
    writer.end_records()
    with (
        memory_file(writer.finish()) as path,
        Replay(path) as replay,
        replay.memory() as memory,
    ):
        assert memory.read(0, 2) == make_page("rows", 1) + make_page("rows", 2)
        assert list(replay.next_round(memory)) == [0]
        assert memory.read(0) == make_page("rows", 3)


def test_what_threads_had_not_finished_when_the_guest_was_stopped() -> None:
    """Their pages are in the last section, perhaps once more."""
    writer = Writer()
    writer.start()
    bulk(writer)
    writer.head(3, 2)
    for page, seed in ((3, 1), (4, 2), (5, 3), (4, 4), (3, 5)):
        writer.compressed(b"pc.ram", page, make_page("rows", seed))
    writer.end_records()
    with (
        memory_file(writer.finish()) as path,
        Replay(path) as replay,
        replay.memory() as memory,
    ):
        assert list(replay.next_round(memory)) == [3, 4]
        assert memory.read(3, 2) == make_page("rows", 1) + make_page("rows", 2)
        assert not replay.last_round
        assert list(replay.next_round(memory)) == [3, 4, 5]
        assert replay.last_round
        assert contents(memory) == writer.memory


def test_no_page_is_written_again_before_it_was_sent() -> None:
    writer = Writer()
    writer.start()
    bulk(writer)
    writer.part()
    writer.normal(b"pc.ram", 3, make_page("rows", 1))
    writer.normal(b"pc.ram", 5, make_page("rows", 2))
    writer.end_records()
    writer.end_ram()
    with (
        memory_file(writer.finish()) as path,
        Replay(path) as replay,
        replay.memory() as memory,
    ):
        assert replay.too_early(lambda page: page == 5)
        assert not replay.too_early(lambda page: page == 4)
        assert list(replay.next_round(memory)) == [3, 5]
        assert not replay.too_early(lambda page: True)


def test_a_guest_that_was_stopped_has_one_round() -> None:
    writer = Writer()
    writer.start()
    writer.head(3, 2)
    writer.normal(b"pc.ram", 1, make_page("rows", 2))
    writer.end_records()
    with (
        memory_file(writer.finish()) as path,
        Replay(path) as replay,
        replay.memory() as memory,
    ):
        assert memory.read(1) == make_page("rows", 2)
        assert (list(replay.next_round(memory)), replay.last_round) == ([], True)


def refusal(stream: bytes) -> str:
    with memory_file(stream) as path:
        with pytest.raises(ImageError) as caught, Replay(path) as replay:
            replay.memory()
        return str(caught.value).removeprefix(f"{path}")


def test_what_cannot_be_replayed() -> None:
    assert "no recording" in refusal(bytes(8192))
    assert "mapped-ram" in refusal(mapped_stream()[0])
    writer = Writer()
    writer.start()
    writer.part()
    writer.record(b"pc.ram", 4, 0x100, b"\0\0\0\4abcd")
    writer.end_records()
    writer.end_ram()
    assert refusal(writer.finish()).startswith(": page 4: Error -3")
    writer = Writer()
    writer.start()
    writer.part()
    writer.compressed(b"pc.ram", 4, b"short")
    writer.end_records()
    writer.end_ram()
    assert refusal(writer.finish()) == ": page 4 decompresses to 5 bytes"
    writer = Writer()
    writer.start()
    writer.part()
    writer.record(b"pc.ram", 4, 0x40, b"\1\0\2\0\0")
    writer.end_records()
    writer.end_ram()
    assert refusal(writer.finish()).startswith(": page 4: ")


def test_a_recording_that_becomes_shorter() -> None:
    stream, _ = a_stream()
    with memory_file(stream) as path, Replay(path) as replay:
        os.truncate(path, 5000)
        with pytest.raises(ImageError, match="became shorter"):
            replay.memory()


@pytest.mark.parametrize("name", ["live-plain", "live-xbzrle", "live-compress"])
def test_a_real_migration(guest_streams: Path, name: str) -> None:
    """QEMU's own figures; docs/qemu-streams.md says what compress miscounts."""
    said = json.loads((guest_streams / f"{name}.json").read_text())["query-migrate"]
    path = str(guest_streams / f"{name}.qemu")
    with Recording(path) as recording:
        kinds = [0, 0, 0, 0]
        for number in range(1, recording.rounds + 1):
            for record in recording.records(number):
                kinds[record.kind] += 1
        # A sync before each round, and another when the guest is stopped.
        assert recording.rounds + 1 == said["ram"]["dirty-sync-count"]
        assert kinds[1] == said["ram"]["normal"]
        if name != "live-compress":
            assert kinds[0] == said["ram"]["duplicate"]
    with Replay(path) as replay, replay.memory() as memory:
        while not replay.last_round:
            assert len(replay.next_round(memory)) > 0
        with open_image(path) as image, GuestMemory.copy_of(image) as last:
            assert memory.buffer[:] == last.buffer[:]
