# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU migration streams as images: every kind of record and section."""

from __future__ import annotations

import struct
from io import BytesIO
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp.choice import Choice
from migcomp.images.open import open_image
from migcomp.images.qemu_bytes import _CHUNK as CHUNK
from migcomp.pipeline import compress
from migcomp.results import Block
from tests.conftest import make_page, memory_file, piped, restored
from tests.qemu_images import NOISE, RAM, ROWS, TEXT, facts_of, memory_of, refusal
from tests.qemu_tools import (
    BLOCKS,
    COMPRESSED,
    DEVICES,
    FLUSH,
    NORMAL,
    PAGE,
    XBZRLE,
    ZERO,
    Writer,
    a_stream,
    bulk,
    configured,
    decode,
    mapped_stream,
    name_of,
    xbzrle,
)

# --- Records --------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_the_last_record_of_a_page_counts(seed: int) -> None:
    rng, writer = Random(seed), Writer()
    writer.start()
    writer.part()
    for _ in range(rng.randrange(200)):
        block, pages = rng.choice(BLOCKS)
        page = rng.randrange(pages)
        old = writer.pages.get((block, page), bytes(PAGE))
        match rng.randrange(7):
            case 0:
                writer.zero(block, page)
            case 1:
                writer.normal(block, page, rng.choice([TEXT, NOISE, ROWS]))
            case 2:
                writer.compressed(block, page, rng.choice([TEXT, NOISE, ROWS]))
            case 3:
                writer.end_records()
                writer.part()
            case 4:
                writer.put("Q", FLUSH)
            case _:
                new = bytearray(old)
                at = rng.randrange(PAGE)
                new[at : at + 50] = rng.randbytes(len(new[at : at + 50]))
                if new != old:
                    writer.changed(block, page, bytes(new))
    writer.end_records()
    writer.end_ram()
    stream = writer.finish()
    assert memory_of(stream) == writer.memory
    read = decode(stream)
    assert b"".join(read.memory.values()) == writer.memory
    found = facts_of(stream)
    ram = found["statistics"]["ram"]
    assert ram["transferred"] == read.record_bytes + 8 * read.parts
    assert (ram["duplicate"], ram["normal"]) == (read.counts[ZERO], read.counts[NORMAL])
    compression = found["statistics"].get("compression", {"pages": 0})
    assert compression["pages"] == read.counts[COMPRESSED]
    cache = found["statistics"].get("xbzrle-cache", {"pages": 0})
    assert cache["pages"] == read.counts[XBZRLE]


def test_what_is_in_a_stream() -> None:
    stream, writer = a_stream()
    with memory_file(stream) as path, open_image(path) as image:
        assert image.format == "qemu"
        assert image.blocks == (
            Block("pc.ram", 40 * PAGE, 0),
            Block("pc.bios", 4 * PAGE, 1 << 20),
        )
        found: Any = image.facts
    assert found["machine type"] == "pc"
    assert found["section footers"] == "yes"
    assert [
        (s["kind"], s["name"], s["instance"], s["count"]) for s in found["sections"]
    ] == [
        ("configuration", "", 0, 1),
        ("start", "ram", 0, 1),
        ("part", "ram", 0, 2),
        ("end", "ram", 0, 1),
        ("full", "timer", 0, 1),
        ("full", "cpu", 0, 1),
        ("full", "cpu", 1, 1),
        ("eof", "", 0, 1),
        ("vmdescription", "", 0, 1),
    ]
    assert sum(section["bytes"] for section in found["sections"]) == len(stream) - 8
    assert "not understood" not in found
    assert memory_of(stream) == writer.memory


def test_rounds_start_where_a_page_comes_again() -> None:
    writer = Writer()
    writer.start()
    bulk(writer)
    writer.part()
    writer.normal(RAM, 7, TEXT)
    writer.zero(RAM, 3)
    writer.changed(RAM, 8, make_page("text", 8)[:-9] + b"different")
    writer.end_records()
    writer.head(3, 2)
    writer.changed(RAM, 7, ROWS[:50] + TEXT[50:])
    writer.end_records()
    stream = writer.finish()
    found = facts_of(stream)
    assert [list(row.values())[:5] for row in found["rounds"]] == [
        [1, 9, 18, 17, 0],
        [2, 1, 1, 0, 1],
        [3, 0, 0, 0, 1],
    ]
    total = sum(row["bytes"] for row in found["rounds"])
    assert total == decode(stream).record_bytes
    delta = xbzrle(TEXT, ROWS[:50] + TEXT[50:])
    assert found["statistics"]["ram"]["downtime-bytes"] == 8 + 3 + len(delta)
    assert memory_of(stream) == writer.memory


def test_a_page_of_one_byte() -> None:
    """Before QEMU 8.2 a zero page's byte could be another."""
    writer = Writer()
    writer.start()
    writer.part()
    writer.zero(RAM, 5, fill=0xA5)
    writer.end_records()
    writer.end_ram()
    assert memory_of(writer.finish()) == writer.memory
    assert writer.memory.count(0xA5) == PAGE


def test_a_stream_from_a_pipe() -> None:
    writer = Writer(blocks=((b"pc.ram", 6),))
    writer.start()
    bulk(writer)
    writer.end_ram()
    sink = BytesIO()
    with piped(writer.finish()) as path, open_image(path) as image:
        compress(image, sink, Choice(dedup=True))
    assert restored(sink.getvalue()) == writer.memory


# --- Around the RAM -------------------------------------------------------------------


@pytest.mark.parametrize(
    "description",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"[" * 100000,
        b'{"devices": 5, "page_size": "x"}',
        b'{"devices": [5, {"name": 1}, {"name": "cpu", "instance_id": 0}]}',
        b'{"devices": [{"name": "cpu", "instance_id": 0, "fields": [{"size": -1}]}]}',
        b'{"devices": [{"name": "cpu", "instance_id": 0, "fields": [{"size": 1}]}]}',
        b'{"devices": [{"name": "cpu", "instance_id": 0, "fields": [{"size": 1e9}]},'
        b' {"name": "timer", "instance_id": 0, "fields": [{"size": 99999}]}]}',
    ],
)
def test_devices_end_at_their_footers_without_a_description(
    description: bytes | None,
) -> None:
    writer = Writer()
    writer.start()
    writer.end_ram()
    # Without the real description, what looks like a footer would end it.
    devices = DEVICES if description is None else (("cpu", 0, b"a~b"), ("x", 0, b""))
    found = facts_of(writer.finish(devices, description))
    names = [s["name"] for s in found["sections"] if s["kind"] == "full"]
    assert names == [name for name, _, _ in devices]


@pytest.mark.parametrize("short", range(7))
def test_a_footer_across_what_is_read_at_once(short: int) -> None:
    writer = Writer()
    writer.start()
    writer.end_ram()
    # The first byte that is searched begins a chunk.
    devices = (("cpu", 0, bytes(CHUNK - short)), ("x", 0, b""))
    found = facts_of(writer.finish(devices, b""))
    sizes = [s["bytes"] for s in found["sections"] if s["kind"] == "full"]
    assert sizes == [CHUNK - short + 22, 20]


def test_many_false_footers_and_descriptions() -> None:
    """Each cost a copy of up to 64 KiB, and of all that is behind it."""
    writer = Writer()
    writer.start()
    writer.end_ram()
    false = b"\x7e\0\0\0\3" * 200_000
    found = facts_of(writer.finish((("cpu", 0, false),), b""))
    (device,) = (s for s in found["sections"] if s["kind"] == "full")
    assert device["bytes"] == len(false) + 22
    whole, _ = a_stream()
    found = facts_of(whole + b"\0\6\xff\xff" * 500_000)
    assert found["not understood"] == f"from byte {len(whole)} on"


def test_without_footers_the_description_counts() -> None:
    stream, writer = a_stream(footers=False)
    found = facts_of(stream)
    assert found["section footers"] == "no"
    names = [s["name"] for s in found["sections"] if s["kind"] == "full"]
    assert names == ["timer", "cpu", "cpu"]
    assert memory_of(stream) == writer.memory
    again = Writer(footers=False)
    again.start()
    again.end_ram()
    found = facts_of(again.finish(description=b""))
    assert found["not understood"].startswith("from byte ")


def test_what_is_unknown_behind_the_ram_does_no_harm() -> None:
    whole, writer = a_stream()
    end = decode(whole).ram_end
    for rest in (b"", b"\x99", b"\4\0\0\0\7\3cpu", b"\2\0\0\0\x63", whole[end:-100]):
        stream = whole[:end] + rest
        assert memory_of(stream) == writer.memory
    assert facts_of(whole[:end] + b"\x99")["not understood"] == f"from byte {end} on"
    assert facts_of(whole + b"more")["not understood"] == f"from byte {len(whole)} on"


def test_commands_and_other_live_sections() -> None:
    writer = Writer()
    writer.start()
    writer.put("BHHI", 8, 1, 4, 0)  # a command of four bytes
    writer.put("BHHI", 8, 7, 4, 5)  # one with a package behind it
    writer.data += b"12345"
    writer.head(1, 9, "dirty-bitmap", 0, 1)
    writer.data += b"bitmap"
    writer.footer(9)
    bulk(writer)
    writer.head(2, 9)
    writer.data += b"more"
    writer.footer(9)
    writer.end_ram()
    writer.head(3, 9)
    writer.footer(9)
    stream = writer.finish(description=b"")
    found = facts_of(stream)
    assert [(s["kind"], s["name"]) for s in found["sections"]][:9] == [
        ("configuration", ""),
        ("start", "ram"),
        ("command", ""),
        ("command", ""),
        ("start", "dirty-bitmap"),
        ("part", "ram"),
        ("part", "dirty-bitmap"),
        ("end", "ram"),
        ("end", "dirty-bitmap"),
    ]
    assert memory_of(stream) == writer.memory


def test_configuration() -> None:
    writer = Writer()
    writer.start(
        configured(
            (b"configuration/target-page-bits", struct.pack(">I", 12)),
            (b"configuration/uuid", bytes(16)),
            (b"configuration/capabilities", struct.pack(">I", 1) + name_of("colo")),
        )
    )
    bulk(writer)
    writer.end_ram()
    stream = writer.finish()
    found = facts_of(stream)
    assert (found["machine type"], found["capabilities"]) == ("virt", "colo")
    assert memory_of(stream) == writer.memory
    none = Writer()
    none.start(None)
    none.end_ram()
    assert facts_of(none.finish())["machine type"] == "not told"


def test_large_pages() -> None:
    size = 16384
    content = make_page("text", 1, size)
    writer = Writer()
    writer.data += b"QEVM" + struct.pack(">I", 3) + b"\x07\0\0\0"
    writer.data += configured(
        (b"configuration/target-page-bits", struct.pack(">I", 14))
    )
    writer.head(1, 2, "ram", 0, 4)
    writer.put("Q", 3 * size | 4)
    writer.data += name_of("mach-virt.ram")
    writer.put("Q", 3 * size)
    writer.end_records()
    writer.part()
    writer.put("Q", size | NORMAL)
    writer.data += name_of("mach-virt.ram") + content
    writer.end_records()
    writer.end_ram()
    stream = writer.finish()
    with memory_file(stream) as path, open_image(path) as image:
        assert image.page_size == size
        assert image.blocks == (Block("mach-virt.ram", 3 * size, 0x4000_0000),)
    assert memory_of(stream) == bytes(size) + content + bytes(size)


@pytest.mark.parametrize("postcopy", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_lists_of_blocks_with_more_fields(postcopy: bool, shared: bool) -> None:
    writer = Writer(blocks=((b"pc.ram", 512), (b"pc.bios", 4), (b"mem1", 512)))
    writer.data += b"QEVM" + struct.pack(">I", 3) + b"\x07\0\0\0"
    capability = struct.pack(">I", 1) + name_of("x-ignore-shared")
    parts = [(b"configuration/capabilities", capability)] if shared else []
    writer.data += configured(*parts)
    writer.head(1, 2, "ram", 0, 4)
    writer.put("Q", 1028 * PAGE | 4)
    for number, (name, pages) in enumerate(writer.blocks):
        writer.data += name_of(name)
        writer.put("Q", pages * PAGE)
        if postcopy and pages == 512:
            writer.put("Q", 2 << 20)
        if shared:
            writer.put("Q", number << 32)
    writer.end_records()
    bulk(writer)
    writer.end_ram()
    stream = writer.finish()
    assert memory_of(stream) == writer.memory
    if shared:
        with memory_file(stream) as path, open_image(path) as image:
            addresses = [block.guest_address for block in image.blocks]
        assert addresses == [0, 1 << 32, 2 << 32]


# --- mapped-ram -----------------------------------------------------------------------


def test_mapped_ram() -> None:
    stream, memory = mapped_stream()
    assert memory_of(stream) == memory
    found = facts_of(stream)
    assert found["mapped-ram"] == "yes"
    assert found["statistics"]["ram"]["normal"] == 14 + 2
    stream, memory = mapped_stream(left_out=True)
    assert memory_of(stream) == memory


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        (0, 2, "mapped-ram of version 2 with pages of 4096 bytes is not read"),
        (1, 8192, "mapped-ram of version 1 with pages of 8192 bytes"),
        (2, 3, "lies outside the stream"),
        (2, 2**64 - 1, "lies outside the stream"),
        (3, 3, "lies outside the stream"),
        (3, 2**64 - 1, "lies outside the stream"),
        (3, 2**40, "lies outside the stream"),
    ],
)
def test_mapped_ram_that_lies(field: int, value: int, sentence: str) -> None:
    def spoil(number: int, fields: list[int]) -> None:
        if number == 1:
            fields[field] = value

    stream, _ = mapped_stream(spoil)
    assert sentence in refusal(stream)
