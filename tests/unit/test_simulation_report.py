# SPDX-License-Identifier: LGPL-2.1-or-later
"""The report of a simulated migration on screens of all widths."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from migcomp.precopy.dirty import IdleGuest
from migcomp.precopy.engine import Sent
from migcomp.precopy.engines.choice import EngineChoice
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.results import MEASURED, Round, SimulationResult
from migcomp.precopy.simulate import simulate
from migcomp.report.console import open_console
from migcomp.report.simulation import render
from tests.precopy_tools import fixed_costs, guest_memory


@pytest.fixture(scope="module")
def result() -> SimulationResult:
    with guest_memory(64) as memory:
        return simulate(
            memory,
            IdleGuest(),
            EngineChoice("none", None, None),
            Link(1e9),
            Parameters(),
            fixed_costs(),
        )


def with_round(result: SimulationResult, pages: int) -> SimulationResult:
    sent = Sent(normal=1, duplicate=pages - 1, wire_bytes=999 << 20)
    last = Round(99, 0, pages, True, 4_230_000, sent, cpu_ns=4_230_000)
    return replace(result, rounds=(last,))


def shown(result: SimulationResult, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    file = io.StringIO()
    render(result, open_console(file, "never"))
    return file.getvalue()


def test_a_migration_that_takes_no_time(
    result: SimulationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of little memory, over a link that carries it in less than a nanosecond."""
    rounds = [Round(1, 0, 1, sent=Sent(duplicate=1)), Round(2, 0, 0, True)]
    text = shown(replace(result, rounds=tuple(rounds)), 80, monkeypatch)
    assert "migrated in 0 s, with the guest stopped for 0 s" in text
    line = next(line for line in text.splitlines() if "X" in line)
    assert line.split() == ["X" * 56, "0", "s"]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("pages", [262_144, 268_435_456, 17_179_869_184])
def test_no_cell_is_cut_off(
    result: SimulationResult, width: int, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(with_round(result, pages), width, monkeypatch)
    assert "…" not in text
    row = next(line for line in text.splitlines() if "99 stopped" in line)
    assert row.split()[2:4] == ["4.23", "ms"]
    assert row.count(f"{pages:,}") == 2
    assert "999 MiB" in row
    assert all(len(line) <= max(width, 80) for line in text.splitlines())


def test_a_wide_screen_has_all_columns(
    result: SimulationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(with_round(result, 17_179_869_184), 200, monkeypatch)
    for heading in ("zero", "Mbit/s", "CPU"):
        assert heading in next(li for li in text.splitlines() if "dirty  " in li)
    assert "17,179,869,183" in text


def test_measured_hand_overs_are_doubted(
    result: SimulationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = replace(result, engine="compress", costs=MEASURED)
    assert "load average was" in shown(measured, 200, monkeypatch)
    for certain in (replace(measured, engine="none"), replace(measured, costs="x")):
        assert "load average" not in shown(certain, 200, monkeypatch)


def test_whence_cpu_times_are(
    result: SimulationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    for costs, words in (
        (MEASURED, "CPU time measured as it was spent; 2 rounds"),
        ("cx.json", "CPU time from cx.json; 2 rounds"),
    ):
        assert words in shown(replace(result, costs=costs), 200, monkeypatch)
    status = replace(result.statistics, status="cancelled")
    stopped = replace(result, costs="cx.json", statistics=status)
    assert "CPU time from cx.json\n" in shown(stopped, 200, monkeypatch)


def told(
    parameters: Parameters, link: Link, engine: str = "none", codec: str | None = None
) -> str:
    with guest_memory(2048) as memory:
        result = simulate(
            memory,
            IdleGuest(),
            EngineChoice(engine, codec),
            link,
            parameters,
            fixed_costs(),
        )
    file = io.StringIO()
    render(result, open_console(file, "never"))
    return " ".join(file.getvalue().split())


def test_a_stop_beyond_the_limit_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel holds when the guest stops is sent first; and what goes into its
    buffer at once QEMU takes for what the link carries."""
    monkeypatch.setenv("COLUMNS", "80")
    link = Link(1e8)
    text = told(Parameters(max_bandwidth=0, downtime_limit=50), link)
    assert "longer than the downtime limit: 178 ms of it went by while 2.00 MiB" in text
    quick = Parameters(
        max_bandwidth=0, downtime_limit=50, avail_switchover_bandwidth=2**30
    )
    text = told(quick, link)
    assert "QEMU reckoned with 8,590 Mbit/s, and the link carries 94.1 Mbit/s" in text
    patient = Parameters(max_bandwidth=0, downtime_limit=5000)
    assert "longer than the downtime limit" not in told(patient, link)


def test_a_dirty_limit_is_told(
    result: SimulationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = replace(result.statistics, dirty_limit_throttle_time_per_round=2500)
    slowed = replace(result, statistics=statistics)
    text = shown(slowed, 200, monkeypatch)
    assert "a vCPU slept 2.50 ms each time its ring was full" in text
    assert "slept" not in shown(result, 200, monkeypatch)
