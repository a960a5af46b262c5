# SPDX-License-Identifier: LGPL-2.1-or-later
"""The statistics of a migration, from what was counted."""

from __future__ import annotations

from migcomp.precopy.clock import MS
from migcomp.precopy.convergence import Convergence
from migcomp.precopy.engine import Sent
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.rates import Rates
from migcomp.precopy.statistics import (
    CompressionStatistics,
    MigrationStatistics,
    RamStatistics,
    XbzrleStatistics,
)
from migcomp.precopy.window import Window

#: Until then ``transferred`` was what carries pages.
_COUNTS_FRAMING = (8, 2)


def summarize(
    status: str,
    capability: str,
    memory: GuestMemory,
    parameters: Parameters,
    sent: Sent,
    window: Window,
    rates: Rates,
    convergence: Convergence,
    *,
    total_ns: int,
    downtime_ns: int | None,
    downtime_bytes: int,
    pending: int,
    syncs: int,
) -> MigrationStatistics:
    """``capability`` is the engine's, ``compress`` or ``xbzrle`` among others;
    ``pending`` and ``syncs``: pages dirty, and syncs so far."""
    size = memory.page_size
    total_ms = round(total_ns / MS)
    done = downtime_ns is not None
    limit = convergence.dirty_limit
    transferred = sent.counted_bytes
    if parameters.qemu_version < _COUNTS_FRAMING:
        transferred -= sent.framing_bytes
    statistics = MigrationStatistics(
        status=status,
        ram=RamStatistics(
            transferred=transferred,
            remaining=0 if done else pending * size,
            total=memory.pages * size,
            duplicate=sent.duplicate,
            normal=sent.normal,
            normal_bytes=sent.normal * size,
            dirty_pages_rate=rates.dirty_pages_rate,
            mbps=window.mbps,
            dirty_sync_count=syncs,
            page_size=size,
            multifd_bytes=sent.multifd_bytes,
            pages_per_second=window.pages_per_second,
            precopy_bytes=sent.ram_bytes - downtime_bytes,
            downtime_bytes=downtime_bytes,
        ),
        total_time=total_ms,
        downtime=None if downtime_ns is None else round(downtime_ns / MS),
        expected_downtime=None if done else window.expected_downtime,
        cpu_throttle_percentage=convergence.throttle_percentage,
        dirty_limit_throttle_time_per_round=limit.sleep_us if limit else None,
        dirty_limit_ring_full_time=limit.ring_full_us if limit else None,
    )
    if done and total_ms:
        statistics.ram.mbps = sent.counted_bytes * 8 / total_ms / 1000
    if capability == "compress":
        statistics.compression = CompressionStatistics(
            pages=sent.compressed,
            busy=sent.busy,
            busy_rate=rates.busy_rate,
            compressed_size=sent.compressed_size,
            compression_rate=rates.compression_rate,
        )
    if capability == "xbzrle":
        statistics.xbzrle_cache = XbzrleStatistics(
            cache_size=parameters.xbzrle_cache_size,
            bytes=sent.xbzrle_bytes,
            pages=sent.xbzrle_pages,
            cache_miss=sent.xbzrle_cache_miss,
            cache_miss_rate=rates.cache_miss_rate,
            encoding_rate=rates.encoding_rate,
            overflow=sent.xbzrle_overflow,
        )
    return statistics
