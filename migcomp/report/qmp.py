# SPDX-License-Identifier: LGPL-2.1-or-later
"""A migration's statistics as ``query-migrate`` answers.

Source: QEMU 8.2, ``qapi/migration.json``; ``migration/migration.c`` for which keys
are there (``populate_time_info``, ``populate_ram_info``); ``qobject/json-writer.c``
for the text.
"""

from __future__ import annotations

from typing import TypeAlias

from migcomp.precopy.statistics import MigrationStatistics

Value: TypeAlias = "int | float | str | dict[str, Value]"

#: Of the others, nothing but the status is told.
_WITH_FIGURES = (
    "active",
    "cancelling",
    "pre-switchover",
    "device",
    "postcopy-active",
    "postcopy-paused",
    "postcopy-recover",
    "completed",
)
_DIRTY_LIMIT_SINCE = (8, 1)
_INDENT = 4


def to_qmp(
    statistics: MigrationStatistics, version: tuple[int, int] = (8, 2)
) -> dict[str, Value]:
    """What ``query-migrate`` of a QEMU of ``version`` returns."""
    answer: dict[str, Value] = {"status": statistics.status}
    if statistics.status not in _WITH_FIGURES:
        return answer
    completed = statistics.status == "completed"
    ram = _named(statistics.ram)
    if completed:
        ram["remaining"] = ram["dirty-pages-rate"] = 0
    answer["ram"] = ram
    if statistics.xbzrle_cache:
        answer["xbzrle-cache"] = _named(statistics.xbzrle_cache)
    answer["total-time"] = statistics.total_time
    if completed or statistics.status.startswith("postcopy"):
        answer["downtime"] = statistics.downtime or 0
    else:
        answer["expected-downtime"] = statistics.expected_downtime or 0
    answer["setup-time"] = statistics.setup_time
    if statistics.cpu_throttle_percentage:
        answer["cpu-throttle-percentage"] = statistics.cpu_throttle_percentage
    if statistics.compression:
        answer["compression"] = _named(statistics.compression)
    if version >= _DIRTY_LIMIT_SINCE:
        for name in (
            "dirty_limit_throttle_time_per_round",
            "dirty_limit_ring_full_time",
        ):
            value = getattr(statistics, name)
            if value is not None:
                answer[name.replace("_", "-")] = value
    return answer


def render_qmp(
    statistics: MigrationStatistics, version: tuple[int, int] = (8, 2)
) -> str:
    """The answer as a monitor with ``pretty=on`` prints it."""
    return _text({"return": to_qmp(statistics, version)}) + "\n"


def _named(statistics: object) -> dict[str, Value]:
    return {name.replace("_", "-"): value for name, value in vars(statistics).items()}


def _text(value: Value, depth: int = 1) -> str:
    """Numbers with a point have 17 digits, and no point where they are whole."""
    if isinstance(value, dict):
        start = "\n" + " " * _INDENT * depth
        members = (f'{start}"{k}": {_text(v, depth + 1)}' for k, v in value.items())
        return "{" + ",".join(members) + start[:-_INDENT] + "}"
    if isinstance(value, float):
        return f"{value:.17g}"
    return str(value) if isinstance(value, int) else f'"{value}"'
