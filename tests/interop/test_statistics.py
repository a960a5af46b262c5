# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reports of a migration's statistics, against QEMU's and virsh's own.

``python -m tests.interop.test_statistics FOLDER`` keeps what they said as golden
files.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migcomp.precopy.statistics import MigrationStatistics, RamStatistics
from migcomp.report.hmp import render_hmp
from migcomp.report.qmp import to_qmp
from migcomp.report.virsh import render_virsh
from tests.conftest import REQUIRE_SHARED
from tests.interop import machine, virsh
from tests.qemu_answers import statistics_of

QEMU_HERE = (7, 2)
SLOWLY, QUICKLY = 20_000, 10**12  # bytes a second
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

Said = tuple[dict[str, Any], str]  # query-migrate and `info migrate`


def need(what: str) -> None:
    if what:
        if os.environ.get(REQUIRE_SHARED) == "1":
            pytest.fail(f"{REQUIRE_SHARED}=1, but there is no {what}")
        pytest.skip(f"needs {what}")


def sayings(folder: Path) -> dict[str, Said]:
    """Of migrations under several capabilities, while they go on and when done."""
    said = {}
    with machine.machine(folder / "machine", machine.initramfs(folder)) as guest:
        guest.wait_for_ticks(1)

        def migrate(*capabilities: str) -> None:
            for name in ("xbzrle", "compress", "auto-converge", "multifd"):
                state = {"capability": name, "state": name in capabilities}
                guest("migrate-set-capabilities", capabilities=[state])
            guest("cont")
            speed(SLOWLY)
            guest("migrate", uri="exec:cat >/dev/null")
            time.sleep(0.5)

        def speed(bandwidth: int) -> None:
            guest("migrate-set-parameters", **{"max-bandwidth": bandwidth})

        def say() -> Said:
            text = guest("human-monitor-command", **{"command-line": "info migrate"})
            return guest("query-migrate"), text.replace("\r\n", "\n")

        def until(done: Callable[[dict[str, Any]], bool]) -> None:
            while not done(answer := guest("query-migrate")):
                assert answer["status"] in ("active", "cancelling", "device"), answer
                time.sleep(0.05)

        def wait() -> None:
            until(lambda answer: answer["status"] in ("completed", "cancelled"))

        for name, capabilities in (
            ("plain", ()),
            ("xbzrle", ("xbzrle",)),
            ("compress", ("compress",)),
            ("both", ("xbzrle", "compress")),
        ):
            migrate(*capabilities)
            said[f"{name}-active"] = say()
            speed(QUICKLY)
            wait()
            said[f"{name}-completed"] = say()
        migrate("auto-converge")
        # Any write is too much, and the guest writes more quickly than this.
        least = {"throttle-trigger-threshold": 1, "downtime-limit": 1}
        guest("migrate-set-parameters", **least)
        speed(20_000_000)
        until(lambda answer: answer["ram"]["remaining"] < 16 << 20)
        speed(1_000_000)
        until(lambda answer: "cpu-throttle-percentage" in answer)
        said["throttled-active"] = say()
        guest("migrate_cancel")
        wait()
        said["plain-cancelled"] = say()
    return said


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Said]:
    need(machine.missing())
    return sayings(tmp_path_factory.mktemp("statistics"))


def test_query_migrate_has_the_same_keys_and_types(said: dict[str, Said]) -> None:
    for name, (answer, _) in said.items():
        statistics = statistics_of(answer)
        assert to_qmp(statistics, QEMU_HERE) == answer, name


def test_info_migrate_has_the_same_lines(said: dict[str, Said]) -> None:
    for name, (answer, text) in said.items():
        ours = render_hmp(statistics_of(answer), QEMU_HERE)
        if name.endswith("active"):
            # Time has passed in between.
            assert numberless(ours) == numberless(text), name
        else:
            assert ours == text, name


def numberless(text: str) -> str:
    return re.sub(r"[0-9.]+", "N", text)


def statistics_for_virsh(said: dict[str, Said]) -> Iterator[MigrationStatistics]:
    yield from (statistics_of(answer) for answer, _ in said.values())
    for size in (0, 1, 1023, 1024, 1025, 2**20 - 1, 2**30, 2**40 * 999, 2**60):
        yield MigrationStatistics(
            "active",
            RamStatistics(total=1, transferred=size, remaining=size, mbps=size / 7e4),
            expected_downtime=size,
            cpu_throttle_percentage=99,
        )


def test_domjobinfo_prints_the_same(said: dict[str, Said], tmp_path: Path) -> None:
    need(virsh.missing())
    for statistics in statistics_for_virsh(said):
        assert render_virsh(statistics) == virsh.domjobinfo(tmp_path, statistics)


def keep(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        for name, (answer, text) in sayings(Path(work)).items():
            path = folder / name
            path.with_suffix(".json").write_text(json.dumps(answer, indent=1) + "\n")
            path.with_suffix(".hmp").write_text(text)
            job = virsh.domjobinfo(Path(work), statistics_of(answer))
            path.with_suffix(".virsh").write_text(job)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
