# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finding a stream's records: by its index, and behind damage."""

from __future__ import annotations

import bisect

from migcomp.errors import StreamError
from migcomp.stream.layout import (
    RECORD_HEADER_SIZE,
    RECORD_MAGIC,
    IndexEntry,
    unpack_record_header,
)
from migcomp.stream.source import Source

_LEAST_WINDOW, _MOST_WINDOW = 1 << 12, 1 << 20


def find_record(source: Source, start: int, identity: bytes) -> bool:
    """Moves to the first sound record header from byte ``start`` on.

    ``identity``: of the stream.  False when there is none, and in a pipe.
    """
    if source.size is None:
        return False
    # What follows a damaged record is mostly near.
    window = _LEAST_WINDOW
    while start < source.size:
        source.position = start
        data = source.read(window)
        if not data:
            return False
        found = data.find(RECORD_MAGIC)
        while found >= 0:
            if _is_record(source, start + found, identity):
                source.position = start + found
                return True
            found = data.find(RECORD_MAGIC, found + 1)
        start += max(len(data) - len(RECORD_MAGIC) + 1, 1)
        window = min(window * 2, _MOST_WINDOW)
    return False


def _is_record(source: Source, offset: int, identity: bytes) -> bool:
    try:
        unpack_record_header(source.read_at(offset, RECORD_HEADER_SIZE), identity)
    except StreamError:
        return False
    return True


def at_or_before(entries: list[IndexEntry], page: int) -> int:
    """The offset of the last entry whose first page is not behind ``page``."""
    position = bisect.bisect_right(entries, page, key=lambda entry: entry[0])
    if not position:
        raise StreamError(f"its index does not lead to page {page}")
    return entries[position - 1][1]
