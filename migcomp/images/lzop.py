# SPDX-License-Identifier: LGPL-2.1-or-later
"""The container of the lzop program, around LZO1X blocks.

Format: lzop 1.04, ``src/conf.h`` and ``src/lzop.c``; numbers are big-endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Protocol

from migcomp.errors import CodecUnavailable, ImageError
from migcomp.images.signatures import LZOP

#: lzop writes 256 KiB; its own reader takes 64 MiB at most.
BLOCK_MAX = 64 << 20

_ADLER_CONTENT, _ADLER_STORED = 0x1, 0x2
_CRC_CONTENT, _CRC_STORED = 0x100, 0x200
_EXTRA, _MULTIPART, _FILTER = 0x40, 0x400, 0x800
_METHODS = (1, 2, 3)  # LZO1X-1, -1(15), -999: one way to decompress


class Source(Protocol):
    @property
    def path(self) -> str: ...
    def read(self, size: int) -> bytes:
        """``size`` bytes, or fewer at the end."""


def lzop_blocks(source: Source) -> Iterator[bytes]:
    """The content, block by block.  Raises ImageError, and CodecUnavailable."""
    try:
        from lzallright import LZOCompressor
    except ImportError as error:
        raise CodecUnavailable(
            f"{source.path} is compressed by lzop, which needs a package: pip install "
            "'migcomp[dumps]'"
        ) from error
    flags = _header(source)
    while size := _number(source):
        stored = _number(source)
        if size > BLOCK_MAX or not 0 < stored <= size:
            raise _damaged(source, f"a block of {stored} bytes holds {size}")
        sums = [
            _number(source) for flag in (_ADLER_CONTENT, _CRC_CONTENT) if flags & flag
        ]
        if stored < size:
            for flag in (_ADLER_STORED, _CRC_STORED):
                if flags & flag:
                    _number(source)
        data = _take(source, stored)
        content = LZOCompressor.decompress(data, size) if stored < size else data
        checks = [
            check(content)
            for flag, check in (
                (_ADLER_CONTENT, zlib.adler32),
                (_CRC_CONTENT, zlib.crc32),
            )
            if flags & flag
        ]
        if len(content) != size or checks != sums:
            raise _damaged(source, "a block's checksum is wrong")
        yield content


def _header(source: Source) -> int:
    """Its flags."""
    if _take(source, len(LZOP)) != LZOP:
        raise _damaged(source, "it does not begin as lzop's files do")
    version, _library, needed, method = struct.unpack(">HHHB", _take(source, 7))
    if version < 0x0940 or needed > 0x1040 or method not in _METHODS:
        raise _damaged(source, "its version or method is not known")
    _take(source, 1)  # level
    flags = _number(source)
    if flags & (_MULTIPART | _FILTER):
        raise _damaged(source, "it is of a kind that lzop does not write any more")
    _take(source, 12)  # mode, time
    _take(source, _take(source, 1)[0])  # name
    _number(source)  # checksum
    if flags & _EXTRA:
        _take(source, _number(source) + 4)
    return flags


def _number(source: Source) -> int:
    return int.from_bytes(_take(source, 4), "big")


def _take(source: Source, size: int) -> bytes:
    if size > BLOCK_MAX:
        raise _damaged(source, f"a field has {size} bytes")
    data = source.read(size)
    if len(data) < size:
        raise _damaged(source, "it is cut off")
    return data


def _damaged(source: Source, reason: str) -> ImageError:
    return ImageError(f"{source.path} is damaged: {reason}")
