# SPDX-License-Identifier: LGPL-2.1-or-later
"""The description that QEMU puts at the end of a stream: how long devices are.

It lists, for each section of a device, the fields that were written with their
sizes (``vmstate_save_state`` of QEMU 7.2): a field is ``size`` bytes, and as often
as its ``array_len`` says; each subsection has a header of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Of a subsection besides its name: 0x05, length of the name, version.
_SUBSECTION_SIZE = 6


def device_sizes(description: object) -> Mapping[tuple[str, int], int]:
    """(section's name, instance) -> bytes; what makes no sense is left out."""
    sizes: dict[tuple[str, int], int] = {}
    for device in _items(description, "devices"):
        name, instance = device.get("name"), device.get("instance_id")
        if isinstance(name, str) and isinstance(instance, int):
            try:
                sizes[name, instance] = _size(device)
            except (ValueError, RecursionError):
                continue
    return sizes


def _size(state: dict[str, Any]) -> int:
    total = 0
    for field in _items(state, "fields"):
        total += _number(field, "size") * _number(field, "array_len", 1)
    for part in _items(state, "subsections"):
        name = part.get("vmsd_name")
        if not isinstance(name, str):
            raise ValueError("a subsection without name")
        total += _SUBSECTION_SIZE + len(name) + _size(part)
    return total


def _items(holder: object, key: str) -> Iterator[dict[str, Any]]:
    items = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(items, list):
        yield from (item for item in items if isinstance(item, dict))


def _number(field: dict[str, Any], key: str, default: int | None = None) -> int:
    value = field.get(key, default)
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"no {key}")
    return value
