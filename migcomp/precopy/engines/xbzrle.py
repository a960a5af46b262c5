# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's capability ``xbzrle``: deltas against a cache of pages sent before.

Source: QEMU 8.2, ``migration/ram.c`` (``save_xbzrle_page``, ``find_dirty_block``).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence

from migcomp import _core
from migcomp.errors import CodecUnavailable, PageError, WorkerError
from migcomp.precopy import framing
from migcomp.precopy.clock import Clock
from migcomp.precopy.costs import Costs, Work
from migcomp.precopy.engine import Sent
from migcomp.precopy.engines.none import PlainEngine
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters
from migcomp.units import format_size

#: One byte that says XBZRLE, be16 length.
_DELTA_HEADER = framing.RECORD_HEADER + 3


class XbzrleEngine:
    """Pages go as they are until the first time that all have been looked at; from
    then on the cache is asked, and filled."""

    name = "xbzrle"
    packet_pages = missing_pages = 1

    def __init__(
        self,
        parameters: Parameters,
        clock: Clock,
        costs: Costs,
        memory: GuestMemory,
    ) -> None:
        """Raises CodecUnavailable for a cache that cannot be made."""
        size = parameters.xbzrle_cache_size
        self._clock = clock
        self._costs = costs
        try:
            self._cache = _core.XbzrleCache(size, memory.page_size)
        except (ValueError, MemoryError) as error:
            raise CodecUnavailable(
                f"xbzrle cannot have a cache of {format_size(size)}: "
                f"{str(error) or 'there is no memory for it'}"
            ) from error
        self._plain = PlainEngine(clock, costs, memory)
        self._names = self._plain.names
        self._work = Work("xbzrle", 0, "page")
        self._page_size = memory.page_size
        self._begun = self._started = False
        self.page_bytes = self._plain.page_bytes
        self.description = f"xbzrle, a cache of {format_size(size)}"

    def send(
        self,
        source: GuestMemory,
        destination: GuestMemory,
        pages: Sequence[int],
        sync_count: int,
        last: bool,
    ) -> Sent:
        self._begun = True
        if not self._started:
            return self._plain.send(source, destination, pages, sync_count, last)
        numbers = struct.pack(f"={len(pages)}Q", *pages)
        before = self._cache.counters
        try:
            classes, sizes, payload, cpu_ns = self._cache.save(
                source.buffer, numbers, sync_count, last
            )
            _core.xbzrle_load(
                destination.buffer, self._page_size, numbers, classes, sizes, payload
            )
        except PageError as error:
            raise WorkerError(f"{source.path}: XBZRLE: {error}") from error
        sent = self._count(pages, classes, array("I", sizes))
        after = self._cache.counters
        sent.xbzrle_pages = after["pages"] - before["pages"]
        sent.xbzrle_bytes = after["bytes"] - before["bytes"]
        sent.xbzrle_cache_miss = after["cache_miss"] - before["cache_miss"]
        sent.xbzrle_overflow = after["overflow"] - before["overflow"]
        self._spend(sent, cpu_ns)
        return sent

    def _count(
        self, pages: Sequence[int], classes: bytes, sizes: Sequence[int]
    ) -> Sent:
        sent = Sent(
            duplicate=classes.count(_core.XBZRLE_ZERO),
            skipped=classes.count(_core.XBZRLE_UNCHANGED),
            deltas=classes.count(_core.XBZRLE_DELTA),
        )
        sent.normal = len(pages) - sent.duplicate - sent.skipped - sent.deltas
        recorded = [
            page
            for page, kind in zip(pages, classes, strict=True)
            if kind != _core.XBZRLE_UNCHANGED
        ]
        sent.main_bytes = sent.wire_bytes = (
            self._names.bytes_for(recorded)
            + sent.duplicate * framing.ZERO_PAGE
            + sent.deltas * _DELTA_HEADER
            + sent.normal * framing.RECORD_HEADER
            + sum(sizes)
        )
        return sent

    def _spend(self, sent: Sent, cpu_ns: int) -> None:
        looked_up = sent.deltas + sent.skipped
        work = self._costs.of(
            self._work, sent.duplicate, looked_up, sent.normal, cpu_ns
        )
        self._clock.work(work + sent.normal * self._costs.send_ns)
        self._clock.write(sent.wire_bytes)

    def end_section(self) -> Sent:
        return Sent()

    def end_round(self) -> Sent:
        self._started = self._begun
        return Sent()

    def close(self) -> None:
        self._plain.close()
