# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading headers and tables that nobody vouches for.

They are read with pread, never through a mapping: a file that becomes shorter
meanwhile would end the process.
"""

from __future__ import annotations

import struct

from migcomp.errors import ImageError
from migcomp.images.file import ImageFile

#: Bytes of a table; what claims to have more is absurd.
TABLE_MAX = 256 << 20

#: What to do about a file that is damaged, or ends too early.
ANEW = "copy or capture it anew"


def take(file: ImageFile, offset: int, size: int, what: str) -> bytes:
    """``size`` bytes at ``offset``; ``what`` they are, for the ImageError that is
    raised when the file ends before."""
    if size > TABLE_MAX:
        raise ImageError(f"{file.path}: {what} would take {size} bytes")
    parts = []
    left = size if offset + size <= size_of(file) else 0
    while left and (part := file.read_at(offset, left)):
        parts.append(part)
        offset += len(part)
        left -= len(part)
    data = b"".join(parts)
    if len(data) < size:
        raise cut_off(file, what)
    return data


def cut_off(file: ImageFile, what: str) -> ImageError:
    """What to raise where a file ends within ``what``."""
    return ImageError(f"{file.path} is cut off: it ends within {what}; {ANEW}")


def unpack(
    file: ImageFile, layout: struct.Struct, offset: int, what: str
) -> tuple[int, ...]:
    """As take()."""
    return layout.unpack(take(file, offset, layout.size, what))


def size_of(file: ImageFile) -> int:
    """Bytes of a file that is no pipe."""
    assert file.size is not None
    return file.size
