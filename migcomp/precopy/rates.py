# SPDX-License-Identifier: LGPL-2.1-or-later
"""Figures that QEMU brings up to date at a sync a second or more after the last.

Source: QEMU 8.2, ``migration/ram.c``, ``migration_bitmap_sync`` and
``migration_update_rates``.
"""

from __future__ import annotations

from dataclasses import replace

from migcomp.precopy.clock import MS
from migcomp.precopy.engine import Sent

PERIOD = 1000 * MS


class Rates:
    """``period``: dirty pages and transferred bytes of the last one, when it ended
    with the last sync; None otherwise."""

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._start: int | None = None
        self._fresh = 0
        self._bytes = 0
        self._handled = 0
        self._before = Sent()
        self.dirty_pages_rate = 0
        self.busy_rate = 0.0
        self.compression_rate = 0.0
        self.cache_miss_rate = 0.0
        self.encoding_rate = 0.0
        self.period: tuple[int, int] | None = None

    def sync(self, now: int, fresh: int, handled: int, sent: Sent) -> None:
        """``fresh``: pages that have become dirty; ``handled``: pages sent since the
        migration began, zero pages among them."""
        self.period = None
        self._fresh += fresh
        if self._start is None:
            self._start = now
        if now <= self._start + PERIOD:
            return
        self.period = self._fresh, sent.counted_bytes - self._bytes
        self.dirty_pages_rate = self._fresh * 1000 * MS // (now - self._start)
        if handled > self._handled:
            self._update(handled - self._handled, sent)
        self._start, self._fresh = now, 0
        self._bytes, self._handled = sent.counted_bytes, handled

    def _update(self, handled: int, sent: Sent) -> None:
        before, self._before = self._before, replace(sent)
        self.busy_rate = (sent.busy - before.busy) / handled
        size = sent.compressed_size - before.compressed_size
        if size:
            pages = sent.compressed - before.compressed
            self.compression_rate = pages * self._page_size / size
        self.cache_miss_rate = (
            sent.xbzrle_cache_miss - before.xbzrle_cache_miss
        ) / handled
        pages = sent.xbzrle_pages - before.xbzrle_pages
        size = sent.xbzrle_bytes - before.xbzrle_bytes
        self.encoding_rate = pages * self._page_size / size if pages and size else 0.0
