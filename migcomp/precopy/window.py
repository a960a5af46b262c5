# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's windows of 100 ms: the bandwidth limit, and the bandwidth estimate.

Source: QEMU 8.2, ``migration/migration.c``, ``migration_rate_limit`` and
``migration_update_counters``.
"""

from __future__ import annotations

from migcomp.precopy.clock import MS
from migcomp.precopy.parameters import Parameters

#: ``BUFFER_DELAY``; ten of them make a second (``XFER_LIMIT_RATIO``).
WINDOW = 100 * MS
_UNLIMITED = 1 << 62
_MOVED_ENOUGH = 10_000  # bytes, for an expected downtime


class Window:
    """The current window.  ``threshold`` (bytes) is what the downtime limit has room
    for; 0 until the first window is over."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        # Less than a byte for a window is no limit in QEMU, as 0 is none.
        self._budget = parameters.max_bandwidth * WINDOW // (1000 * MS) or _UNLIMITED
        self._start = self._pages = 0
        self._used = 0
        self.threshold = 0
        self.mbps = 0.0
        self.pages_per_second = 0
        self.expected_downtime = parameters.downtime_limit

    def spend(self, counted_bytes: int) -> None:
        self._used += counted_bytes

    @property
    def left(self) -> int:
        """Bytes of the limit that are left of the window, 0 at least."""
        return max(self._budget - self._used, 0)

    def ahead(self, now: int, more: int) -> int:
        """Bytes that are used, with ``more``, beyond the limit's part for the time
        that has passed of the window."""
        if self._budget == _UNLIMITED:
            return 0
        due = self._budget * (now - self._start) // WINDOW
        return max(self._used + more - due, 0)

    @property
    def end(self) -> int:
        return self._start + WINDOW

    def update(self, now: int, pages: int, dirty_rate: int, dirty: int) -> None:
        """Where the window is over, takes its measure and begins the next.

        ``pages``: sent so far; ``dirty_rate``: QMP's dirty-pages-rate; ``dirty``:
        bytes dirty at the last sync.
        """
        if now < self.end:
            return
        moved, spent = self._used, now - self._start
        per_ms = moved * MS / spent
        if self._parameters.avail_switchover_bandwidth:
            per_ms = self._parameters.avail_switchover_bandwidth / 1000
        self.threshold = int(per_ms * self._parameters.downtime_limit)
        self.mbps = moved * 8e3 / spent
        self.pages_per_second = int((pages - self._pages) * 1e9 / spent)
        if dirty_rate and moved > _MOVED_ENOUGH:
            self.expected_downtime = int(dirty / per_ms)
        self._start, self._used, self._pages = now, 0, pages
