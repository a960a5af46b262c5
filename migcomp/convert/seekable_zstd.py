# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing raw memory in zstd's seekable format, front to back.

The RAM blocks lie back to back as in a raw image, 512 KiB to a frame.  Frames have
zstd's own checksum, and the table has it again.  images/seekable_zstd.py tells where
the format is described.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from migcomp import _core
from migcomp.codecs import open_codec
from migcomp.convert.stored import all_runs, memory_length
from migcomp.errors import ImageError
from migcomp.images.decode import REQUEST_BYTES, decode
from migcomp.images.image import Image, Run
from migcomp.images.seekable_zstd import (
    CHECKSUMS,
    FOOTER,
    FOOTER_MAGIC,
    FRAMES_MAX,
    TABLE_HEAD,
    TABLE_MAGIC,
)
from migcomp.images.seekable_zstd import FORMAT as FORMAT
from migcomp.outputs import OutputFile
from migcomp.stream.sink import write_all

if TYPE_CHECKING:
    from migcomp.convert.convert import Wish

CODECS: tuple[str, ...] = ("zstd",)

#: Bytes of content, of the frame, and 32 bits of the content's XXH64.
_ENTRY = struct.Struct("<III")
#: Where a frame's descriptor is, and its bit for a checksum at the end (RFC 8878).
_DESCRIPTOR_AT, _HAS_CHECKSUM = 4, 4


def write(image: Image, sink: OutputFile, wish: Wish) -> None:
    _FrameWriter(image, sink, wish).write()


class _FrameWriter:
    def __init__(self, image: Image, sink: OutputFile, wish: Wish) -> None:
        self._image = image
        self._sink = sink
        self._wish = wish
        self._codec = open_codec("zstd", level=wish.level)
        self._length = memory_length(image)
        self._frame_pages = REQUEST_BYTES // image.page_size
        #: Those of a last page that is cut off get a frame of their own.
        self._whole_pages = self._length // image.page_size
        self._reached = 0  # pages written
        self._written = 0  # bytes
        self._zeros_at = -1  # first page of the first full frame of zeros
        self._zeros = bytearray(), 0  # that frame, and its checksum
        self._table = bytearray()

    def write(self) -> None:
        if -(-self._length // REQUEST_BYTES) >= FRAMES_MAX:
            raise ImageError(
                f"{self._image.path} has more memory than a seek table can tell"
            )
        decode(
            self._image,
            self._runs(),
            self._take,
            codec=self._codec,
            frames=True,
            threads=self._wish.threads,
        )
        self._repeat_zeros(self._whole_pages)
        self._put_last_page()
        self._put_table()

    def _runs(self) -> Iterator[Run]:
        """What becomes a frame each.  Of those known to be zero, only the first."""
        for run in self._packets():
            if run.hole and run.pages == self._frame_pages:
                if self._zeros_at >= 0:
                    continue
                self._zeros_at = run.first_page
            yield Run(run.first_page, run.pages, hole=False)

    def _packets(self) -> Iterator[Run]:
        """All whole pages, across blocks; holes are those in holes altogether."""
        first, hole = 0, True
        for run in all_runs(self._image):
            at, end = run.first_page, min(run.first_page + run.pages, self._whole_pages)
            while at < end:
                hole = hole and run.hole
                at = min(first + self._frame_pages, end)
                if at == first + self._frame_pages:
                    yield Run(first, self._frame_pages, hole)
                    first, hole = at, True
        if first < self._whole_pages:
            yield Run(first, self._whole_pages - first, hole)

    def _take(self, request: _core.PageRequest) -> None:
        self._repeat_zeros(request.first_page)
        frame = bytearray(request)
        number = request.frame_hash & 0xFFFFFFFF
        frame[_DESCRIPTOR_AT] |= _HAS_CHECKSUM
        frame += number.to_bytes(4, "little")
        if request.first_page == self._zeros_at:
            self._zeros = frame, number
        self._put_frame(frame, request.pages, number)

    def _repeat_zeros(self, end: int) -> None:
        """Up to page ``end``; all frames left out are full."""
        while self._reached < end:
            self._put_frame(self._zeros[0], self._frame_pages, self._zeros[1])

    def _put_last_page(self) -> None:
        rest = self._length % self._image.page_size
        if not rest:
            return
        import zstandard

        content = self._image.read(self._whole_pages, 1)[:rest]
        frame = zstandard.ZstdCompressor(
            level=self._codec.level, write_checksum=True
        ).compress(content)
        number = _core.xxh64(content) & 0xFFFFFFFF
        self._table += _ENTRY.pack(len(frame), rest, number)
        self._put(frame)

    def _put_frame(self, frame: bytearray, pages: int, checksum: int) -> None:
        content = pages * self._image.page_size
        self._table += _ENTRY.pack(len(frame), content, checksum)
        self._put(frame)
        self._reached += pages
        if self._wish.progress is not None:
            self._wish.progress(self._reached, self._written)

    def _put_table(self) -> None:
        frames = len(self._table) // _ENTRY.size
        size = len(self._table) + FOOTER.size
        self._put(TABLE_HEAD.pack(TABLE_MAGIC, size) + self._table)
        self._put(FOOTER.pack(frames, CHECKSUMS, FOOTER_MAGIC))

    def _put(self, data: bytes | bytearray) -> None:
        write_all(self._sink, data)
        self._written += len(data)
