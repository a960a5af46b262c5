# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp plan``: the question asked as users do."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.cli.conftest import command, program, sentence
from tests.conftest import PAGE, make_page


@pytest.fixture
def snapshots(tmp_path: Path) -> list[Path]:
    """Of a guest that writes 40 of its 300 pages within a second."""
    lot, paths = Random(1), []
    pages = [make_page("text", seed) for seed in range(200)] + [bytes(PAGE)] * 100
    for number in range(3):
        path = tmp_path / f"round{number}.raw"
        path.write_bytes(b"".join(pages))
        paths.append(path)
        for at in lot.sample(range(200), 40):
            pages[at] = bytes([number + 1]) * 8 + pages[at][8:]
    return paths


def test_of_one_image(snapshots: list[Path]) -> None:
    done = command("plan", snapshots[0], "--link", "5Mbit")
    assert done.code == 0, done.errors
    assert done.text.lstrip().startswith("Migrate with multifd z")
    assert "migrate_set_capability multifd on" in done.text
    assert "  virsh migrate --live" in done.text
    assert "writes nothing" in done.text
    table = done.text.partition("way ")[2].partition("\n\n")[0]
    assert "compress zlib-1" in table
    assert "xbzrle" not in table


def test_lines_of_the_report_fit(snapshots: list[Path]) -> None:
    done = command("plan", snapshots[0], "--link", "5Mbit", "--threads-max", "16")
    report = done.text.partition("QMP, on the destination")[0]
    assert max(map(len, report.splitlines())) <= 80
    assert "…" not in report


def test_of_snapshots(snapshots: list[Path]) -> None:
    options = ("--link", "1Mbit", "--interval", "1", "--json")
    found = command("plan", *snapshots, *options).json
    assert "fitted to 3 snapshots" in found["guest"]
    ways = {way["engine"] for way in found["ways"]}
    assert ways == {"none", "multifd", "compress", "xbzrle"}
    assert found["method"] == "simulation"
    two = command("plan", *snapshots[:2], *options).json
    assert "by 2 snapshots" in two["guest"]


def test_of_snapshots_that_are_equal(snapshots: list[Path]) -> None:
    same = [snapshots[0]] * 2
    found = command("plan", *same, "--link", "1Mbit", "--json").json
    assert found["guest"] is None
    notes = " ".join(found["notes"])
    assert "a guest that writes nothing (its 2 snapshots are equal)." in notes
    assert "give snapshots" not in notes


def test_of_a_guest_that_is_said_to_be_idle(snapshots: list[Path]) -> None:
    options = (snapshots[0], "--link", "5Mbit", "--json")
    taken = " ".join(command("plan", *options).json["notes"])
    assert "for a guest that writes nothing." in taken
    assert "give snapshots of it" in taken
    found = command("plan", *options, "--dirty-rate", "0").json
    assert found["guest"] is None
    notes = " ".join(found["notes"])
    assert "for a guest that writes nothing (as given)." in notes
    assert "give snapshots of it" not in notes


def test_by_a_dirty_rate(snapshots: list[Path]) -> None:
    rate = ("--dirty-rate", "100KiB")
    found = command("plan", snapshots[0], "--link", "5Mbit", *rate, "--json").json
    assert found["guest"].startswith("25 pages/s dirty, as given")
    assert any("xbzrle was not tried" in note for note in found["notes"])
    done = command("plan", snapshots[0], "--link", "5Mbit", "--dirty-rate", "1GiB")
    assert done.code == 2
    said = "--dirty-rate is 1.00 GiB; it must be less than the guest's memory"
    assert said in sentence(done)


def test_what_a_version_has_not(snapshots: list[Path]) -> None:
    def ways(version: str) -> set[str]:
        options = ("--link", "5Mbit", "--qemu", version, "--json")
        found = command("plan", snapshots[0], *options).json
        return {way["engine"] + " " + way["codec"] for way in found["ways"]}

    assert ways("4.2") == {"none none", "multifd none", "compress zlib"}
    new = {"none none", "multifd none", "multifd zstd", "multifd zlib"}
    assert ways("9.1.2") == new


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--link", "fast"), "is not a rate"),
        (("--link", "1Gbit", "--qemu", "3.1"), "those are 4.0 to 10.2"),
        (("--link", "1Gbit", "--qemu", "11.0"), "10.2 is nearest to it"),
        (("--link", "1Gbit", "--qemu", "new"), "is not a version"),
        (("--link", "1Gbit", "--downtime", "0"), "not in the range of 1 to"),
        (("--link", "1Gbit", "--downtime", "3 hours"), "such as 300ms or 0.3s"),
        (("--link", "1Gbit", "--sample-size", "1"), "256 KiB or more"),
        ((), "--link"),
    ],
)
def test_wrong_use(snapshots: list[Path], options: tuple[str, ...], said: str) -> None:
    done = command("plan", snapshots[0], *options)
    assert done.code == 2
    assert said in done.errors


def test_snapshots_and_a_rate(snapshots: list[Path]) -> None:
    done = command("plan", *snapshots, "--link", "1Gbit", "--dirty-rate", "1MiB")
    assert done.code == 2
    assert "either snapshots or --dirty-rate" in done.errors


def test_bad_images(snapshots: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty.raw"
    empty.touch()
    for image in (empty, tmp_path / "none.raw"):
        done = command("plan", image, "--link", "1Gbit")
        assert done.code == 3
        assert image.name in sentence(done)
    other = tmp_path / "other.raw"
    other.write_bytes(bytes(PAGE) * 5)
    done = command("plan", snapshots[0], other, "--link", "1Gbit")
    assert done.code == 3
    assert "no later snapshot" in sentence(done)


def test_an_image_that_ends_within_a_page(tmp_path: Path) -> None:
    path = tmp_path / "cut.raw"
    path.write_bytes(make_page("text") + b"rest")
    done = command("plan", path, "--link", "1Gbit")
    assert done.code == 3
    assert "cut.raw" in sentence(done)
    assert "cut off after 4 of 4096 bytes" in done.errors
    assert "--pad" not in done.errors


def test_a_guest_of_zeros(tmp_path: Path) -> None:
    path = tmp_path / "zero.raw"
    path.write_bytes(bytes(PAGE) * 600)
    found = command("plan", path, "--link", "1Gbit", "--json").json
    assert found["zero-share"] == 1
    assert found["ways"][0]["converges"]


def test_from_a_pipe(snapshots: list[Path]) -> None:
    stream = snapshots[0].read_bytes()
    done = program("plan", "-", "--link", "5Mbit", "--json", stdin=stream)
    assert done.code == 0, done.errors
    assert done.json["memory-bytes"] == len(stream)


@pytest.mark.parametrize("limit", ["250", "250ms", "0.25s"])
def test_a_downtime_has_units(snapshots: list[Path], limit: str) -> None:
    options = ("--link", "1Gbit", "--downtime", limit, "--json")
    assert command("plan", snapshots[0], *options).json["downtime-limit-ms"] == 250


def test_quietly(snapshots: list[Path]) -> None:
    done = command("plan", snapshots[0], "--link", "5Mbit", "-q")
    assert (done.code, done.text, done.errors) == (0, "", "")


def test_less_than_qemu_can_count(snapshots: list[Path]) -> None:
    snapshots[0].write_bytes(bytes(PAGE))
    done = command("plan", snapshots[0], "--link", "1Gbit", "--downtime-limit", "9")
    assert "without compression: < 1 ms in all" in " ".join(done.text.split())


def test_an_interval_needs_snapshots(snapshots: list[Path]) -> None:
    done = command("plan", snapshots[0], "--link", "1Gbit", "--interval", "1")
    assert done.code == 2
    assert "give several IMAGEs" in sentence(done)
