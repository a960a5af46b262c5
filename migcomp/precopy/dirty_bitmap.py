# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which pages must be sent, and which were written since that was last asked."""

from __future__ import annotations

from collections.abc import Iterable


class DirtyBitmap:
    """Two bitmaps, as in QEMU: what is to be sent, and the log of the guest's writes
    that the former learns of at a sync only.

    A page that is written after a sync and sent afterwards is sent again in the
    next round, although the other side has its content: a fake dirty page.
    """

    def __init__(self, pages: int) -> None:
        """All pages are to be sent."""
        self._pages = pages
        self._dirty = bytearray(b"\1") * pages
        self._log: set[int] = set()
        self._cursor = 0
        self.pending = pages

    def note_writes(self, pages: Iterable[int]) -> None:
        self._log.update(pages)

    def sync(self) -> int:
        """How many pages have become dirty that were not."""
        dirty, fresh = self._dirty, 0
        for page in self._log:
            if not dirty[page]:
                dirty[page] = 1
                fresh += 1
        self._log.clear()
        self.pending += fresh
        return fresh

    def is_pending(self, page: int) -> bool:
        return bool(self._dirty[page])

    def take(self, most: int) -> tuple[list[int], bool]:
        """The next pages that are dirty, which are so no longer; and whether the end
        of memory was reached, from where the search goes on at its beginning."""
        taken: list[int] = []
        dirty, at = self._dirty, self._cursor
        while len(taken) < most:
            first = dirty.find(1, at)
            if first < 0:
                self._cursor = 0
                self.pending -= len(taken)
                return taken, True
            end = dirty.find(0, first)
            end = min(end if end >= 0 else self._pages, first + most - len(taken))
            dirty[first:end] = bytes(end - first)
            taken.extend(range(first, end))
            at = end
        self._cursor = at
        self.pending -= len(taken)
        return taken, False
