# SPDX-License-Identifier: LGPL-2.1-or-later
"""Captured migrations of a QEMU 7.2, simulated again from their recordings.

What no clock decides is held to the byte; docs/predictions.md has the rest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from migcomp.precopy.engines.choice import EngineChoice
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.replay import Replay
from migcomp.precopy.simulate import simulate
from migcomp.precopy.statistics import MigrationStatistics
from tests.precopy_tools import fixed_costs

FAST = Link(100e9, overhead=0)  # the migrations went to a file
#: A section's end, which is counted; how many there are is for time to tell.
END = 8
SECTIONS = 20  # more or less


def predicted(folder: Path, name: str, engine: str) -> tuple[MigrationStatistics, Any]:
    """And what query-migrate said."""
    record = json.loads((folder / f"{name}.json").read_text())
    named = {k.replace("-", "_"): v for k, v in record["parameters"].items()}
    parameters = Parameters(**named, qemu_version=(7, 2))
    with Replay(str(folder / f"{name}.qemu")) as replay, replay.memory() as memory:
        result = simulate(
            memory,
            replay,
            EngineChoice(engine),
            FAST,
            parameters,
            fixed_costs(),
        )
    return result.statistics, record["query-migrate"]


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("live-plain", "none"),
        ("live-xbzrle", "xbzrle"),
        ("live-compress", "compress"),
    ],
)
def test_pages_rounds_and_bytes(guest_streams: Path, name: str, engine: str) -> None:
    ours, theirs = predicted(guest_streams, name, engine)
    ram = theirs["ram"]
    assert ours.ram.total == ram["total"]
    assert ours.ram.normal == ram["normal"]
    assert ours.ram.dirty_sync_count == ram["dirty-sync-count"]
    more = ours.ram.transferred - ram["transferred"]
    assert more % END == 0
    assert abs(more) <= SECTIONS * END
    assert ours.ram.precopy_bytes + ours.ram.downtime_bytes == ours.ram.transferred
    if engine != "compress":
        assert ours.ram.downtime_bytes == ram["downtime-bytes"]
    if ours.compression is None:
        assert ours.ram.duplicate == ram["duplicate"]
        return
    # QEMU counts results of idle threads once more, as docs/qemu-streams.md says.
    empty = theirs["compression"]["pages"] - ours.compression.pages
    assert (empty, ram["duplicate"] - ours.ram.duplicate) == (10, 12)
    size = theirs["compression"]["compressed-size"] + 8 * empty
    assert ours.compression.compressed_size == size


def test_xbzrle(guest_streams: Path) -> None:
    """What the stream has: QEMU's counters go on from the migration before."""
    ours, _ = predicted(guest_streams, "live-xbzrle", "xbzrle")
    assert ours.xbzrle_cache is not None
    assert (ours.xbzrle_cache.pages, ours.xbzrle_cache.bytes) == (9, 489)
    assert (ours.xbzrle_cache.cache_miss, ours.xbzrle_cache.overflow) == (2151, 0)
