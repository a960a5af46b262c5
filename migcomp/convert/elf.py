# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing ELF core files: a segment for each RAM block, by guest address.

64 bits, little-endian, without notes: an image does not tell of its machine what
they would hold.  All of a segment is in the file, as a hole where it is zero,
because readers (volatility3's is one) take nothing else.  images/elf.py tells where
the format is described.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from migcomp.convert.flat import block_lengths, by_address, write_flat
from migcomp.images.elf import CORE, HEADERS, LOAD, MANY_SEGMENTS
from migcomp.images.elf import FORMAT as FORMAT
from migcomp.images.image import Image
from migcomp.images.signatures import ELF
from migcomp.outputs import OutputFile

if TYPE_CHECKING:
    from migcomp.convert.convert import Wish

CODECS: tuple[str, ...] = ()

_CLASS_64, _LITTLE_ENDIAN, _VERSION = 2, 1, 1
_NO_MACHINE = 0  # EM_NONE
_FLAGS = 6  # may be read and written
_FILE_LAYOUT, _SEGMENT_LAYOUT, _SECTION_SIZE = HEADERS[_CLASS_64]
_FILE = struct.Struct("<16s" + _FILE_LAYOUT)
_SEGMENT = struct.Struct("<" + _SEGMENT_LAYOUT)
#: sh_name to sh_entsize.
_SECTION = struct.Struct("<IIQQQQIIQQ")


def write(image: Image, sink: OutputFile, wish: Wish) -> None:
    order = by_address(image)
    first, *others = order
    pieces = [(head_of(image, order), first), *((b"", block) for block in others)]
    write_flat(image, sink, wish, pieces)


def head_of(image: Image, order: list[int]) -> bytes:
    """The headers of a file with the blocks of ``order``.

    They are filled up so that the memory behind them begins a page.
    """
    count, size = len(order), image.page_size
    many = count >= MANY_SEGMENTS
    table = _FILE.size + (_SECTION.size if many else 0)
    at = end = table + count * _SEGMENT.size
    at += -at % size
    ident = ELF + bytes([_CLASS_64, _LITTLE_ENDIAN, _VERSION])
    head = _FILE.pack(
        *(ident, CORE, _NO_MACHINE, _VERSION, 0, table),
        *(_FILE.size if many else 0, 0, _FILE.size, _SEGMENT.size),
        *(MANY_SEGMENTS if many else count, _SECTION_SIZE, int(many), 0),
    )
    if many:  # the number of segments is the section's sh_info
        head += _SECTION.pack(0, 0, 0, 0, 0, 0, 0, count, 0, 0)
    lengths, segments = block_lengths(image), []
    padding = bytes(at - end)
    for block in order:
        address, length = image.blocks[block].guest_address, lengths[block]
        segments.append(
            _SEGMENT.pack(LOAD, _FLAGS, at, 0, address, length, length, size)
        )
        at += length
    return b"".join((head, *segments, padding))
