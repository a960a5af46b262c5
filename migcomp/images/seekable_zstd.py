# SPDX-License-Identifier: LGPL-2.1-or-later
"""Raw memory in zstd's seekable format: frames, and behind them a table that tells
the size of each.  Any zstd decompresses it, for which the table is a frame to skip.

Format: zstd's ``contrib/seekable_format/zstd_seekable_compression_format.md``.
"""

from __future__ import annotations

import struct
import sys
from array import array
from itertools import accumulate

from migcomp import _core
from migcomp.codecs import decoder
from migcomp.errors import ImageError
from migcomp.images.entries import EntryTable
from migcomp.images.file import ImageFile
from migcomp.images.headers import size_of, take
from migcomp.images.image import pages_in
from migcomp.images.mapped import MappedImage
from migcomp.images.raw import DEFAULT_BLOCK_NAME
from migcomp.results import Block

FORMAT = "seekable-zstd"

#: The table is a skippable frame: this and its size, entries, and the footer.
TABLE_HEAD = struct.Struct("<II")
TABLE_MAGIC = 0x184D2A5E
#: Number of frames, descriptor, magic.
FOOTER = struct.Struct("<IBI")
FOOTER_MAGIC = 0x8F92EAB1
FRAMES_MAX = 0x8000000
#: In the descriptor: an entry has 32 bits of the content's XXH64, too.
CHECKSUMS = 0x80
_RESERVED = 0x7C

#: Of _core.PageMap: place, bytes stored, bytes of content.
_BLOCK = struct.Struct("=QII")


def open_file(file: ImageFile, page_size: int) -> MappedImage:
    """A last page that is cut off is filled up with zeros."""
    sizes, contents, checksums = _read_table(file)
    total = sum(contents)
    if not total:
        raise ImageError(f"{file.path} holds no memory")
    _check_contents(file, contents, page_size)
    pages = pages_in(total, page_size)
    page_map = _core.PageMap(
        file.map(),
        [],
        page_size,
        True,
        entries=_entries(file, contents, pages, page_size).memory,
        blocks=_blocks(sizes, contents),
        codecs=(decoder("zstd"),),
        checksums=checksums,
    )
    facts = {"frames": len(sizes), "checksums": "no" if checksums is None else "yes"}
    blocks = (Block(DEFAULT_BLOCK_NAME, pages * page_size, 0),)
    return MappedImage(file, FORMAT, blocks, page_map, page_size, facts)


def _read_table(
    file: ImageFile,
) -> tuple[array[int], array[int], array[int] | None]:
    """Bytes of each frame, and of its content; its checksums if there are any."""
    end = size_of(file) - FOOTER.size
    footer = file.read_at(max(end, 0), FOOTER.size)
    if len(footer) < FOOTER.size or not footer.endswith(
        FOOTER_MAGIC.to_bytes(4, "little")
    ):
        raise ImageError(
            f"{file.path} is compressed by zstd, without a seek table; decompress it "
            "with zstd -d first (--format raw takes it as memory all the same)"
        )
    frames, descriptor, _ = FOOTER.unpack(footer)
    words = 3 if descriptor & CHECKSUMS else 2
    size = frames * words * 4
    start = end - size - TABLE_HEAD.size
    if descriptor & _RESERVED or start < 0:
        raise ImageError(f"{file.path} is damaged: its seek table is none")
    head = take(file, start, TABLE_HEAD.size, "its seek table")
    if TABLE_HEAD.unpack(head) != (TABLE_MAGIC, size + FOOTER.size):
        raise ImageError(f"{file.path} is damaged: its seek table has another size")
    table = array("I", take(file, end - size, size, "its seek table"))
    if sys.byteorder == "big":
        table.byteswap()
    sizes, contents = table[0::words], table[1::words]
    if sum(sizes) != start:
        raise ImageError(
            f"{file.path} is damaged: its frames take {start} bytes, and "
            f"{sum(sizes)} by its seek table"
        )
    return sizes, contents, table[2::words] if words == 3 else None


def _check_contents(file: ImageFile, contents: array[int], page_size: int) -> None:
    if max(contents) > _core.PAGE_BLOCK_MAX:
        raise ImageError(
            f"{file.path} has frames of more than {_core.PAGE_BLOCK_MAX >> 10} KiB; "
            "decompress it with zstd -d first"
        )
    ends = accumulate(contents)
    total = sum(contents)
    if any(end % page_size for end in ends if end < total):
        raise ImageError(
            f"{file.path} has frames that end within a page of {page_size} bytes; "
            "give another --page-size, or decompress it with zstd -d first"
        )


def _entries(
    file: ImageFile, contents: array[int], pages: int, page_size: int
) -> EntryTable:
    table = EntryTable(file.path, pages)
    page = 0
    for number, content in enumerate(contents):
        starts = range(0, content, page_size)
        places = [number << 32 | start for start in starts]
        table.put(page, places, [_core.STORED_PART] * len(places))
        page += len(places)
    return table


def _blocks(sizes: array[int], contents: array[int]) -> bytes:
    places = accumulate(sizes, initial=0)
    return b"".join(map(_BLOCK.pack, places, sizes, contents))
