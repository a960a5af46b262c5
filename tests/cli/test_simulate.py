# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp simulate`` and its options."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from migcomp.precopy.engines.choice import ENGINES
from tests.cli.conftest import GUEST_PAGES, PAGE, Outcome, command, program
from tests.qemu_tools import Writer, bulk


@pytest.fixture
def snapshots(guest: Path) -> list[Path]:
    """Three; some pages change each time."""
    paths = [guest]
    for number in (1, 2):
        content = bytearray(paths[-1].read_bytes())
        for page in range(number, GUEST_PAGES, 16):
            content[page * PAGE + 100 : page * PAGE + 108] = b"change %d" % number
        paths.append(guest.parent / f"guest{number}.raw")
        paths[-1].write_bytes(content)
    return paths


def simulated(*arguments: str | Path) -> Outcome:
    done = command("simulate", *arguments)
    assert done.code == 0, done.errors
    assert done.errors == ""
    return done


def test_the_answer_comes_first(guest: Path) -> None:
    lines = simulated(guest, "--link", "1Gbit").text.splitlines()
    assert lines[0].startswith("  guest.raw: 2.00 MiB migrated in ")
    assert "with the guest stopped for" in " ".join(lines[:2])
    assert any(line.split()[:2] == ["converged", "yes"] for line in lines)
    assert any(line.split()[:2] == ["1", "bulk"] for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_json(guest: Path) -> None:
    done = simulated(guest, "--link", "10Gbit", "--latency", "0.5", "--json").json
    assert done["schema"] == "migcomp.simulate/1"
    assert done["converged"] is True
    assert done["link"]["bandwidth-bits-per-second"] == 10e9
    assert done["link"]["latency-seconds"] == 0.0005
    assert done["parameters"]["qemu-version"] == "8.2"
    assert done["query-migrate"]["ram"]["duplicate"] == GUEST_PAGES // 2
    assert done["query-migrate"]["ram"]["normal"] == GUEST_PAGES // 2
    assert done["progress-history"][0]["iterations"] == 1
    assert done["progress-history"][-1]["guest-stopped"] is True
    assert simulated(guest, "--link", "10Gbit", "--format", "json").json["images"] == [
        str(guest)
    ]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("qmp", '"duplicate": 256'),
        ("hmp", "duplicate: 256 pages"),
        ("virsh", "Constant pages:   256"),
    ],
)
def test_as_qemu_says_it(guest: Path, form: str, words: str) -> None:
    done = simulated(guest, "--link", "1Gbit", "--format", form, "-q")
    assert words in done.text


def test_snapshots_are_a_guest_that_writes(snapshots: list[Path]) -> None:
    done = simulated(
        *snapshots, "--link", "1Gbit", "--interval", "0.02", "--max-bandwidth",
        "10MiB", "--downtime-limit", "10", "--json",
    ).json  # fmt: skip
    assert done["guest"] == "3 snapshots, 0.02 s apart"
    assert len(done["progress-history"]) > 3


def test_a_model_is_a_guest_that_writes(guest: Path) -> None:
    done = simulated(
        guest, "--link", "1Gbit", "--max-bandwidth", "10MiB", "--dirty-rate", "1MiB",
        "--working-set", "1536KiB", "--skew", "0.5", "--downtime-limit", "10", "--json",
    ).json  # fmt: skip
    assert done["guest"].startswith("a model: 256 pages/s dirty, working set 384")
    assert sum(r["normal-pages"] for r in done["progress-history"]) > GUEST_PAGES // 2


def test_a_dirty_rate_of_0_is_an_idle_guest(guest: Path) -> None:
    idle = simulated(guest, "--link", "1Gbit", "--json").json
    done = simulated(guest, "--link", "1Gbit", "--dirty-rate", "0", "--json").json
    assert done["guest"] == idle["guest"] == "an idle guest"
    assert done["query-migrate"]["ram"]["normal"] == GUEST_PAGES // 2


def test_a_model_is_fitted_to_snapshots(snapshots: list[Path]) -> None:
    done = simulated(*snapshots, "--link", "1Gbit", "--fit", "--json").json
    assert done["guest"].startswith("a model: ")


def test_a_model_is_fitted_to_a_recording(tmp_path: Path) -> None:
    lot, writer = random.Random(4), Writer()
    writer.start()
    bulk(writer)
    writer.part()
    for _ in range(8):
        for page in [5, *sorted(lot.sample(range(6, 25), 9))]:
            writer.normal(b"pc.ram", page, lot.randbytes(PAGE))
    writer.end_records()
    writer.end_ram()
    (tmp_path / "live.qemu").write_bytes(writer.finish())
    done = simulated(
        tmp_path / "live.qemu", "--link", "1Gbit", "--fit", "--fit-bandwidth", "40KiB",
        "--max-bandwidth", "40KiB", "--json",
    ).json  # fmt: skip
    # Ten pages of 20 in each round, which takes a second at that bandwidth.
    found = re.match(
        r"a model: (\d+) pages/s dirty, working set (\d+) pages", done["guest"]
    )
    assert found is not None
    assert 8 <= int(found[1]) <= 12
    assert 18 <= int(found[2]) <= 24


def test_of_many_rounds_some_are_shown(guest: Path) -> None:
    text = simulated(
        guest, "--link", "100Mbit", "--max-bandwidth", "1MiB", "--dirty-rate", "1MiB",
        "--downtime-limit", "1", "--max-rounds", "20",
    ).text  # fmt: skip
    rows = text[text.index("  round ") : text.index("time line")].split("\n")
    assert [row.split()[0] for row in rows[1:10]] == [*map(str, range(1, 10))]
    assert "9 more" in rows[10]
    assert [row.split()[0] for row in rows[11:14]] == ["19", "20", "21"]


def test_it_says_why_it_was_cancelled(guest: Path) -> None:
    lines = simulated(
        guest, "--link", "100Mbit", "--max-bandwidth", "1MiB", "--dirty-rate", "1MiB",
        "--downtime-limit", "1", "--max-rounds", "2",
    ).text  # fmt: skip
    text = " ".join(lines.split())
    assert "not migrated: cancelled after" in text
    assert "because it was not done in max-rounds, 2" in text
    assert "converged no" in text


@pytest.mark.parametrize("engine", ENGINES)
def test_pages_of_64_kib(guest: Path, engine: str) -> None:
    done = simulated(
        guest, "--link", "1Gbit", "--page-size", "64KiB", "--engine", engine, "--json"
    ).json
    assert done["converged"]
    ram = done["query-migrate"]["ram"]
    assert (ram["page-size"], ram["total"]) == (65536, GUEST_PAGES * PAGE)


def test_costs_make_it_repeatable(snapshots: list[Path], tmp_path: Path) -> None:
    costs = tmp_path / "costs.json"
    common: tuple[str | Path, ...] = (
        *snapshots,
        "--link",
        "100Mbit",
        "--engine",
        "compress",
        "--json",
    )
    first = simulated(*common, "--save-costs", costs).json
    assert "real-seconds" in first
    again = [simulated(*common, "--costs", costs).text for _ in range(2)]
    assert again[0] == again[1]
    assert "real-seconds" not in again[0]


def test_adaptive_costs_are_those_of_all_that_it_may_choose(
    guest: Path, tmp_path: Path
) -> None:
    costs = tmp_path / "costs.json"
    base = ("simulate", guest, "--engine", "adaptive", "--link")
    assert command(*base, "1Gbit", "--save-costs", costs).code == 0
    kept = json.loads(costs.read_text())["codecs"]
    assert {codec: list(levels) for codec, levels in kept.items()} == {
        "none": ["0"],
        "lz4": ["1"],
        "zstd": ["1", "3", "9"],
    }
    for link in ("1Mbit", "1Gbit", "100Gbit"):
        done = command(*base, link, "--costs", costs)
        assert done.code == 0, done.errors


def test_engines_take_codec_and_level(guest: Path) -> None:
    for arguments, words in (
        (("compress", "--compress-level", "6"), "zlib level 6"),
        (("multifd", "--multifd-compression", "zstd"), "2 channels, zstd level 1"),
        (
            ("multifd", "--codec", "zlib", "--multifd-zlib-level", "3"),
            "2 channels, zlib level 3",
        ),
        (
            ("multifd", "--multifd-compression", "zstd", "--level", "2"),
            "2 channels, zstd level 2",
        ),
        (("packets", "--codec", "lz4"), "lz4 level 1"),
        (("compress", "--codec", "zstd"), "zstd level 1 (QEMU has zlib only)"),
        (("xbzrle", "--xbzrle-cache-size", "1MiB"), "a cache of 1.00 MiB"),
        (("adaptive", "--compress-threads", "3"), "3 threads"),
    ):
        done = simulated(guest, "--link", "1Gbit", "--json", "--engine", *arguments)
        assert words in done.json["engine"]["description"]


def test_costs_on_standard_output_leave_the_report_the_other(guest: Path) -> None:
    for form in ((), ("--json",), ("--format", "hmp")):
        done = program(
            *("simulate", guest, "--link", "1Gbit", "--save-costs", "-"), *form
        )
        assert done.code == 0, done.errors
        assert done.json["schema"] == "migcomp.costs/1"
        assert "converge" in done.errors or "Migration status" in done.errors


@pytest.mark.parametrize(
    ("engine", "what_if"),
    [
        (("none",), False),
        (("compress",), False),
        (("compress", "--codec", "zlib"), False),
        (("compress", "--codec", "zstd"), True),
        (("compress", "--compress-wait-thread", "adaptive"), True),
        (("multifd", "--codec", "zstd"), False),
        (("xbzrle",), False),
        (("packets",), True),
        (("delta",), True),
        (("dedup",), True),
        (("adaptive",), True),
    ],
)
def test_json_says_what_qemu_has_not(
    guest: Path, engine: tuple[str, ...], what_if: bool
) -> None:
    done = simulated(guest, "--link", "1Gbit", "--json", "--engine", *engine)
    assert done.json["engine"]["what-if"] is what_if


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("compress", "--level", "4"), {"compress-level": 4}),
        (("multifd",), {"multifd-compression": "none"}),
        (
            ("multifd", "--codec", "zstd", "--level", "3"),
            {"multifd-compression": "zstd", "multifd-zstd-level": 3},
        ),
        (
            ("multifd", "--codec", "zlib"),
            {"multifd-compression": "zlib", "multifd-zlib-level": 1},
        ),
        (
            ("multifd", "--multifd-compression", "zstd", "--level", "3"),
            {"multifd-compression": "zstd", "multifd-zstd-level": 3},
        ),
    ],
)
def test_parameters_are_those_that_were_simulated(
    guest: Path, options: tuple[str, ...], told: dict[str, object]
) -> None:
    done = simulated(guest, "--link", "1Gbit", "--json", "--engine", *options)
    assert told.items() <= done.json["parameters"].items()


def test_snapshots_and_a_rate_exclude_each_other(snapshots: list[Path]) -> None:
    done = command("simulate", *snapshots, "--link", "1Gbit", "--dirty-rate", "64KiB")
    assert done.code == 2
    assert "--dirty-rate takes the place of later snapshots" in done.errors
