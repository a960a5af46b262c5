# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cloud Hypervisor's snapshots: a folder with ``memory-ranges``, raw memory, and
``state.json``, which says where in the guest its parts belong.

Source: Cloud Hypervisor's ``vmm/src/memory_manager.rs``: the state of the memory
manager is JSON, in releases as text within JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from migcomp.errors import ImageError
from migcomp.images.file import open_file
from migcomp.images.headers import size_of, take
from migcomp.images.signatures import CLOUD_HYPERVISOR_MEMORY
from migcomp.results import Block

FORMAT = "cloud-hypervisor"
STATE = "state.json"

_STATE_MAX = 64 << 20
_RANGES_MAX = 4096
_DEPTH_MAX = 64


def memory_in(folder: str) -> str | None:
    """The memory of a snapshot's folder, if it is one."""
    memory, state = Path(folder) / CLOUD_HYPERVISOR_MEMORY, Path(folder) / STATE
    return str(memory) if memory.is_file() and state.is_file() else None


def blocks_beside(path: str, page_size: int) -> tuple[Block, ...]:
    """The RAM blocks that lie back to back in ``path``, if it is a snapshot's
    memory.  Raises ImageError when its state does not tell them, or others."""
    memory = Path(path)
    state = memory.with_name(STATE)
    if not state.is_file():
        return ()
    file = open_file(str(state))
    try:
        if size_of(file) > _STATE_MAX:
            raise ImageError(f"{state} has {size_of(file)} bytes, which is absurd")
        text = take(file, 0, size_of(file), "its text")
    finally:
        file.close()
    try:
        found = next(_tables(json.loads(text), _DEPTH_MAX), None)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{state} is no JSON that can be read") from error
    if found is None:
        raise ImageError(
            f"{state} does not tell in JSON where memory belongs; give --block for "
            f"each part of {path}"
        )
    blocks = _blocks(str(state), found)
    size = memory.stat().st_size
    if sum(block.length for block in blocks) != size:
        raise ImageError(
            f"{state} lays out other memory than the {size} bytes of {path}"
        )
    if any((block.length | block.guest_address) % page_size for block in blocks):
        raise ImageError(f"{state} has ranges of memory that end within a page")
    return blocks


def _tables(value: object, depth: int) -> Iterator[list[object]]:
    """The lists under ``memory_ranges``, in text that is JSON itself as well."""
    if not depth:
        return
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return
    if isinstance(value, dict):
        ranges = value.get("memory_ranges")
        if isinstance(ranges, dict) and isinstance(ranges.get("data"), list):
            yield ranges["data"]
        for inner in value.values():
            yield from _tables(inner, depth - 1)
    elif isinstance(value, list) and not all(isinstance(v, int) for v in value):
        for inner in value:
            yield from _tables(inner, depth - 1)


def _blocks(path: str, table: list[object]) -> tuple[Block, ...]:
    damaged = ImageError(f"{path} is damaged: its memory_ranges are no such ranges")
    if not 0 < len(table) <= _RANGES_MAX:
        raise damaged
    blocks: list[Block] = []
    for entry in table:
        if not isinstance(entry, dict):
            raise damaged
        address, length = entry.get("gpa"), entry.get("length")
        if (
            not isinstance(address, int)
            or not isinstance(length, int)
            or not 0 <= address < address + length <= 1 << 64
        ):
            raise damaged
        blocks.append(Block(f"ram@{address:#x}", length, address))
    if len({block.name for block in blocks}) < len(blocks):
        raise damaged
    return tuple(blocks)
