# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real virsh, told of migrations that no libvirt has seen.

Needs Debian's libvirt-clients, whose driver ``test`` has a domain of that name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from migcomp.precopy.statistics import MigrationStatistics
from migcomp.report.qmp import to_qmp

HERE = Path(__file__).parent
_TYPES = {"active": 2, "completed": 3, "failed": 4, "cancelled": 5}
_MIGRATION_OUT = 5


def missing() -> str:
    """What is needed and not there; empty if all is."""
    needed = ("virsh", "cc")
    return ", ".join(program for program in needed if shutil.which(program) is None)


def domjobinfo(folder: Path, statistics: MigrationStatistics) -> str:
    """What it prints of the job as libvirt's QEMU driver tells it."""
    library = folder / "domjobinfo.so"
    if not library.exists():
        source = HERE / "domjobinfo.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    job = folder / "job"
    job.write_text("\n".join(_job(statistics)) + "\n")
    environment = os.environ | {"LD_PRELOAD": str(library), "JOB_STATS": str(job)}
    command = ["virsh", "-c", "test:///default", "domjobinfo", "test", "--completed"]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout


def _job(statistics: MigrationStatistics) -> list[str]:
    """As qemuDomainMigrationJobDataToParams of src/qemu/qemu_domainjob.c."""
    lines = [str(_TYPES[statistics.status]), f"i operation {_MIGRATION_OUT}"]
    if "ram" not in to_qmp(statistics):
        return lines
    ram, cache = statistics.ram, statistics.xbzrle_cache
    done = statistics.status == "completed"
    remaining = 0 if done else ram.remaining
    downtime = statistics.downtime if done else statistics.expected_downtime
    figures = {
        "time_elapsed": statistics.total_time,
        "downtime": downtime,
        "setup_time": statistics.setup_time,
        "data_total": ram.total,
        "data_processed": ram.transferred,
        "data_remaining": remaining,
        "memory_total": ram.total,
        "memory_processed": ram.transferred,
        "memory_remaining": remaining,
        "memory_constant": ram.duplicate,
        "memory_normal": ram.normal,
        "memory_normal_bytes": ram.normal_bytes,
        "memory_dirty_rate": 0 if done else ram.dirty_pages_rate,
        "memory_iteration": ram.dirty_sync_count,
        "memory_postcopy_requests": ram.postcopy_requests,
        "memory_page_size": ram.page_size,
        "disk_total": 0,
        "disk_processed": 0,
        "disk_remaining": 0,
    }
    speed = int(ram.mbps * (1000 * 1000 / 8))
    if speed:
        figures["memory_bps"] = speed
    if cache:
        figures |= {
            "compression_cache": cache.cache_size,
            "compression_bytes": cache.bytes,
            "compression_pages": cache.pages,
            "compression_cache_misses": cache.cache_miss,
            "compression_overflow": cache.overflow,
        }
    lines += [f"u {name} {value}" for name, value in figures.items()]
    if statistics.cpu_throttle_percentage:
        lines.append(f"i auto_converge_throttle {statistics.cpu_throttle_percentage}")
    return lines
