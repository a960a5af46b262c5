# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a migration is told, by QMP's names (with underscores), units and defaults.

Source: QEMU 8.2, ``qapi/migration.json`` and ``migration/options.c``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameters:
    """Bandwidths are bytes a second (0: unlimited), times milliseconds.

    ``compress_wait_thread`` may be ``adaptive``, which a proposal of 2018 had and
    QEMU has not.
    ``max_rounds`` and ``max_time`` (ms) cancel the migration, 0 does not; they are
    those of QEMU's guestperf, and not QMP's.
    ``qemu_version`` decides between rules that changed.
    """

    max_bandwidth: int = 128 << 20
    avail_switchover_bandwidth: int = 0
    downtime_limit: int = 300
    compress_level: int = 1
    compress_threads: int = 8
    compress_wait_thread: str = "on"
    multifd_channels: int = 2
    multifd_compression: str = "none"
    multifd_zlib_level: int = 1
    multifd_zstd_level: int = 1
    xbzrle_cache_size: int = 64 << 20
    auto_converge: bool = False
    throttle_trigger_threshold: int = 50
    cpu_throttle_initial: int = 20
    cpu_throttle_increment: int = 10
    cpu_throttle_tailslow: bool = False
    max_cpu_throttle: int = 99
    dirty_limit: bool = False
    vcpu_dirty_limit: int = 1  # MB/s, which are MiB/s
    x_vcpu_dirty_limit_period: int = 1000
    max_rounds: int = 0
    max_time: int = 0
    qemu_version: tuple[int, int] = (8, 2)
