# SPDX-License-Identifier: LGPL-2.1-or-later
"""The sections of a QEMU migration stream: who wrote which bytes of it.

The format is QEMU's (``migration/savevm.c`` and ``migration/vmstate.c`` of 7.2),
described in docs/qemu-streams.md.  RAM comes first and says where it ends.  The
state of devices does not: its end is where the description at the stream's end
(``vmdescription``) puts it, or else the first footer of the section with
something sensible behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from migcomp.images.qemu_bytes import CutOff, StreamBytes
from migcomp.images.qemu_description import device_sizes
from migcomp.images.signatures import QEMU

VERSION = 3

EOF, START, PART, END, FULL, SUBSECTION = range(6)
VMDESCRIPTION, CONFIGURATION, COMMAND, FOOTER = 6, 7, 8, 0x7E
#: The part of the configuration that tells the page size.
PAGE_BITS = b"configuration/target-page-bits"

KINDS = {
    EOF: "eof",
    START: "start",
    PART: "part",
    END: "end",
    FULL: "full",
    VMDESCRIPTION: "vmdescription",
    CONFIGURATION: "configuration",
    COMMAND: "command",
}
RAM, RAM_VERSION = "ram", 4
FOOTER_SIZE = 5

_HEADER_SIZE = 8
_PACKAGED = 7  # the command that has a stream of its own behind it
#: Of a description that is read: it takes many times as much in memory.
_DESCRIPTION_MAX = 2 << 20
#: Sections of a stream; QEMU makes about 20 a second.
_SECTIONS_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Section:
    """Bytes ``start`` to ``end``, of which ``body`` to ``body_end`` are its own.

    ``kind`` is a key of KINDS.  ``number`` and what follows are 0 and "" for
    what is no section of a device.
    """

    kind: int
    start: int
    body: int
    body_end: int
    end: int
    number: int = 0
    name: str = ""
    instance: int = 0
    version: int = 0


@dataclass(frozen=True)
class Sections:
    """All of a stream.

    ``machine`` is empty without configuration; ``page_size`` is None when the
    stream does not tell; ``rest`` is where it is not understood any more, behind
    the RAM, and None when it is to the end.
    """

    sections: tuple[Section, ...]
    machine: str
    capabilities: tuple[str, ...]
    page_size: int | None
    footers: bool
    rest: int | None


#: Called with a RAM section and where its body starts; where the body ends.
ReadRam = Callable[["SectionReader", int, int], int]


class SectionReader:
    """Goes through a stream once."""

    def __init__(self, stream: StreamBytes, read_ram: ReadRam) -> None:
        self.machine = ""
        self.capabilities: tuple[str, ...] = ()
        self.page_size: int | None = None
        self._stream = stream
        self._read_ram = read_ram
        self._sections: list[Section] = []
        self._live: dict[int, tuple[str, int, int]] = {}
        self._footers: bool | None = None
        self._ram_ended = False
        self._sizes: Mapping[tuple[str, int], int] = {}

    def read(self) -> Sections:
        """Raises ImageError, unless the RAM is complete."""
        stream = self._stream
        at, rest = 0, None
        try:
            at = self._read_header()
            self._read_description()
            at = self._read_configuration(at)
            while at < stream.size:
                kind = stream.number(at, 1)
                at = self._read_section(kind, at)
                if kind == EOF:
                    break
                if len(self._sections) > _SECTIONS_MAX:
                    raise stream.error("it has too many sections", at)
            if at < stream.size and stream.number(at, 1) == VMDESCRIPTION:
                end = at + 5 + stream.number(at + 1, 4)
                if end <= stream.size:
                    self._add(VMDESCRIPTION, at, at + 5, end, end)
                    at = end
            if at < stream.size:
                rest = at
        except CutOff:
            rest = at
        if not self._ram_ended:
            raise stream.error("it is cut off before the end of its RAM", stream.size)
        return Sections(
            tuple(self._sections),
            self.machine,
            self.capabilities,
            self.page_size,
            bool(self._footers),
            rest,
        )

    # --- Before the sections ------------------------------------------------------

    def _read_header(self) -> int:
        magic, version = self._stream.at(0, 4), self._stream.number(4, 4)
        if magic != QEMU:
            raise self._stream.error("it does not start as a QEMU stream does", 0)
        if version != VERSION:
            raise self._stream.error(
                f"it is of version {version}, and only {VERSION} is read", 4
            )
        return _HEADER_SIZE

    def _read_description(self) -> None:
        """Looks for what QEMU puts at the end: 0x06, length, JSON."""
        import json

        stream = self._stream
        tail = min(stream.size, _DESCRIPTION_MAX)
        start = stream.size - tail
        data = stream.at(start, tail)
        at = len(data)
        while (at := data.rfind(b"\0\x06", 0, at)) >= 0:
            length = int.from_bytes(data[at + 2 : at + 6], "big")
            if at + 6 + length == len(data):
                break
        else:
            return
        try:
            description = json.loads(data[at + 6 :])
        except (ValueError, RecursionError):
            return
        self._sizes = device_sizes(description)
        size = description.get("page_size") if isinstance(description, dict) else None
        if isinstance(size, int):
            self.page_size = size

    def _read_configuration(self, at: int) -> int:
        stream, start = self._stream, at
        if stream.number(at, 1) != CONFIGURATION:
            return at
        length = stream.number(at + 1, 4)
        if length > 255:
            raise stream.error(f"its machine type has {length} bytes", at)
        self.machine = printable_name(stream.at(at + 5, length))
        at += 5 + length
        while stream.number(at, 1) == SUBSECTION:
            length = stream.number(at + 1, 1)
            name = stream.at(at + 2, length)
            at = self._read_subsection(name, at + 2 + length + 4)
        self._add(CONFIGURATION, start, start + 1, at, at)
        return at

    def _read_subsection(self, name: bytes, at: int) -> int:
        stream = self._stream
        if name == PAGE_BITS:
            bits = stream.number(at, 4)
            if bits > 32:
                raise stream.error(f"its pages have 2**{bits} bytes", at)
            self.page_size = 1 << bits
            return at + 4
        if name == b"configuration/capabilities":
            found = []
            count, at = stream.number(at, 4), at + 4
            for _ in range(min(count, 256)):
                length = stream.number(at, 1)
                found.append(printable_name(stream.at(at + 1, length)))
                at += 1 + length
            self.capabilities = tuple(found)
            return at
        if name == b"configuration/uuid":
            return at + 16
        raise stream.error(
            f"its configuration has the unknown part {printable_name(name)!r}", at
        )

    # --- Sections -------------------------------------------------------------------

    def _add(
        self, kind: int, start: int, body: int, body_end: int, end: int, number: int = 0
    ) -> None:
        name, instance, version = self._live.get(number, ("", 0, 0))
        if kind not in (START, PART, END, FULL):
            name, instance, version = "", 0, 0
        self._sections.append(
            Section(kind, start, body, body_end, end, number, name, instance, version)
        )

    def _read_section(self, kind: int, at: int) -> int:
        """Where the next one starts."""
        stream = self._stream
        match kind:
            case 0:
                self._add(EOF, at, at + 1, at + 1, at + 1)
                return at + 1
            case 1 | 4:
                number, name, instance, version, body = self._section_head(at)
                self._live[number] = (name, instance, version)
            case 2 | 3:
                number, body = stream.number(at + 1, 4), at + 5
                if number not in self._live:
                    raise self._unknown(f"a section {number} that never started", at)
            case 8:
                return self._read_command(at)
            case _:
                raise self._unknown(f"a section of unknown kind {kind:#04x}", at)
        if self._live[number][0] == RAM:
            version = self._live[number][2]
            if version != RAM_VERSION:
                raise stream.error(
                    f"it has RAM of version {version}, and only {RAM_VERSION} is read",
                    at,
                )
            body_end = self._ram_section(kind, body)
        else:
            body_end = self._end_of(number, body)
        end = body_end
        if self._has_footer(number, body_end):
            end += FOOTER_SIZE
        elif self._footers:
            raise self._unknown(f"no footer behind section {number}", body_end)
        self._add(kind, at, body, body_end, end, number)
        return end

    def _section_head(self, at: int) -> tuple[int, str, int, int, int]:
        stream = self._stream
        number, length = stream.number(at + 1, 4), stream.number(at + 5, 1)
        name = printable_name(stream.at(at + 6, length))
        fields = stream.at(at + 6 + length, 8)
        instance, version = struct.unpack(">II", fields)
        return number, name, instance, version, at + 6 + length + 8

    def _ram_section(self, kind: int, body: int) -> int:
        stream = self._stream
        if self._ram_ended:
            raise stream.error("its RAM goes on behind its end", body)
        try:
            end = self._read_ram(self, kind, body)
        except CutOff:
            raise stream.error("it is cut off within its RAM", stream.size) from None
        self._ram_ended |= kind in (END, FULL)
        return end

    def _unknown(self, what: str, at: int) -> Exception:
        """Behind the RAM, not to understand the stream does no harm."""
        if self._ram_ended:
            return CutOff()
        return self._stream.error(f"it has {what}", at)

    def _read_command(self, at: int) -> int:
        stream = self._stream
        command, length = stream.number(at + 1, 2), stream.number(at + 3, 2)
        end = at + 5 + length
        data = stream.at(at + 5, length)
        if command == _PACKAGED:
            end += int.from_bytes(data, "big")
        self._add(COMMAND, at, at + 5, end, end)
        return end

    def _has_footer(self, number: int, at: int) -> bool:
        """The first section tells whether the stream has footers."""
        stream, footer = self._stream, _footer(number)
        behind = stream.at(at, max(min(FOOTER_SIZE, stream.size - at), 0))
        # A part of it, or nothing where there were footers before.
        started = len(behind) < FOOTER_SIZE and footer.startswith(behind)
        if started and (self._footers or (self._footers is None and behind)):
            raise CutOff
        if self._footers is None:
            self._footers = behind == footer
        return behind == footer and self._footers

    # --- Where a device's state ends ------------------------------------------------

    def _end_of(self, number: int, body: int) -> int:
        name, instance, _ = self._live[number]
        described = self._sizes.get((name, instance))
        if described is not None:
            end = body + described
            behind = end + FOOTER_SIZE if self._footers else end
            if (not self._footers or self._has_footer(number, end)) and (
                self._starts_something(behind)
            ):
                return end
        if self._footers is False:
            raise CutOff
        end = body
        while True:
            end = self._stream.find(_footer(number), end)
            if self._starts_something(end + FOOTER_SIZE):
                return end
            end += 1

    def _starts_something(self, at: int) -> bool:
        """Whether what a stream may have there is there."""
        stream = self._stream
        if at == stream.size:
            return True
        try:
            kind = stream.number(at, 1)
            if kind in (START, FULL):
                number, name, _, _, _ = self._section_head(at)
                return bool(name) and "\\" not in name and number not in self._live
            if kind in (PART, END):
                return stream.number(at + 1, 4) in self._live
            if kind == EOF:
                return at + 1 == stream.size or (
                    stream.number(at + 1, 1) == VMDESCRIPTION
                )
            return kind == COMMAND and stream.number(at + 1, 2) < 64
        except CutOff:
            return False


def _footer(number: int) -> bytes:
    return struct.pack(">BI", FOOTER, number)


def printable_name(name: bytes) -> str:
    """QEMU's names are ASCII; other bytes are spelled out."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}"
        for byte in name
    )


def facts_of(sections: Sections) -> list[dict[str, Any]]:
    """All sections for people; consecutive parts of one are in one row."""
    rows: list[dict[str, Any]] = []
    number = -1
    for section in sections.sections:
        last = rows[-1] if rows else {}
        kind = KINDS[section.kind]
        if kind == "part" == last.get("kind") and number == section.number:
            last["count"] += 1
            last["bytes"] += section.end - section.start
            continue
        number = section.number
        rows.append(
            {
                "kind": kind,
                "name": section.name,
                "instance": section.instance,
                "version": section.version,
                "count": 1,
                "offset": section.start,
                "bytes": section.end - section.start,
            }
        )
    return rows
