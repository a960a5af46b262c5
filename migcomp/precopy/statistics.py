# SPDX-License-Identifier: LGPL-2.1-or-later
"""Statistics of a migration, by QMP's names (with underscores) and definitions.

Source: QEMU 8.2, ``qapi/migration.json``, and ``migration/ram.c`` and
``migration/migration.c`` for the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class RamStatistics:
    """``MigrationStats``: bytes; pages; ``mbps`` in 10**6 bits a second."""

    transferred: int = 0
    remaining: int = 0
    total: int = 0
    duplicate: int = 0
    skipped: int = 0
    normal: int = 0
    normal_bytes: int = 0
    dirty_pages_rate: int = 0
    mbps: float = 0.0
    dirty_sync_count: int = 0
    postcopy_requests: int = 0
    page_size: int = 4096
    multifd_bytes: int = 0
    pages_per_second: int = 0
    precopy_bytes: int = 0
    downtime_bytes: int = 0
    postcopy_bytes: int = 0
    dirty_sync_missed_zero_copy: int = 0


@dataclass
class XbzrleStatistics:
    """``XBZRLECacheStats``."""

    cache_size: int = 0
    bytes: int = 0
    pages: int = 0
    cache_miss: int = 0
    cache_miss_rate: float = 0.0
    encoding_rate: float = 0.0
    overflow: int = 0


@dataclass
class CompressionStatistics:
    """``CompressionStats``."""

    pages: int = 0
    busy: int = 0
    busy_rate: float = 0.0
    compressed_size: int = 0
    compression_rate: float = 0.0


@dataclass
class MigrationStatistics:
    """``MigrationInfo``: times are milliseconds; ``status`` is QMP's.

    ``expected_downtime`` is there while it is active, ``downtime`` when completed,
    ``xbzrle_cache`` and ``compression`` with those capabilities.
    """

    status: str
    ram: RamStatistics
    total_time: int = 0
    setup_time: int = 0
    downtime: int | None = None
    expected_downtime: int | None = None
    cpu_throttle_percentage: int | None = None
    dirty_limit_throttle_time_per_round: int | None = None
    dirty_limit_ring_full_time: int | None = None
    xbzrle_cache: XbzrleStatistics | None = None
    compression: CompressionStatistics | None = None
