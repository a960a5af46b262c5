# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bitmaps of pages, least significant bit first."""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRETCHES = re.compile(rb"\xff+|[^\x00\xff]")


def set_runs(bitmap: bytes, bits: int) -> Iterator[tuple[int, int]]:
    """Runs of set bits among the first ``bits``: (first, how many)."""
    start = end = 0
    for first, after in _set_stretches(bitmap):
        after = min(after, bits)
        if first >= after:
            continue
        if first > end:
            if end > start:
                yield start, end - start
            start = first
        elif end == start:
            start = first
        end = after
    if end > start:
        yield start, end - start


def _set_stretches(bitmap: bytes) -> Iterator[tuple[int, int]]:
    """Stretches of set bits (first, end), perhaps adjacent."""
    for found in _STRETCHES.finditer(bitmap):
        first, end = found.span()
        if bitmap[first] == 0xFF:
            yield first * 8, end * 8
            continue
        for bit in range(8):
            if bitmap[first] >> bit & 1:
                yield first * 8 + bit, first * 8 + bit + 1
