# SPDX-License-Identifier: LGPL-2.1-or-later
"""LiME images: each range of memory behind a header of 32 bytes.

Format: LiME's README, version 1.  ``end`` is the address of the last byte.
"""

from __future__ import annotations

import struct

from migcomp.errors import ImageError
from migcomp.images.file import ImageFile
from migcomp.images.headers import size_of, take
from migcomp.images.mapped import MappedImage
from migcomp.images.regions import REGIONS_MAX, Region, open_regions

FORMAT = "lime"
MAGIC = b"EMiL"

_HEADER = struct.Struct("<4sIQQ8s")


def recognises(head: bytes) -> bool:
    return head.startswith(MAGIC)


def open_file(file: ImageFile, page_size: int) -> MappedImage:
    regions = _read_regions(file)
    facts = {"ranges": len(regions)}
    return open_regions(file, regions, FORMAT, page_size, facts)


def _read_regions(file: ImageFile) -> list[Region]:
    regions: list[Region] = []
    offset = 0
    while offset < size_of(file):
        header = take(file, offset, _HEADER.size, f"the header at byte {offset}")
        magic, version, start, end, _reserved = _HEADER.unpack(header)
        if magic != MAGIC or version != 1:
            raise ImageError(
                f"{file.path} is damaged: byte {offset} begins no LiME header of "
                "version 1"
            )
        if end < start:
            raise ImageError(
                f"{file.path} is damaged: its range at {start:#x} ends at {end:#x}"
            )
        if len(regions) == REGIONS_MAX:
            raise ImageError(f"{file.path} has too many ranges for any machine")
        length = end - start + 1
        offset += _HEADER.size
        regions.append(Region(start, length, offset, length))
        offset += length
    return regions
