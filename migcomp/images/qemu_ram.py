# SPDX-License-Identifier: LGPL-2.1-or-later
"""The RAM sections of a QEMU stream: blocks, and what became of each page.

Records are scanned by the C core, from header to header; here is the list of
RAM blocks that precedes them (``ram_save_setup`` in QEMU's ``migration/ram.c``).
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from enum import IntEnum

from migcomp import _core
from migcomp.errors import ImageError
from migcomp.images.image import PAGE_SIZES, pages_in
from migcomp.images.qemu_bytes import CutOff, StreamBytes
from migcomp.images.qemu_sections import (
    END,
    PART,
    START,
    SectionReader,
    printable_name,
)
from migcomp.units import format_size


class RamFlag(IntEnum):
    """The low bits of a record's header; the others are an offset in the block."""

    ZERO = 0x02
    MEM_SIZE = 0x04
    PAGE = 0x08
    EOS = 0x10
    CONTINUE = 0x20
    XBZRLE = 0x40
    COMPRESS_PAGE = 0x100
    MULTIFD_FLUSH = 0x200


_FLAGS = 0x3FF  # all that there are
_BLOCKS_MAX = 1024
_PAGES_MAX = 1 << 32
_ENTRY_SIZE = 16
_MAPPED_VERSION = 1
_MAPPED_HEADER_SIZE = 28
_MAPPED_ALIGNMENT = 1 << 20
_IGNORE_SHARED, _MAPPED_RAM = "x-ignore-shared", "mapped-ram"


@dataclass(frozen=True, slots=True)
class RamBlock:
    """As announced; ``guest_address`` is None when the stream does not tell it.

    ``bitmap`` and ``data`` are the offsets of mapped-ram, or None.
    """

    name: bytes
    length: int
    guest_address: int | None
    bitmap: int | None = None
    data: int | None = None


class RamReader:
    """Reads the RAM sections as SectionReader comes to them."""

    def __init__(
        self,
        stream: StreamBytes,
        memory: mmap.mmap | memoryview,
        default_page_size: int,
        *,
        logs: bool = False,
    ) -> None:
        """``logs``: its ``ram`` has a log of all records."""
        self.blocks: tuple[RamBlock, ...] = ()
        self.page_size = default_page_size
        self.total = 0
        self.parts = 0
        self.last_stage_bytes = 0
        self.records_before_end = 0
        self.mapped = False
        self._stream = stream
        self._memory = memory
        self._logs = logs
        self._ram: _core.QemuRam | None = None
        self._entries: mmap.mmap | None = None

    @property
    def ram(self) -> _core.QemuRam:
        assert self._ram is not None
        return self._ram

    def page_map(self, codecs: tuple[_core.Library, ...]) -> _core.PageMap:
        """Once all sections are read."""
        return _core.PageMap(
            self._memory,
            [],
            self.page_size,
            True,
            entries=self._entries,
            deltas=self.ram.deltas,
            codecs=codecs,
        )

    def record_bytes(self) -> int:
        """Of all records so far."""
        return sum(sum(sizes) for _, sizes in self.ram.rounds)

    def read(self, sections: SectionReader, kind: int, at: int) -> int:
        """A section's body; where it ends.  Raises ImageError and CutOff."""
        if kind == START:
            if self._ram is not None:
                raise self._stream.error("its RAM starts twice", at)
            at = self._read_blocks(sections, at)
        elif self._ram is None:
            raise self._stream.error("its RAM has no list of blocks", at)
        before = self.record_bytes() if kind == END else 0
        if kind == END:
            self.records_before_end = sum(sum(n) for n, _ in self.ram.rounds)
        at = self._scan(at)
        if kind == PART:
            self.parts += 1
        elif kind == END:
            self.last_stage_bytes = self.record_bytes() - before
        return at

    def _scan(self, at: int) -> int:
        ended = False
        while not ended:
            try:
                at, ended = self.ram.scan(self._memory, at)
            except ValueError as error:
                raise ImageError(f"{self._stream.path}: {error}") from error
            self._stream.watch(at)
        return at

    # --- The list of blocks ---------------------------------------------------------

    def _read_blocks(self, sections: SectionReader, at: int) -> int:
        stream = self._stream
        self.page_size = sections.page_size or self.page_size
        if self.page_size not in PAGE_SIZES:
            raise stream.error(
                f"its pages have {self.page_size} bytes, and none of "
                f"{', '.join(map(format_size, PAGE_SIZES))}",
                at,
            )
        head = stream.number(at, 8)
        if head & _FLAGS != RamFlag.MEM_SIZE:
            raise stream.error("its RAM does not start with the list of blocks", at)
        self.total = head & ~(self.page_size - 1)
        self.mapped = _MAPPED_RAM in sections.capabilities
        at += 8
        blocks: list[RamBlock] = []
        left = self.total
        while left:
            if len(blocks) == _BLOCKS_MAX:
                raise stream.error(f"it has more than {_BLOCKS_MAX} RAM blocks", at)
            block, at = self._read_block(sections, at, left)
            left -= block.length
            blocks.append(block)
        names = {block.name for block in blocks}
        if not blocks or len(names) < len(blocks):
            raise stream.error("its list of RAM blocks is empty, or repeats one", at)
        self.blocks = tuple(blocks)
        self._start_ram()
        return at

    def _read_block(
        self, sections: SectionReader, at: int, left: int
    ) -> tuple[RamBlock, int]:
        stream, start = self._stream, at
        size = stream.number(at, 1)
        name, length = stream.at(at + 1, size), stream.number(at + 1 + size, 8)
        at += 9 + size
        if not size or not 0 < length <= left:
            raise stream.error(
                f"RAM block {printable_name(name)!r} has {length} of the {left} bytes "
                "that are left",
                start,
            )
        if self.mapped:
            return self._read_mapped(name, length, at)
        shared = _IGNORE_SHARED in sections.capabilities
        numbers = self._numbers(at, 1 + shared, last=length == left)
        at += 8 * len(numbers)
        if not shared:
            return RamBlock(name, length, None), at
        if not numbers:
            raise stream.error("a RAM block has no guest address", start)
        return RamBlock(name, length, numbers[-1]), at

    def _numbers(self, at: int, most: int, *, last: bool) -> list[int]:
        """What follows a block's length: its page size, if it has large ones and
        postcopy-ram is on, and its guest address with x-ignore-shared.

        Where the next block's name should be, they have a zero byte, which is no
        length of a name; behind the last block, a record's header would have flags.
        """
        numbers: list[int] = []
        while len(numbers) < most:
            value = self._stream.number(at + 8 * len(numbers), 8)
            if value >> 56 or (last and value & _FLAGS):
                break
            numbers.append(value)
        return numbers

    def _read_mapped(self, name: bytes, length: int, at: int) -> tuple[RamBlock, int]:
        stream = self._stream
        head = stream.at(at, _MAPPED_HEADER_SIZE)
        version, page_size, bitmap, data = (
            int.from_bytes(head[a:b], "big")
            for a, b in ((0, 4), (4, 12), (12, 20), (20, 28))
        )
        end = data + length
        if version != _MAPPED_VERSION or page_size != self.page_size:
            raise stream.error(
                f"mapped-ram of version {version} with pages of {page_size} bytes is "
                "not read",
                at,
            )
        at += _MAPPED_HEADER_SIZE
        if not data:
            # A block that is left out; the stream goes on.
            return RamBlock(name, length, None), at
        if bitmap < at or data < bitmap or end > stream.size:
            raise stream.error("a mapped RAM block lies outside the stream", at)
        return RamBlock(name, length, None, bitmap, data), end

    def _start_ram(self) -> None:
        stream, size = self._stream, self.page_size
        pages = [(block.name, pages_in(block.length, size)) for block in self.blocks]
        total = sum(count for _, count in pages)
        try:
            if total > _PAGES_MAX:
                raise MemoryError
            # Of the table, only what is written takes memory.
            self._entries = mmap.mmap(
                -1, total * _ENTRY_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            )
            self._ram = _core.QemuRam(size, tuple(pages), self._entries, self._logs)
        except (MemoryError, OSError) as error:
            raise ImageError(
                f"{stream.path} announces {format_size(self.total)} of RAM, for whose "
                "pages there is no room in memory"
            ) from error
        for number, block in enumerate(self.blocks):
            if block.data is not None and block.bitmap is not None:
                count = -(-pages[number][1] // 64) * 8
                try:
                    bits = stream.at(block.bitmap, count)
                    self._ram.map_block(number, bits, block.data)
                except (CutOff, ValueError) as error:
                    raise stream.error(
                        "the bitmap of a mapped RAM block is malformed", block.bitmap
                    ) from error
