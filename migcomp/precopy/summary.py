# SPDX-License-Identifier: LGPL-2.1-or-later
"""The statistics of a migration, from what was counted."""

from __future__ import annotations

from migcomp.precopy.clock import MS
from migcomp.precopy.engine import Sent
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.rates import Rates
from migcomp.precopy.statistics import (
    MigrationStatistics,
    RamStatistics,
)
from migcomp.precopy.window import Window


def summarize(
    status: str,
    memory: GuestMemory,
    parameters: Parameters,
    sent: Sent,
    window: Window,
    rates: Rates,
    *,
    total_ns: int,
    downtime_ns: int | None,
    downtime_bytes: int,
    pending: int,
    syncs: int,
) -> MigrationStatistics:
    """``pending`` and ``syncs``: pages dirty, and syncs so far."""
    size = memory.page_size
    total_ms = round(total_ns / MS)
    done = downtime_ns is not None
    mbps = (
        sent.counted_bytes * 8 / total_ms / 1000 if done and total_ms else window.mbps
    )
    return MigrationStatistics(
        status=status,
        ram=RamStatistics(
            transferred=sent.counted_bytes,
            remaining=0 if done else pending * size,
            total=memory.pages * size,
            duplicate=sent.duplicate,
            normal=sent.normal,
            normal_bytes=sent.normal * size,
            dirty_pages_rate=rates.dirty_pages_rate,
            mbps=mbps,
            dirty_sync_count=syncs,
            page_size=size,
            multifd_bytes=sent.multifd_bytes,
            pages_per_second=window.pages_per_second,
            precopy_bytes=sent.main_bytes - downtime_bytes,
            downtime_bytes=downtime_bytes,
        ),
        total_time=total_ms,
        downtime=None if downtime_ns is None else round(downtime_ns / MS),
        expected_downtime=None if done else window.expected_downtime,
    )
