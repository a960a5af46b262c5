# SPDX-License-Identifier: LGPL-2.1-or-later
"""A migration's statistics as ``virsh domjobinfo`` prints them.

Source: libvirt 9.0, ``tools/virsh-domain.c`` for the lines, and
``src/qemu/qemu_domainjob.c`` and ``src/qemu/qemu_monitor_json.c`` for what they are
made of.  Of QEMU's compression libvirt tells XBZRLE's figures only.
"""

from __future__ import annotations

from typing import cast

from migcomp.precopy.statistics import MigrationStatistics
from migcomp.report.qmp import Value, to_qmp

#: libvirt's name of the job, by QMP's status.
_JOBS = {
    "active": "Unbounded",
    "completed": "Completed",
    "cancelled": "Cancelled",
    "failed": "Failed",
}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_LABEL = 17
_NUMBER = 12
_LATE_NUMBER = 13  # from the cache's figures on


def render_virsh(statistics: MigrationStatistics) -> str:
    """Of a completed migration with ``--completed``."""
    answer = to_qmp(statistics)
    lines = [
        _line("Job type:", f"{_JOBS[statistics.status]:<{_NUMBER}}"),
        _line("Operation:", f"{'Outgoing migration':<{_NUMBER}}"),
    ]
    if "ram" in answer:
        lines += [_number("Time elapsed:", answer["total-time"], " ms")]
        lines += _memory(cast(dict[str, Value], answer["ram"]))
        lines += _times(answer)
    if "xbzrle-cache" in answer:
        lines += _cache(cast(dict[str, Value], answer["xbzrle-cache"]))
    if "cpu-throttle-percentage" in answer:
        throttle = answer["cpu-throttle-percentage"]
        lines.append(_late_number("Auto converge throttle:", throttle))
    # virsh ends with an empty line.
    return "\n".join(lines) + "\n\n"


def _memory(ram: dict[str, Value]) -> list[str]:
    lines = [
        _size(f"{what} {part}:", ram[key])
        for what in ("Data", "Memory")
        for part, key in (
            ("processed", "transferred"),
            ("remaining", "remaining"),
            ("total", "total"),
        )
    ]
    bytes_per_second = int(cast(float, ram["mbps"]) * (10**6 // 8))
    if bytes_per_second:
        lines.append(_size("Memory bandwidth:", bytes_per_second) + "/s")
    return [
        *lines,
        _number("Dirty rate:", ram["dirty-pages-rate"], " pages/s"),
        _number("Page size:", ram["page-size"], " bytes"),
        _number("Iteration:", ram["dirty-sync-count"]),
        _number("Postcopy requests:", ram["postcopy-requests"]),
        _number("Constant pages:", ram["duplicate"]),
        _number("Normal pages:", ram["normal"]),
        _size("Normal data:", ram["normal-bytes"]),
    ]


def _times(answer: dict[str, Value]) -> list[str]:
    if "downtime" in answer:
        downtime = _number("Total downtime:", answer["downtime"], " ms")
    else:
        downtime = _number("Expected downtime:", answer["expected-downtime"], " ms")
    return [downtime, _number("Setup time:", answer["setup-time"], " ms")]


def _cache(cache: dict[str, Value]) -> list[str]:
    return [
        _size("Compression cache:", cache["cache-size"]),
        _size("Compressed data:", cache["bytes"]),
        _late_number("Compressed pages:", cache["pages"]),
        _late_number("Compression cache misses:", cache["cache-miss"]),
        _late_number("Compression overflows:", cache["overflow"]),
    ]


def _line(label: str, value: str) -> str:
    return f"{label:<{_LABEL}} {value}"


def _number(label: str, value: Value, unit: str = "") -> str:
    return _line(label, f"{value:<{_NUMBER}}{unit}")


def _late_number(label: str, value: Value) -> str:
    return _line(label, f"{value:<{_LATE_NUMBER}}")


def _size(label: str, value: Value) -> str:
    size, unit = float(cast(int, value)), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return _line(label, f"{size:.3f} {_UNITS[unit]}")
