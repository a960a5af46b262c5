# SPDX-License-Identifier: LGPL-2.1-or-later
"""What QEMU said of a migration, as migcomp's statistics."""

from __future__ import annotations

from typing import Any

from migcomp.precopy.statistics import (
    CompressionStatistics,
    MigrationStatistics,
    RamStatistics,
    XbzrleStatistics,
)

_PARTS: dict[str, Any] = {
    "ram": RamStatistics,
    "xbzrle-cache": XbzrleStatistics,
    "compression": CompressionStatistics,
}
#: QAPI's ``number``; JSON drops the point of those that are whole.
NUMBERS = (
    "mbps",
    "busy-rate",
    "compression-rate",
    "cache-miss-rate",
    "encoding-rate",
)


def statistics_of(answer: dict[str, Any]) -> MigrationStatistics:
    """Fails on keys that migcomp does not know."""
    members = {}
    for key, value in answer.items():
        name = key.replace("-", "_")
        members[name] = _PARTS[key](**_members(value)) if key in _PARTS else value
    members.setdefault("ram", RamStatistics())
    return MigrationStatistics(**members)


def _members(part: dict[str, Any]) -> dict[str, Any]:
    return {
        key.replace("-", "_"): float(value) if key in NUMBERS else value
        for key, value in part.items()
    }
