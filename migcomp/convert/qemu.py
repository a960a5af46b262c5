# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing QEMU migration streams, plain or as capability ``compress`` does.

Of a stream that QEMU wrote, everything but the pages stays byte for byte as it
was, and all pages are sent once, in one PART section: a QEMU loads what it would
have loaded.  (With compressed pages its own capability ``compress`` must be on.)
Of another image, the stream has the RAM alone, and no machine to load it into.
docs/qemu-streams.md describes the format.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING

from migcomp.codecs import Codec, open_codec
from migcomp.convert.stored import COMPRESSED, SAME, filled_page, in_order
from migcomp.errors import ImageError
from migcomp.images.image import Image, pages_in
from migcomp.images.qemu import QemuImage
from migcomp.images.qemu_ram import RamFlag
from migcomp.images.qemu_sections import (
    CONFIGURATION,
    END,
    EOF,
    FOOTER,
    PAGE_BITS,
    PART,
    RAM,
    RAM_VERSION,
    START,
    SUBSECTION,
    VERSION,
)
from migcomp.images.raw import DEFAULT_PAGE_SIZE
from migcomp.images.signatures import QEMU
from migcomp.outputs import OutputFile
from migcomp.stream.sink import write_all

if TYPE_CHECKING:
    from migcomp.convert.convert import Wish

FORMAT = "qemu"
CODECS: tuple[str, ...] = ("none", "zlib")

_RAM_NUMBER = 2  # the section that QEMU gives it
_PART_VERSION = 1  # of the configuration's part with the page size
_REFUSED = {
    "x-ignore-shared": "some of its memory lies elsewhere",
    "mapped-ram": "QEMU would look for its pages at fixed places",
}


def write(image: Image, sink: OutputFile, wish: Wish) -> None:
    codec = open_codec(wish.codec or CODECS[0], level=wish.level)
    if isinstance(image, QemuImage):
        _rewrite(image, sink, wish, codec)
    else:
        _write_ram_alone(image, sink, wish, codec)


def _rewrite(image: QemuImage, sink: OutputFile, wish: Wish, codec: Codec) -> None:
    sections = image.sections
    for capability in sections.capabilities:
        if capability in _REFUSED:
            raise ImageError(
                f"{image.path} has capability {capability}: {_REFUSED[capability]}, "
                "and it cannot be written anew; --to raw gives its memory"
            )
    copied, written = 0, False
    names = tuple(block.name for block in image.ram_blocks)
    for section in sections.sections:
        if section.name != RAM or section.kind == START:
            continue
        for piece in image.stream(copied, section.start):
            write_all(sink, piece)
        copied = section.end
        ram = _RamWriter(image, names, sink, wish, section.number, sections.footers)
        if not written:
            ram.part(codec)
            written = True
        if section.kind == END:
            ram.end()
    for piece in image.stream(copied):
        write_all(sink, piece)


def _write_ram_alone(image: Image, sink: OutputFile, wish: Wish, codec: Codec) -> None:
    names = tuple(block.name.encode() for block in image.blocks)
    times = Counter(names)
    for name in names:
        if not 0 < len(name) < 256 or times[name] > 1:
            raise ImageError(
                f"{image.path} has a RAM block {name.decode()!r}, which QEMU cannot "
                "name; RAM blocks have names of their own, of 1 to 255 bytes"
            )
    ram = _RamWriter(image, names, sink, wish, _RAM_NUMBER, footers=True)
    write_all(sink, QEMU + struct.pack(">I", VERSION) + _configuration(image.page_size))
    ram.start()
    ram.part(codec)
    ram.end()
    write_all(sink, bytes([EOF]))


def _configuration(page_size: int) -> bytes:
    """Of no machine; like QEMU's, it tells the page size where that is no PC's."""
    if page_size == DEFAULT_PAGE_SIZE:
        return b""
    name = PAGE_BITS
    part = struct.pack(f">BB{len(name)}sI", SUBSECTION, len(name), name, _PART_VERSION)
    bits = struct.pack(">I", page_size.bit_length() - 1)
    return struct.pack(">BI", CONFIGURATION, 0) + part + bits


class _RamWriter:
    """Writes sections of RAM; blocks are the image's under other names."""

    def __init__(
        self,
        image: Image,
        names: tuple[bytes, ...],
        sink: OutputFile,
        wish: Wish,
        number: int,
        footers: bool,
    ) -> None:
        self._image = image
        self._sink = sink
        self._wish = wish
        self._number = number
        self._footer = struct.pack(">BI", FOOTER, number) if footers else b""
        self._names = [bytes([len(name)]) + name for name in names]
        size = image.page_size
        self._pages = [pages_in(block.length, size) for block in image.blocks]
        self._block = self._first = 0
        self._named = False
        self._written = 0
        self._codec: Codec | None = None  # that compresses the part's pages

    def start(self) -> None:
        size = self._image.page_size
        lengths = [pages * size for pages in self._pages]
        head = struct.pack(">BI", START, self._number) + bytes([len(RAM)])
        head += RAM.encode() + struct.pack(">II", 0, RAM_VERSION)
        head += struct.pack(">Q", sum(lengths) | RamFlag.MEM_SIZE)
        for name, length in zip(self._names, lengths, strict=True):
            head += name + struct.pack(">Q", length)
        self._put(head)
        self._put_end()

    def part(self, codec: Codec) -> None:
        """All pages."""
        self._codec = codec if codec.name == "zlib" else None
        self._put(struct.pack(">BI", PART, self._number))
        in_order(
            self._image, codec, self._zeros, self._records, threads=self._wish.threads
        )
        self._put_end()

    def end(self) -> None:
        self._put(struct.pack(">BI", END, self._number))
        self._put_end()

    def _put_end(self) -> None:
        self._put(struct.pack(">Q", RamFlag.EOS) + self._footer)

    def _zeros(self, first_page: int, pages: int) -> None:
        step = 1 << 14
        for page in range(first_page, first_page + pages, step):
            count = min(step, first_page + pages - page)
            self._put(
                b"".join(
                    self._head(n, RamFlag.ZERO) + b"\0"
                    for n in range(page, page + count)
                )
            )
        self._tell(first_page + pages)

    def _records(self, first_page: int, pages: list[tuple[int, bytes]]) -> None:
        parts = []
        for page, (kind, data) in enumerate(pages, first_page):
            if kind == SAME and self._codec is not None:
                kind, data = COMPRESSED, filled_page(self._codec, data[:8], len(data))
            if not data:
                parts += [self._head(page, RamFlag.ZERO), b"\0"]
            elif kind == COMPRESSED:
                length = struct.pack(">I", len(data))
                parts += [self._head(page, RamFlag.COMPRESS_PAGE), length, data]
            else:
                parts += [self._head(page, RamFlag.PAGE), data]
        self._put(b"".join(parts))
        self._tell(first_page + len(pages))

    def _head(self, page: int, flag: int) -> bytes:
        """Of the next page's record; pages come in order."""
        while page - self._first >= self._pages[self._block]:
            self._first += self._pages[self._block]
            self._block += 1
            self._named = False
        offset = (page - self._first) * self._image.page_size
        if self._named:
            return struct.pack(">Q", offset | flag | RamFlag.CONTINUE)
        self._named = True
        return struct.pack(">Q", offset | flag) + self._names[self._block]

    def _put(self, data: bytes) -> None:
        write_all(self._sink, data)
        self._written += len(data)

    def _tell(self, pages: int) -> None:
        if self._wish.progress is not None:
            self._wish.progress(pages, self._written)
