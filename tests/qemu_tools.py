# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU migration streams put together, and read back by the letter of the format.

Written from docs/qemu-streams.md, apart from migcomp's reader: the two can only
agree by both being right, or by the document being wrong.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.conftest import make_page

PAGE = 4096
ZERO, MEM_SIZE, NORMAL, EOS = 0x02, 0x04, 0x08, 0x10
CONTINUE, XBZRLE, COMPRESSED, FLUSH = 0x20, 0x40, 0x100, 0x200

#: As a machine has them: main memory, and a small block that is read-only.
BLOCKS = ((b"pc.ram", 40), (b"pc.bios", 4))

DEVICE = b"state \x7e\0\0\0\3\4 of a device"  # with what looks like a footer
DEVICES = (("timer", 0, b"tick"), ("cpu", 0, DEVICE), ("cpu", 1, b""))


def name_of(text: bytes | str) -> bytes:
    data = text if isinstance(text, bytes) else text.encode()
    return bytes([len(data)]) + data


def xbzrle(old: bytes, new: bytes) -> bytes:
    """The delta, by the format's rules and in no clever way."""

    def length(number: int) -> bytes:
        if number < 0x80:
            return bytes([number])
        return bytes([number & 0x7F | 0x80, number >> 7])

    result, at = b"", 0
    while at < len(new):
        same = at
        while same < len(new) and old[same] == new[same]:
            same += 1
        if same == len(new):
            break
        end = same
        while end < len(new) and old[end] != new[end]:
            end += 1
        result += length(same - at) + length(end - same) + new[same:end]
        at = end
    return result


def patched(page: bytes, delta: bytes) -> bytes:
    """What a sound delta makes of a page."""
    result, at, to = bytearray(page), 0, 0

    def length() -> int:
        nonlocal at
        number = delta[at] & 0x7F
        if delta[at] & 0x80:
            at += 1
            number |= delta[at] << 7
        at += 1
        return number

    while at < len(delta):
        to += length()
        new = length()
        result[to : to + new] = delta[at : at + new]
        at, to = at + new, to + new
    assert len(result) == len(page)
    return bytes(result)


@dataclass
class Writer:
    """A stream in the making; ``pages`` is what the destination would have."""

    blocks: tuple[tuple[bytes, int], ...] = BLOCKS
    footers: bool = True
    data: bytearray = field(default_factory=bytearray)
    pages: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    last: bytes = b""

    def put(self, form: str, *values: int) -> None:
        self.data += struct.pack(">" + form, *values)

    def start(self, configuration: bytes | None = name_of("pc")) -> None:
        """``configuration``: what follows its type, with a length of 4 bytes."""
        self.data += b"QEVM"
        self.put("I", 3)
        if configuration is not None:
            self.data += b"\x07\0\0\0" + configuration
        self.head(1, 2, "ram", 0, 4)
        self.put("Q", sum(pages for _, pages in self.blocks) * PAGE | MEM_SIZE)
        for name, pages in self.blocks:
            self.data += name_of(name)
            self.put("Q", pages * PAGE)
        self.end_records(2)

    def head(
        self,
        kind: int,
        number: int,
        name: str = "",
        instance: int = 0,
        version: int = 0,
    ) -> None:
        self.put("BI", kind, number)
        if kind in (1, 4):
            self.data += name_of(name)
            self.put("II", instance, version)

    def footer(self, number: int) -> None:
        if self.footers:
            self.put("BI", 0x7E, number)

    def end_records(self, number: int = 2) -> None:
        self.put("Q", EOS)
        self.footer(number)

    def record(self, block: bytes, page: int, flags: int, body: bytes) -> None:
        known = CONTINUE if block == self.last else 0
        self.put("Q", page * PAGE | flags | known)
        if not known:
            self.data += name_of(block)
        self.last = block
        self.data += body

    def zero(self, block: bytes, page: int, fill: int = 0) -> None:
        self.record(block, page, ZERO, bytes([fill]))
        self.pages[block, page] = bytes([fill]) * PAGE

    def normal(self, block: bytes, page: int, content: bytes) -> None:
        self.record(block, page, NORMAL, content)
        self.pages[block, page] = content

    def compressed(self, block: bytes, page: int, content: bytes) -> None:
        packed = zlib.compress(content, 1)
        self.record(block, page, COMPRESSED, struct.pack(">I", len(packed)) + packed)
        self.pages[block, page] = content

    def changed(self, block: bytes, page: int, content: bytes) -> None:
        delta = xbzrle(self.pages.get((block, page), bytes(PAGE)), content)
        assert len(delta) <= PAGE
        self.record(block, page, XBZRLE, struct.pack(">BH", 1, len(delta)) + delta)
        self.pages[block, page] = content

    def part(self) -> None:
        """Begins a PART section; end_records ends it."""
        self.head(2, 2)

    def end_ram(self) -> None:
        self.head(3, 2)
        self.end_records()

    def finish(
        self,
        devices: tuple[tuple[str, int, bytes], ...] = DEVICES,
        description: bytes | None = None,
    ) -> bytes:
        """Devices, and their description unless another is given."""
        listed = []
        for number, (name, instance, state) in enumerate(devices, 3):
            self.head(4, number, name, instance, 1)
            self.data += state
            self.footer(number)
            halves = [
                {"name": "a", "type": "uint8", "size": 1, "array_len": len(state) // 2},
                {"name": "b", "type": "buffer", "size": len(state) - len(state) // 2},
            ]
            listed.append({"name": name, "instance_id": instance, "fields": halves})
        if description is None:
            content = {"page_size": PAGE, "devices": listed}
            description = json.dumps(content).encode()
        self.put("B", 0)
        if description:
            self.put("BI", 6, len(description))
            self.data += description
        return bytes(self.data)

    @property
    def memory(self) -> bytes:
        return b"".join(
            self.pages.get((name, page), bytes(PAGE))
            for name, pages in self.blocks
            for page in range(pages)
        )


def bulk(writer: Writer) -> None:
    """All pages once, of all kinds, as the first round sends them."""
    writer.part()
    for name, pages in writer.blocks:
        for page in range(pages):
            match page % 5:
                case 0:
                    writer.zero(name, page)
                case 1 | 2:
                    writer.normal(name, page, make_page("rows", page))
                case _:
                    writer.compressed(name, page, make_page("text", page))
        if name == writer.blocks[0][0]:
            writer.end_records()
            writer.part()
    writer.end_records()


def a_stream(**options: Any) -> tuple[bytes, Writer]:
    writer = Writer(**options)
    writer.start()
    bulk(writer)
    writer.end_ram()
    return writer.finish(), writer


def configured(*parts: tuple[bytes, bytes]) -> bytes:
    data = name_of("virt")
    for name, fields in parts:
        data += b"\5" + name_of(name) + struct.pack(">I", 1) + fields
    return data


def mapped_stream(
    spoil: Callable[[int, list[int]], None] = lambda number, fields: None,
    left_out: bool = False,
    alignment: int = 1 << 20,
) -> tuple[bytes, bytes]:
    """A stream of capability mapped-ram, and its memory; ``spoil`` may change what
    is written of a block's version, page size and places."""
    writer = Writer()
    writer.data += b"QEVM" + struct.pack(">I", 3) + b"\x07\0\0\0"
    capability = struct.pack(">I", 1) + name_of("mapped-ram")
    writer.data += configured((b"configuration/capabilities", capability))
    writer.head(1, 2, "ram", 0, 4)
    writer.put("Q", 44 * PAGE | 4)
    for number, (name, pages) in enumerate(BLOCKS):
        writer.data += name_of(name)
        writer.put("Q", pages * PAGE)
        if left_out and number:
            writer.put("IQQQ", 1, PAGE, 0, 0)
            continue
        bitmap = len(writer.data) + 28
        data = -(-(bitmap + 8) // alignment) * alignment
        fields = [1, PAGE, bitmap, data]
        spoil(number, fields)
        writer.put("IQQQ", *fields)
        bits = 0
        for page in range(0, pages, 3):
            bits |= 1 << page
            writer.pages[name, page] = make_page("rows", page)
        writer.data += bits.to_bytes(8, "little")
        writer.data += bytes(data - len(writer.data))
        for page in range(pages):
            # What is not in the bitmap is left from before.
            writer.data += writer.pages.get((name, page), b"old" + bytes(PAGE - 3))
    writer.end_records()
    writer.part()
    writer.end_records()
    writer.end_ram()
    return writer.finish(), writer.memory


@dataclass
class Read:
    """A whole stream, read by decode()."""

    memory: dict[bytes, bytearray]
    counts: dict[int, int]  # flag -> records
    record_bytes: int
    parts: int
    ram_end: int  # where the first section of a device starts


@dataclass(frozen=True)
class Page:
    """A page's record; its number is through all blocks, ``delta`` is empty unless it
    is XBZRLE."""

    last_section: bool
    number: int
    flags: int
    old: bytes
    new: bytes
    delta: bytes


def decode(stream: bytes, each: Callable[[Page], object] = lambda page: None) -> Read:
    """Reads the RAM of a sound stream with footers; AssertionError if it errs."""
    assert stream[:8] == b"QEVM\0\0\0\3"
    at = 8
    if stream[at] == 7:
        at += 5 + int.from_bytes(stream[at + 1 : at + 5], "big")
    result = Read({}, dict.fromkeys((ZERO, NORMAL, COMPRESSED, XBZRLE), 0), 0, 0, 0)
    block, first_page = bytearray(), 0
    while stream[at] in (1, 2, 3):
        kind = stream[at]
        if kind == 1:
            assert stream[at + 5 : at + 9] == b"\3ram"
            at += 9 + 8
        else:
            at += 5
        result.parts += kind == 2
        while True:
            start = at
            (head,) = struct.unpack_from(">Q", stream, at)
            at += 8
            flags, offset = head & 0xFFF, head & ~0xFFF
            if flags == EOS:
                break
            if flags == FLUSH:
                continue
            if flags == MEM_SIZE:
                while offset:
                    size = stream[at]
                    name = stream[at + 1 : at + 1 + size]
                    (length,) = struct.unpack_from(">Q", stream, at + 1 + size)
                    result.memory[name] = bytearray(length)
                    at += 9 + size
                    offset -= length
                continue
            if not flags & CONTINUE:
                size = stream[at]
                name = stream[at + 1 : at + 1 + size]
                block = result.memory[name]
                sizes = list(map(len, result.memory.values()))
                first_page = sum(sizes[: list(result.memory).index(name)]) // PAGE
                at += 1 + size
            flags &= ~CONTINUE
            old, delta = bytes(block[offset : offset + PAGE]), b""
            if flags == ZERO:
                page, at = stream[at : at + 1] * PAGE, at + 1
            elif flags == NORMAL:
                page, at = stream[at : at + PAGE], at + PAGE
            elif flags == COMPRESSED:
                (size,) = struct.unpack_from(">I", stream, at)
                page = zlib.decompress(stream[at + 4 : at + 4 + size])
                at += 4 + size
            else:
                assert flags == XBZRLE
                assert stream[at] == 1
                (size,) = struct.unpack_from(">H", stream, at + 1)
                delta = stream[at + 3 : at + 3 + size]
                page = patched(old, delta)
                at += 3 + size
            assert len(page) == len(old) == PAGE
            block[offset : offset + PAGE] = page
            number = first_page + offset // PAGE
            each(Page(kind == 3, number, flags, old, page, delta))
            result.counts[flags] += 1
            result.record_bytes += at - start
        assert stream[at] == 0x7E
        at += 5
    result.ram_end = at
    return result
