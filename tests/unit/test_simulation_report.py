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
