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
from migcomp.images.packed import unpack
from migcomp.images.regions import REGIONS_MAX, Region, open_regions
from migcomp.images.signatures import LIME

FORMAT = "lime"
VERSION = 1

#: Magic, version, first and last address, 0.
HEADER = struct.Struct("<4sIQQ8s")


def open_file(file: ImageFile, page_size: int) -> MappedImage:
    """LiME's ``compress=1`` compresses the whole by zlib."""
    packed = not file.head.startswith(LIME)
    copy = unpack(file, 0, "zlib", LIME) if packed else file
    try:
        regions = _read_regions(copy)
        facts = {"ranges": len(regions), "compressed": "yes" if packed else "no"}
        image = open_regions(copy, regions, FORMAT, page_size, facts)
    except BaseException:
        if packed:
            copy.close()
        raise
    if packed:
        file.close()
    return image


def _read_regions(file: ImageFile) -> list[Region]:
    regions: list[Region] = []
    offset = 0
    while offset < size_of(file):
        header = take(file, offset, HEADER.size, f"the header at byte {offset}")
        magic, version, start, end, _reserved = HEADER.unpack(header)
        if magic != LIME or version != VERSION:
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
        offset += HEADER.size
        regions.append(Region(start, length, offset, length))
        offset += length
    return regions
