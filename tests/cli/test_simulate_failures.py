# SPDX-License-Identifier: LGPL-2.1-or-later
"""What ``migcomp simulate`` refuses, and what it does not overwrite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import command, program, sentence


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "--link"),
        (("--link", "fast"), 2, "'fast' is not a rate such as 100Mbit"),
        (("--link", "0Gbit"), 2, "is not a rate"),
        (("--link", "1Gbit", "--engine", "magic"), 2, "'magic' is not one of none"),
        (("--link", "1Gbit", "--xbzrle-cache-size", "3MiB"), 2, "not a power of two"),
        (("--link", "1Gbit", "--qemu-version", "new"), 2, "not a version"),
        (
            ("--link", "1Gbit", "--qemu-version", "2.1"),
            2,
            "'2.1' is not a known version of QEMU: those are 4.0 to 10.2",
        ),
        (("--link", "1Gbit", "--qemu-version", "8.3"), 2, "each with .0, .1 and .2"),
        (("--link", "1Gbit", "--qemu-version", "11.0"), 2, "10.2 is nearest to it"),
        (("--link", "1Gbit", "--codec", "zstd"), 2, "no meaning with --engine none"),
        (
            ("--link", "1Gbit", "--engine", "xbzrle", "--xbzrle-cache-size", "4EiB"),
            5,
            "cannot have a cache of 4.00 EiB: there is no memory for it",
        ),
        (("--link", "1Gbit", "--engine", "delta", "-c", "zlib"), 5, "deltas"),
        (("--link", "1Gbit", "--skew", "1"), 2, "--skew is of a model"),
        (("--link", "1Gbit", "--latency", "nan"), 2, "'nan' is not a number"),
        (("--link", "1Gbit", "--skew", "nan"), 2, "'nan' is not a number"),
        (("--link", "1Gbit", "--interval", "5"), 2, "between two snapshots"),
        (("--link", "1Gbit", "--fit"), 2, "three snapshots or more"),
        (
            ("--link", "1Gbit", "--fit-bandwidth", "1MB"),
            2,
            "--fit-bandwidth goes with --fit",
        ),
        (
            ("--link", "1Gbit", "--fit", "--fit-bandwidth", "1MB"),
            3,
            "no recording of a migration",
        ),
        (
            ("--link", "1Gbit", "--dirty-rate", "2MiB"),
            2,
            "--dirty-rate is 2.00 MiB; it must be less than the guest's memory",
        ),
        (("--link", "1Gbit", "--dirty-rate", "0", "--replay"), 2, "leave that out"),
        (
            ("--link", "1Gbit", "--dirty-rate", "0", "--skew", "1"),
            2,
            "--skew is of a model; give --dirty-rate, too, of more than 0",
        ),
        (
            ("--link", "1Gbit", "--dirty-rate", "1MiB", "--working-set", "3MiB"),
            2,
            "--working-set is 3.00 MiB, more than the 2.00 MiB that",
        ),
        (
            ("--link", "1Gbit", "--dirty-rate", "1MiB", "--bytes-changed", "4097"),
            2,
            "--bytes-changed is 4097, more than a page, 4096 bytes",
        ),
        (
            ("--link", "1Gbit", "--dirty-rate", "1MiB", "--skew", "9"),
            3,
            "1.00 MiB a second, in a working set of 2.00 MiB with a skew of 9",
        ),
        (
            ("--link", "1Gbit", "--auto-converge", "--dirty-limit"),
            2,
            "exclude each other",
        ),
        (
            ("--link", "1Gbit", "--auto-converge", "--max-cpu-throttle", "10"),
            2,
            "--max-cpu-throttle is 10, less than --cpu-throttle-initial, which is 20",
        ),
        (("--link", "1Gbit", "--replay"), 3, "guest.raw"),
        (("--link", "1Gbit", "--costs", "none.json"), 3, "none.json"),
        (
            ("--link", "1Gbit", "--engine", "packets", "--level", "99"),
            2,
            "levels",
        ),
        (
            ("--link", "1Gbit", "--engine", "multifd", "--codec", "lz4"),
            2,
            "multifd compresses by zlib and zstd, and not by lz4",
        ),
        (
            ("--link", "1Gbit", "--engine", "packets", "--multifd-zstd-level", "3"),
            2,
            "--multifd-zstd-level has no meaning with --engine packets",
        ),
        (
            (
                *("--link", "1Gbit", "--engine", "multifd", "--codec", "zlib"),
                *("--multifd-zstd-level", "3"),
            ),
            2,
            "--multifd-zstd-level has no meaning with zlib",
        ),
        (
            ("--link", "1Gbit", "--engine", "multifd", "--multifd-zlib-level", "3"),
            2,
            "--multifd-zlib-level has no meaning with none",
        ),
        (
            (
                *("--link", "1Gbit", "--engine", "compress", "--level", "2"),
                *("--compress-level", "3"),
            ),
            2,
            "--level and --compress-level say the same; give one of them",
        ),
        (
            (
                *("--link", "1Gbit", "--engine", "multifd", "--codec", "zlib"),
                *("--multifd-compression", "zstd"),
            ),
            2,
            "--codec and --multifd-compression say the same; give one of them",
        ),
        (
            (
                *("--link", "1Gbit", "--engine", "multifd", "--codec", "zstd"),
                *("--level", "-7"),
            ),
            2,
            "multifd-zstd-level is 0 to 20, not -7",
        ),
        (
            ("--link", "1Gbit", "--engine", "compress", "--qemu-version", "9.1"),
            2,
            "QEMU 9.1 has no compress, which 9.1 removed",
        ),
        (
            (
                *("--link", "1Gbit", "--engine", "multifd", "--codec", "zstd"),
                *("--qemu-version", "4.2"),
            ),
            2,
            "multifd of QEMU 4.2 does not compress",
        ),
        (
            ("--link", "1Gbit", "--multifd-channels", "4"),
            2,
            "--multifd-channels has no meaning with --engine none; it is of multifd",
        ),
        (
            ("--link", "1Gbit", "--engine", "xbzrle", "--compress-threads", "4"),
            2,
            "--compress-threads has no meaning with --engine xbzrle",
        ),
        (
            ("--link", "1Gbit", "--cpu-throttle-initial", "40"),
            2,
            "--cpu-throttle-initial has no meaning without --auto-converge",
        ),
        (
            ("--link", "1Gbit", "--throttle-trigger-threshold", "40"),
            2,
            "without --auto-converge or --dirty-limit",
        ),
        (
            ("--link", "1Gbit", "--dirty-limit", "--qemu-version", "7.2"),
            2,
            "--dirty-limit came with QEMU 8.1",
        ),
        (
            (
                *("--link", "1Gbit", "--auto-converge", "--qemu-version", "4.2"),
                *("--throttle-trigger-threshold", "40"),
            ),
            2,
            "--throttle-trigger-threshold came with QEMU 5.0",
        ),
        (("--link", "1Gbit", "--costs", "-"), 2, "--costs takes a file's name"),
        (
            ("--link", "1Gbit", "--json", "--format", "hmp"),
            2,
            "--json and --format hmp exclude each other",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    guest: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = command("simulate", guest, *arguments)
    assert done.code == code
    assert words in sentence(done)


def test_costs_are_not_overwritten(guest: Path, tmp_path: Path) -> None:
    costs = tmp_path / "costs.json"
    costs.write_text("mine")
    done = command("simulate", guest, "--link", "1Gbit", "--save-costs", costs)
    assert done.code == 7
    assert costs.read_text() == "mine"
    again = command(
        "simulate", guest, "--link", "1Gbit", "--save-costs", costs, "--force"
    )
    assert again.code == 0
    assert costs.read_text().startswith("{")


def test_an_image_is_not_overwritten(guest: Path) -> None:
    before = guest.read_bytes()
    done = command(
        "simulate", guest, "--link", "1Gbit", "--save-costs", guest, "--force"
    )
    assert done.code == 7
    assert guest.read_bytes() == before


@pytest.mark.parametrize("name", ["simulate", "plan"])
def test_snapshots_are_no_pipe(guest: Path, name: str) -> None:
    for images in ((guest, "-"), ("-", guest)):
        done = program(name, *images, "--link", "1Gbit", stdin=guest.read_bytes())
        assert done.code == 2
        assert "read more than once, and standard input cannot be" in sentence(done)
