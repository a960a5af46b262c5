# SPDX-License-Identifier: LGPL-2.1-or-later
"""The headers, bitmaps and descriptors of pages of a kdump-compressed dump.

Format: makedumpfile's ``diskdump_mod.h`` and ``IMPLEMENTATION``; QEMU 8.2,
``include/sysemu/dump.h``.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from itertools import accumulate

from migcomp.errors import ImageError
from migcomp.images.bitmap import set_runs
from migcomp.images.file import ImageFile
from migcomp.images.flattened import FlatView, PlainView
from migcomp.images.headers import cut_off
from migcomp.images.image import PAGE_SIZES
from migcomp.images.regions import REGIONS_MAX
from migcomp.images.signatures import FLATTENED, KDUMP
from migcomp.results import Block

#: Fields from ``status`` on, behind a time stamp of 2 longs that are aligned.
_HEADER = struct.Struct("11I")
_VERSION_AT, _NAMES_AT, _NAME_SIZE = 8, 12, 65
_FIELDS_AT = {8: 424, 4: 412}  # by the bytes of a long
_SPLIT_AT = {8: 12, 4: 8}
_MAX_MAPNR_64_AT = 96  # in the 64-bit sub-header of version 6 and later
_DESCRIPTOR_SIZE = 24  # offset (8), size (4), flags (4), page_flags (8)
#: Pages whose descriptors are looked up at once; a multiple of 8.
_CHUNK = 1 << 15
_PAGES_MAX = 1 << 40


class Dump:
    """A dump's headers and bitmaps."""

    def __init__(self, file: ImageFile) -> None:
        """Raises ImageError."""
        self.path = file.path
        flattened = file.head.startswith(FLATTENED)
        self.view = FlatView(file) if flattened else PlainView(file)
        self._read_header()
        size, sub_blocks, bitmap_blocks = self._geometry
        at = (1 + sub_blocks) * size
        half = bitmap_blocks * size // 2
        self._bits = self._max_mapnr
        needed = -(-self._bits // 8)
        if needed > half:
            raise ImageError(
                f"{self.path} is damaged: its bitmaps have no room for {self._bits} "
                "pages"
            )
        memory = self.view.read(at, needed, "its first bitmap")
        self._dumped = self.view.read(at + half, needed, "its second bitmap")
        self._descriptors = at + 2 * half
        self.runs = self._memory_runs(memory)
        self._ranks = self._count()

    @property
    def blocks(self) -> tuple[Block, ...]:
        size = self.page_size
        return tuple(
            Block(f"ram@{first * size:#x}", pages * size, first * size)
            for first, pages in self.runs
        )

    # --- Reading headers ------------------------------------------------------------

    def _read_header(self) -> None:
        head = self.view.read(0, 4096, "its header")
        if not head.startswith(KDUMP):
            raise ImageError(f"{self.path} is flattened, but no kdump")
        for self._order in "<>":
            for self._long, at in _FIELDS_AT.items():
                fields = struct.unpack_from(self._order + _HEADER.format, head, at)
                if fields[1] in PAGE_SIZES and 0 < fields[2] < 1 << 16:
                    break
            else:
                continue
            break
        else:
            raise ImageError(f"{self.path} is damaged: it tells no page size")
        _, self.page_size, sub_blocks, bitmap_blocks, self._max_mapnr, *_ = fields
        self._geometry = (self.page_size, sub_blocks, bitmap_blocks)
        (self.version,) = struct.unpack_from(self._order + "i", head, _VERSION_AT)
        self._read_sub_header()
        if not 0 < self._max_mapnr <= _PAGES_MAX:
            raise ImageError(f"{self.path} claims {self._max_mapnr} pages")

    def _read_sub_header(self) -> None:
        if self.version < 1:
            return
        sub = self.view.read(self.page_size, 128, "its sub-header")
        (split,) = struct.unpack_from(self._order + "i", sub, _SPLIT_AT[self._long])
        if self.version >= 2 and split:
            raise ImageError(
                f"{self.path} is one part of a split dump; join them with "
                "makedumpfile --reassemble first"
            )
        if self.version >= 6 and self._long == 8:
            at = _MAX_MAPNR_64_AT
            (self._max_mapnr,) = struct.unpack_from(self._order + "Q", sub, at)

    def _memory_runs(self, bitmap: bytes) -> list[tuple[int, int]]:
        """(first page frame, pages) of what is memory."""
        runs: list[tuple[int, int]] = []
        for run in set_runs(bitmap, self._bits):
            if len(runs) == REGIONS_MAX:
                raise ImageError(f"{self.path} has too many regions of memory")
            runs.append(run)
        if not runs:
            raise ImageError(f"{self.path} holds no memory")
        return runs

    # --- Pages ------------------------------------------------------------------------

    def _count(self) -> list[int]:
        """How many pages are dumped before each chunk, and in all."""
        step = _CHUNK // 8
        counts = (
            int.from_bytes(self._dumped[at : at + step], "little").bit_count()
            for at in range(0, len(self._dumped), step)
        )
        ranks = list(accumulate(counts, initial=0))
        end = self._descriptors + ranks[-1] * _DESCRIPTOR_SIZE
        if end > self.view.size:
            raise cut_off(self.view.file, f"the descriptors of its {ranks[-1]} pages")
        return ranks

    @property
    def dumped_pages(self) -> int:
        return self._ranks[-1]

    def chunks(self) -> Iterator[tuple[bytes, int, bytes]]:
        """Chunk by chunk: the bitmap of what is dumped, its first page frame, and
        the descriptors of those pages."""
        for chunk, rank in enumerate(self._ranks[:-1]):
            start = chunk * _CHUNK
            bitmap = self._dumped[start // 8 : (start + _CHUNK) // 8]
            size = (self._ranks[chunk + 1] - rank) * _DESCRIPTOR_SIZE
            at = self._descriptors + rank * _DESCRIPTOR_SIZE
            yield bitmap, start, self.view.read(at, size, "its descriptors of pages")

    def unpack(self, table: bytes) -> tuple[array[int], array[int]]:
        """Descriptors: offsets, and size << 32 | flags."""
        words = array("Q", table)
        if (self._order == "<") != (sys.byteorder == "little"):
            words.byteswap()
        seconds = words[1::3]
        if self._order == "<":
            mask = (1 << 32) - 1
            seconds = array("Q", [(w & mask) << 32 | w >> 32 for w in seconds])
        return words[0::3], seconds
