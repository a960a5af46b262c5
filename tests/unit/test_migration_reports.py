# SPDX-License-Identifier: LGPL-2.1-or-later
"""Statistics as QEMU and libvirt print them, against what they once printed.

tests/golden/statistics holds answers of QEMU 7.2 to query-migrate, the text of its
``info migrate`` a moment later, and what virsh 9.0 makes of the answer;
tests/interop/test_statistics.py asked for them.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migcomp.precopy.statistics import (
    CompressionStatistics,
    MigrationStatistics,
    RamStatistics,
    XbzrleStatistics,
)
from migcomp.report.hmp import render_hmp
from migcomp.report.qmp import render_qmp, to_qmp
from migcomp.report.virsh import render_virsh
from tests.qemu_answers import NUMBERS, statistics_of
from tests.unit.test_qemu_captures import NAMES, said

FOLDER = Path(__file__).parents[1] / "golden/statistics"
GOLDEN = sorted(path.stem for path in FOLDER.glob("*.json"))
every = pytest.mark.parametrize("name", GOLDEN)
THEIRS = (7, 2)

ACTIVE = MigrationStatistics(
    "active",
    RamStatistics(total=1 << 30, remaining=5000, dirty_pages_rate=7, mbps=1 / 3),
    total_time=2000,
    setup_time=1,
    expected_downtime=12,
    cpu_throttle_percentage=30,
    dirty_limit_throttle_time_per_round=120_000,
    dirty_limit_ring_full_time=40_000,
)


def answer(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def test_they_are_there() -> None:
    assert len(GOLDEN) == 10


@every
def test_query_migrate(name: str) -> None:
    ours = to_qmp(statistics_of(answer(name)), THEIRS)
    assert ours == answer(name)
    assert shapes(ours) == shapes(answer(name))
    assert json.loads(render_qmp(statistics_of(answer(name)))) == {"return": ours}


def test_query_migrate_of_captured_guests(guest_streams: Path) -> None:
    for name in NAMES:
        theirs = said(guest_streams, name)
        assert to_qmp(statistics_of(theirs), THEIRS) == theirs


def shapes(part: Any, key: str = "") -> Any:
    """What is a number with a point in QAPI is one whether whole or not."""
    if isinstance(part, dict):
        return {key: shapes(value, key) for key, value in part.items()}
    return float if key in NUMBERS else type(part)


@every
def test_info_migrate(name: str) -> None:
    ours = render_hmp(statistics_of(answer(name)), THEIRS)
    theirs = (FOLDER / f"{name}.hmp").read_text()
    if name.endswith("active"):
        # It was asked a moment later.
        ours, theirs = (re.sub(r"[0-9.]+", "N", text) for text in (ours, theirs))
    assert ours == theirs


@every
def test_domjobinfo(name: str) -> None:
    theirs = (FOLDER / f"{name}.virsh").read_text()
    assert render_virsh(statistics_of(answer(name))) == theirs


def test_the_answer_s_text_is_that_of_a_pretty_monitor() -> None:
    done = replace(ACTIVE, status="cancelled")
    assert render_qmp(done) == (
        '{\n    "return": {\n        "status": "cancelled"\n    }\n}\n'
    )
    lines = render_qmp(ACTIVE).splitlines()
    assert '            "mbps": 0.33333333333333331,' in lines
    whole = replace(ACTIVE, ram=RamStatistics(mbps=2.0))
    assert '            "mbps": 2,' in render_qmp(whole).splitlines()


@pytest.mark.parametrize("status", ["none", "setup", "cancelled", "failed", "colo"])
def test_without_figures(status: str) -> None:
    statistics = replace(ACTIVE, status=status)
    assert to_qmp(statistics) == {"status": status}
    lines = render_hmp(statistics).splitlines()
    assert lines[-2:] == [f"Migration status: {status}", "total time: 0 ms"]


def test_when_done_nothing_remains() -> None:
    done = to_qmp(replace(ACTIVE, status="completed", downtime=3))
    ram: Any = done["ram"]
    assert (ram["remaining"], ram["dirty-pages-rate"]) == (0, 0)
    assert done["downtime"] == 3
    assert "expected-downtime" not in done
    assert "dirty pages rate" not in render_hmp(replace(ACTIVE, status="completed"))


def test_what_is_not_in_use_is_not_there() -> None:
    keys = set(to_qmp(replace(ACTIVE, cpu_throttle_percentage=0)))
    assert "cpu-throttle-percentage" not in keys
    assert not {"compression", "xbzrle-cache", "downtime"} & keys


def test_the_dirty_limit_s_figures_came_with_8_1() -> None:
    new = {"dirty-limit-throttle-time-per-round", "dirty-limit-ring-full-time"}
    assert set(to_qmp(ACTIVE, (8, 1))) - set(to_qmp(ACTIVE, (8, 0))) == new
    assert render_hmp(ACTIVE).splitlines()[-3:] == [
        "cpu throttle percentage: 30",
        "dirty-limit throttle time: 120000 us",
        "dirty-limit ring full time: 40000 us",
    ]
    assert "dirty-limit" not in render_hmp(ACTIVE, (7, 2))
    idle = replace(ACTIVE, dirty_limit_throttle_time_per_round=0)
    assert "dirty-limit throttle time: 0 us" in render_hmp(idle).splitlines()


def test_kbytes_are_cut_off() -> None:
    lines = render_hmp(ACTIVE).splitlines()
    assert "remaining ram: 4 kbytes" in lines
    assert "total ram: 1048576 kbytes" in lines
    assert "throughput: 0.33 mbps" in lines


counts = st.integers(0, 2**63 - 1)
rates = st.floats(0, 1e9)


@given(counts, counts, rates, rates)
def test_any_figures_come_back_from_the_text(
    size: int, pages: int, mbps: float, rate: float
) -> None:
    ram = RamStatistics(transferred=size, total=size, normal=pages, mbps=mbps)
    statistics = MigrationStatistics(
        "active",
        ram,
        expected_downtime=300,
        xbzrle_cache=XbzrleStatistics(pages=pages, encoding_rate=rate),
        compression=CompressionStatistics(pages=pages, busy_rate=rate),
    )
    read = json.loads(render_qmp(statistics))["return"]
    assert statistics_of(read) == statistics
