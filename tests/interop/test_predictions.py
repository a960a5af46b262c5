# SPDX-License-Identifier: LGPL-2.1-or-later
"""Simulated migrations held against those of a real QEMU, in what no clock decides.

docs/predictions.md has the table, with times; ``python -m benchmarks.predictions``
makes it anew.
"""

from __future__ import annotations

import os

import pytest

from migcomp.precopy.costs import Costs, measured_costs
from tests.conftest import REQUIRE_SHARED
from tests.interop.machine import initramfs, missing
from tests.interop.migrations import Guests, Setting, predict, settings

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

#: What QEMU's stream is framed by, which 7.2 does not count and 8.2 does, and what
#: multifd's channels say to each other when QEMU makes them wait.
TRANSFERRED = 0.01


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Guests:
    if missing():
        if os.environ.get(REQUIRE_SHARED) == "1":
            pytest.fail(f"{REQUIRE_SHARED}=1, but there is no {missing()}")
        pytest.skip(f"needs {missing()}")
    folder = tmp_path_factory.mktemp("guests")
    return Guests(folder, initramfs(folder))


@pytest.fixture(scope="module")
def costs() -> Costs:
    return measured_costs(4096)


@pytest.mark.parametrize("setting", list(settings()), ids=lambda each: each.name)
def test_pages_rounds_and_bytes(guests: Guests, costs: Costs, setting: Setting) -> None:
    fact = guests.migrate(setting)
    found, said = predict(fact, costs, guests.pipe).statistics, fact.said["ram"]
    assert (found.status, found.ram.total) == ("completed", said["total"])
    assert found.ram.normal == said["normal"]
    assert found.ram.transferred == pytest.approx(said["transferred"], rel=TRANSFERRED)
    # A sync behind which no page came again before the next leaves no trace.
    assert said["dirty-sync-count"] - found.ram.dirty_sync_count in (0, 1)
    if found.compression is None:
        assert found.ram.duplicate == said["duplicate"]
    else:
        # QEMU counts results of idle threads once more, as docs/qemu-streams.md says.
        theirs = fact.said["compression"]
        empty = theirs["pages"] - found.compression.pages
        zeros = said["duplicate"] - found.ram.duplicate
        assert empty >= 0
        assert zeros >= 0
        assert (empty + zeros) % setting.parameters["compress-threads"] == 0
        size = theirs["compressed-size"] + 8 * empty
        assert found.compression.compressed_size == size
    if found.xbzrle_cache is not None:
        theirs, ours = fact.said["xbzrle-cache"], found.xbzrle_cache
        assert ours.bytes == theirs["bytes"]
        assert ours.cache_miss == theirs["cache-miss"]
        assert ours.overflow == theirs["overflow"]
        # Pages found unchanged were not recorded.
        assert ours.pages <= theirs["pages"]
