# SPDX-License-Identifier: LGPL-2.1-or-later
"""A migration's statistics as ``info migrate`` prints them.

Source: QEMU 8.2, ``migration/migration-hmp-cmds.c``; that of 7.2 prints the same
lines, but for those of the dirty limit.
"""

from __future__ import annotations

from typing import cast

from migcomp.precopy.statistics import MigrationStatistics
from migcomp.report.qmp import Value, to_qmp

#: How a migration is told to behave beyond its parameters, as it is unless changed.
_GLOBALS = (
    "globals:",
    "store-global-state: on",
    "only-migratable: off",
    "send-configuration: on",
    "send-section-footer: on",
    "decompress-error-check: on",
    "clear-bitmap-shift: 18",
)
_TIMES = (("expected downtime", "expected-downtime"), ("downtime", "downtime"))
_RAM = (
    ("transferred ram", "transferred", "kbytes"),
    ("throughput", "mbps", "mbps"),
    ("remaining ram", "remaining", "kbytes"),
    ("total ram", "total", "kbytes"),
    ("duplicate", "duplicate", "pages"),
    ("skipped", "skipped", "pages"),
    ("normal", "normal", "pages"),
    ("normal bytes", "normal-bytes", "kbytes"),
    ("dirty sync count", "dirty-sync-count", ""),
    ("page size", "page-size", "kbytes"),
    ("multifd bytes", "multifd-bytes", "kbytes"),
    ("pages-per-second", "pages-per-second", ""),
)
_RAM_UNLESS_ZERO = (
    ("dirty pages rate", "dirty-pages-rate", "pages"),
    ("postcopy request count", "postcopy-requests", ""),
    ("precopy ram", "precopy-bytes", "kbytes"),
    ("downtime ram", "downtime-bytes", "kbytes"),
    ("postcopy ram", "postcopy-bytes", "kbytes"),
    ("Zero-copy-send fallbacks happened", "dirty-sync-missed-zero-copy", "times"),
)
_XBZRLE = (
    ("cache size", "cache-size", "bytes"),
    ("xbzrle transferred", "bytes", "kbytes"),
    ("xbzrle pages", "pages", "pages"),
    ("xbzrle cache miss", "cache-miss", "pages"),
    ("xbzrle cache miss rate", "cache-miss-rate", ""),
    ("xbzrle encoding rate", "encoding-rate", ""),
    ("xbzrle overflow", "overflow", ""),
)
_COMPRESSION = (
    ("compression pages", "pages", "pages"),
    ("compression busy", "busy", ""),
    ("compression busy rate", "busy-rate", ""),
    ("compressed size", "compressed-size", "kbytes"),
    ("compression rate", "compression-rate", ""),
)
_THROTTLING = (
    ("cpu throttle percentage", "cpu-throttle-percentage", ""),
    ("dirty-limit throttle time", "dirty-limit-throttle-time-per-round", "us"),
    ("dirty-limit ring full time", "dirty-limit-ring-full-time", "us"),
)


def render_hmp(
    statistics: MigrationStatistics, version: tuple[int, int] = (8, 2)
) -> str:
    """Of a QEMU of ``version``; its properties, printed first, have their defaults."""
    answer = to_qmp(statistics, version)
    lines = [*_GLOBALS, f"Migration status: {statistics.status}"]
    # QEMU prints the time even where query-migrate leaves it out.
    lines.append(_line("total time", answer.get("total-time", 0), "ms"))
    lines += [_line(text, answer[key], "ms") for text, key in _TIMES if key in answer]
    if "setup-time" in answer:
        lines.append(_line("setup", answer["setup-time"], "ms"))
    if "ram" in answer:
        ram = cast(dict[str, Value], answer["ram"])
        lines += [_line(text, ram[key], unit) for text, key, unit in _RAM]
        lines += [
            _line(text, ram[key], unit)
            for text, key, unit in _RAM_UNLESS_ZERO
            if ram[key]
        ]
    for part, rows in (("xbzrle-cache", _XBZRLE), ("compression", _COMPRESSION)):
        if part in answer:
            figures = cast(dict[str, Value], answer[part])
            lines += [_line(text, figures[key], unit) for text, key, unit in rows]
    lines += [
        _line(text, answer[key], unit)
        for text, key, unit in _THROTTLING
        if key in answer
    ]
    return "\n".join(lines) + "\n"


def _line(text: str, value: Value, unit: str) -> str:
    """``kbytes`` are 1024 bytes, and what is not a whole one is cut off."""
    if isinstance(value, float):
        value = f"{value:.2f}"
    elif isinstance(value, int) and unit == "kbytes":
        value >>= 10
    return f"{text}: {value} {unit}".rstrip()
