# SPDX-License-Identifier: LGPL-2.1-or-later
"""ELF core files: QEMU's dump-guest-memory, VirtualBox's dumpvmcore,
/proc/vmcore, and the cores of processes.

Format: System V ABI, chapters 4 and 5; notes by QEMU 8.2, ``dump/dump.c``, and
VirtualBox, ``DBGFCoreWrite.cpp``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from migcomp.errors import ImageError
from migcomp.images.file import ImageFile
from migcomp.images.headers import take, unpack
from migcomp.images.mapped import MappedImage
from migcomp.images.regions import REGIONS_MAX, Region, open_regions
from migcomp.images.signatures import ELF

FORMAT = "elf"

CORE = 4  # e_type
MANY_SEGMENTS = 0xFFFF  # PN_XNUM: the number is in the first section's header
LOAD, _NOTE = 1, 4

#: Where the fields are: (file header behind e_ident, program header, section
#: header) for 32 and 64 bits.
HEADERS = {1: ("HHIIIIIHHHHHH", "IIIIIIII", 40), 2: ("HHIQQQIHHHHHH", "IIQQQQQQ", 64)}
_NOTES_MAX = 1 << 20

#: Who writes notes under these names.
_WRITERS = {b"QEMU": "QEMU", b"VBCORE": "VirtualBox", b"VMCOREINFO": "kdump"}


@dataclass(frozen=True, slots=True)
class _Segment:
    """A program header."""

    kind: int
    offset: int
    virtual: int
    physical: int
    stored: int
    length: int


def open_file(file: ImageFile, page_size: int) -> MappedImage:
    segments = _segments(file)
    loads = [s for s in segments if s.kind == LOAD and s.length]
    # The core of a process has virtual addresses only.
    virtual = len(loads) > 1 and not any(segment.physical for segment in loads)
    facts = {
        "written by": _writer(file, segments) or "not told",
        "addresses": "virtual" if virtual else "physical",
    }
    regions = _regions(loads, virtual)
    return open_regions(file, regions, FORMAT, page_size, facts)


def _regions(loads: list[_Segment], virtual: bool) -> list[Region]:
    regions = [
        Region(
            segment.virtual if virtual else segment.physical,
            segment.length,
            segment.offset,
            segment.stored,
        )
        for segment in loads
    ]
    return _without_copies(regions)


def _writer(file: ImageFile, segments: list[_Segment]) -> str:
    """Which program wrote the file, by its notes; empty when they do not tell."""
    for segment in segments:
        if segment.kind != _NOTE:
            continue
        notes = take(file, segment.offset, min(segment.stored, _NOTES_MAX), "its notes")
        for name, program in _WRITERS.items():
            if name + b"\0" in notes:
                return program
    return ""


def _segments(file: ImageFile) -> list[_Segment]:
    ident = take(file, 0, 16, "its header")
    width, order = ident[4], {1: "<", 2: ">"}.get(ident[5], "")
    if ident[:4] != ELF or width not in HEADERS or not order:
        raise ImageError(f"{file.path} is an ELF file of no known class")
    file_layout, segment_layout, section_size = HEADERS[width]
    fields = unpack(file, struct.Struct(order + file_layout), 16, "its header")
    kind, table, sections = fields[0], fields[4], fields[5]
    size, count = fields[8], fields[9]
    if kind != CORE:
        raise ImageError(
            f"{file.path} is an ELF file, but no core file with memory in it"
        )
    if count == MANY_SEGMENTS:
        section = take(file, sections, section_size, "its section header")
        # sh_info
        (count,) = struct.unpack_from(order + "I", section, 44 if width == 2 else 28)
    layout = struct.Struct(order + segment_layout)
    if size != layout.size:
        raise ImageError(
            f"{file.path} is damaged: its program headers have {size} bytes, "
            f"not {layout.size}"
        )
    if count > REGIONS_MAX:
        raise ImageError(f"{file.path} has {count} segments, which is absurd")
    data = take(file, table, count * size, "its program headers")
    return [_segment(width, *fields) for fields in layout.iter_unpack(data)]


def _segment(width: int, kind: int, *fields: int) -> _Segment:
    if width == 2:
        _flags, offset, virtual, physical, stored, length, _align = fields
    else:
        offset, virtual, physical, stored, length, _flags, _align = fields
    return _Segment(kind, offset, virtual, physical, stored, length)


def _without_copies(regions: list[Region]) -> list[Region]:
    """Without what another segment has too.

    QEMU's dumps with paging map the same bytes under several virtual addresses,
    and /proc/vmcore has the kernel's text once more in a segment of its own.
    """
    kept: list[Region] = []
    for region in sorted(regions, key=lambda r: (r.address, -r.length)):
        last = kept[-1] if kept else None
        ahead = region.address - last.address if last else 0
        if last is None or region.address >= last.end or ahead > last.stored:
            kept.append(region)  # if it overlaps, it is refused later
        elif region.offset - last.offset == ahead:
            length = max(last.length, ahead + region.length)
            stored = max(last.stored, ahead + region.stored)
            kept[-1] = replace(last, length=length, stored=stored)
        elif ahead + region.length > last.stored:
            kept.append(region)
    return kept
