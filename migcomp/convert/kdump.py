# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing kdump-compressed dumps: pages compressed one by one, all zero pages as one.

64 bits, little-endian, version 6.  A pipe gets the flattened form, whose pieces say
where they belong.  images/kdump_headers.py and flattened.py tell where the formats
are described.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

from migcomp.codecs import open_codec
from migcomp.convert.flat import block_lengths, by_address
from migcomp.convert.stored import COMPRESSED, SAME, filled_page, in_order
from migcomp.errors import ImageError
from migcomp.images.flattened import END, HEADER, HEADER_SIZE, PIECE
from migcomp.images.headers import TABLE_MAX
from migcomp.images.image import Image
from migcomp.images.kdump import FORMAT as FORMAT
from migcomp.images.kdump import METHODS
from migcomp.images.signatures import FLATTENED, KDUMP
from migcomp.outputs import OutputFile
from migcomp.stream.sink import write_all

if TYPE_CHECKING:
    from migcomp.convert.convert import Wish

CODECS: tuple[str, ...] = ("zlib", "zstd", "none")

#: Signature, version, six names of 65 bytes, a time stamp; then status, block size,
#: blocks of the sub-header and of the bitmaps, pages (if 32 bits do), blocks of RAM
#: and of the device, written blocks, current CPU, number of CPUs.
_HEADER = struct.Struct("<8si390x6x16x10I")
_VERSION = 6
#: phys_base to size_eraseinfo, then the first, the end, and the number of pages.
_SUB_HEADER = struct.Struct("<80xQQQ")
_DESCRIPTOR = struct.Struct("<QIIQ")  # offset, bytes, flags, page_flags
_FLAGS = {method: flag for flag, method in METHODS.items()}
#: Descriptors that are written at once.
_DESCRIPTORS = 1 << 14


def write(image: Image, sink: OutputFile, wish: Wish) -> None:
    _DumpWriter(image, sink, wish).write()


class _DumpWriter:
    def __init__(self, image: Image, sink: OutputFile, wish: Wish) -> None:
        self._image = image
        self._wish = wish
        self._file = _Plain(sink) if sink.is_regular else _Flattened(sink)
        self._codec = open_codec(wish.codec or CODECS[0], level=wish.level)
        self._flag = _FLAGS.get(self._codec.name, 0)
        self._order = by_address(image)
        self._table = bytearray()  # descriptors that are not written yet
        self._done = 0  # pages

    def write(self) -> None:
        size = self._image.page_size
        frames = self._frames()
        end = frames[-1].stop
        bitmap = _bitmap(self._image.path, frames)
        blocks = -(-len(bitmap) // size)
        self._table_at = (2 + 2 * blocks) * size
        self._zero_at = self._table_at + _DESCRIPTOR.size * sum(map(len, frames))
        self._at = self._zero_at + size  # where the next page goes
        self._file.put(0, self._headers(2 * blocks, end))
        for copy in range(2):
            self._file.put((2 + copy * blocks) * size, bitmap)
        self._file.put(self._zero_at, bytes(size))
        in_order(
            self._image,
            self._codec,
            self._zeros,
            self._pages,
            threads=self._wish.threads,
            blocks=self._order,
        )
        self._put_table()
        self._file.finish()

    def _frames(self) -> list[range]:
        """The page frames of each block.  Raises ImageError."""
        image, size = self._image, self._image.page_size
        lengths, frames = block_lengths(image), []
        for number in self._order:
            block = image.blocks[number]
            first, within = divmod(block.guest_address, size)
            if within:
                raise ImageError(
                    f"{image.path} has a RAM block {block.name} that begins within a "
                    "page, which no kdump can tell; use --to elf"
                )
            frames.append(range(first, first + lengths[number] // size))
        return frames

    def _headers(self, bitmap_blocks: int, end: int) -> bytes:
        size = self._image.page_size
        head = _HEADER.pack(
            *(KDUMP, _VERSION, self._flag, size, 1, bitmap_blocks),
            *(min(end, (1 << 32) - 1), 0, 0, 0, 0, 1),
        )
        return head.ljust(size, b"\0") + _SUB_HEADER.pack(0, end, end).ljust(
            size, b"\0"
        )

    def _zeros(self, first_page: int, pages: int) -> None:
        zero = _DESCRIPTOR.pack(self._zero_at, self._image.page_size, 0, 0)
        left = pages
        while left:
            count = min(left, _DESCRIPTORS)
            self._describe(zero * count)
            left -= count
        self._tell(pages)

    def _pages(self, first_page: int, pages: list[tuple[int, bytes]]) -> None:
        size, at = self._image.page_size, self._at
        table, contents = [], []
        for kind, data in pages:
            if kind == SAME and self._flag:
                kind, data = COMPRESSED, filled_page(self._codec, data[:8], size)
            if not data:
                table.append(_DESCRIPTOR.pack(self._zero_at, size, 0, 0))
                continue
            flag = self._flag if kind == COMPRESSED else 0
            table.append(_DESCRIPTOR.pack(at, len(data), flag, 0))
            contents.append(data)
            at += len(data)
        self._file.put(self._at, b"".join(contents))
        self._at = at
        self._describe(b"".join(table))
        self._tell(len(pages))

    def _describe(self, descriptors: bytes) -> None:
        self._table += descriptors
        if len(self._table) >= _DESCRIPTORS * _DESCRIPTOR.size:
            self._put_table()

    def _put_table(self) -> None:
        self._file.put(self._table_at, bytes(self._table))
        self._table_at += len(self._table)
        self._table.clear()

    def _tell(self, pages: int) -> None:
        self._done += pages
        if self._wish.progress is not None:
            self._wish.progress(self._done, self._at)


def _bitmap(path: str, frames: Iterable[range]) -> bytes:
    """A bit for each page frame, the least significant first."""
    bitmap = bytearray()
    for block in frames:
        if block.stop > TABLE_MAX * 8:
            raise ImageError(
                f"{path} has memory up to page frame {block.stop - 1:#x}, for which a "
                "kdump's bitmap would be too large; use --to elf"
            )
        first, end = block.start, block.stop
        bitmap += bytes(-(-end // 8) - len(bitmap))
        while first < end and first % 8:
            bitmap[first // 8] |= 1 << first % 8
            first += 1
        bitmap[first // 8 : end // 8] = b"\xff" * (end // 8 - first // 8)
        for frame in range(max(first, end - end % 8), end):
            bitmap[frame // 8] |= 1 << frame % 8
    return bytes(bitmap)


class _Plain:
    """A regular file."""

    def __init__(self, sink: OutputFile) -> None:
        self._sink = sink

    def put(self, offset: int, data: bytes) -> None:
        self._sink.seek(offset)
        write_all(self._sink, data)

    def finish(self) -> None:
        pass


class _Flattened:
    """A pipe."""

    def __init__(self, sink: OutputFile) -> None:
        self._sink = sink
        write_all(sink, HEADER.pack(FLATTENED, 1, 1).ljust(HEADER_SIZE, b"\0"))

    def put(self, offset: int, data: bytes) -> None:
        if data:
            write_all(self._sink, PIECE.pack(offset, len(data)) + data)

    def finish(self) -> None:
        write_all(self._sink, PIECE.pack(END, END))
