# SPDX-License-Identifier: LGPL-2.1-or-later
"""Windows crash dumps that hold all memory: complete (type 1) and bitmap (5).

Format: the headers as the Windows debuggers' symbols name them
(``_DUMP_HEADER``, ``_DUMP_HEADER64``); QEMU writes type 1 too
(QEMU 8.2, ``dump/win_dump.c``).
"""

from __future__ import annotations

import struct

from migcomp.errors import ImageError
from migcomp.images.bitmap import set_runs
from migcomp.images.file import ImageFile
from migcomp.images.headers import take
from migcomp.images.mapped import MappedImage
from migcomp.images.regions import REGIONS_MAX, Region, open_regions
from migcomp.images.signatures import WINDOWS_32, WINDOWS_64

FORMAT = "windows-dump"

PAGE = 4096
_COMPLETE, _BITMAP = 1, 5

#: Header's bytes; where DumpType is; where the runs are; their number's and one
#: run's layout.
_LAYOUTS = {
    WINDOWS_32: (0x1000, 0xF88, 0x64, struct.Struct("<II"), struct.Struct("<II")),
    WINDOWS_64: (0x2000, 0xF98, 0x88, struct.Struct("<IxxxxQ"), struct.Struct("<QQ")),
}
#: Of the physical memory block in the header.
_RUNS_BYTES = 700
#: Signature, "DUMP", offset of the first page, pages present, bits.
_SUMMARY = struct.Struct("<4s4s24xQQQ")
_SUMMARY_MAGICS = (b"SDMP", b"FDMP")


def open_file(file: ImageFile, page_size: int) -> MappedImage:
    magic = take(file, 0, 8, "its header")
    if magic not in _LAYOUTS:
        raise ImageError(f"{file.path} does not begin as a Windows crash dump")
    facts = {"bits": 64 if magic == WINDOWS_64 else 32}
    return open_regions(file, _read_regions(file), FORMAT, page_size, facts)


def _read_regions(file: ImageFile) -> list[Region]:
    magic = take(file, 0, 8, "its header")
    size, kind_at, *_ = _LAYOUTS[magic]
    header = take(file, 0, size, "its header")
    (kind,) = struct.unpack_from("<I", header, kind_at)
    if kind == _COMPLETE:
        return _runs(file, header)
    if kind == _BITMAP and magic == WINDOWS_64:
        return _bitmap(file, size)
    raise ImageError(
        f"{file.path} is a Windows crash dump of type {kind}, which does not hold "
        "all memory in a known way; take a complete memory dump"
    )


def _runs(file: ImageFile, header: bytes) -> list[Region]:
    size, _, at, count_layout, run_layout = _LAYOUTS[header[:8]]
    count = count_layout.unpack_from(header, at)[0]
    at += count_layout.size
    if count * run_layout.size > _RUNS_BYTES - count_layout.size:
        raise ImageError(f"{file.path} has {count} runs of memory, which is absurd")
    regions, offset = [], size
    for first, pages in run_layout.iter_unpack(
        header[at : at + count * run_layout.size]
    ):
        length = pages * PAGE
        regions.append(Region(first * PAGE, length, offset, length))
        offset += length
    return regions


def _bitmap(file: ImageFile, at: int) -> list[Region]:
    head = take(file, at, _SUMMARY.size, "its bitmap's header")
    magic, valid, offset, _present, bits = _SUMMARY.unpack(head)
    if magic not in _SUMMARY_MAGICS or valid != b"DUMP":
        raise ImageError(f"{file.path} is damaged: it has no bitmap's header")
    bitmap = take(file, at + _SUMMARY.size, -(-bits // 8), "its bitmap")
    regions: list[Region] = []
    for first, pages in set_runs(bitmap, bits):
        if len(regions) == REGIONS_MAX:
            raise ImageError(f"{file.path} has too many regions of memory")
        length = pages * PAGE
        regions.append(Region(first * PAGE, length, offset, length))
        offset += length
    return regions
