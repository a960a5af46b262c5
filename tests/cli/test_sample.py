# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp sample``: the images that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from migcomp.images.sample import SampleImage
from tests.cli.conftest import command, program, sentence

SHIPPED = Path(__file__).parents[2] / "sample_images"


def make(output: Path, *options: str) -> bytes:
    done = command("sample", "--size", "4MiB", "-o", output, *options)
    assert done.code == 0, done.errors
    assert done.text.startswith("4.00 MiB of profile ")
    assert f" written to {output.name}" in done.text
    return output.read_bytes()


def test_the_shipped_images_come_from_it(tmp_path: Path) -> None:
    made = make(tmp_path / "idle.raw", "--profile", "idle", "--seed", "1")
    assert made == (SHIPPED / "idle-4m.raw").read_bytes()


def test_zero_pages_are_holes(tmp_path: Path) -> None:
    path = tmp_path / "guest.raw"
    content = make(path, "--profile", "idle")
    assert path.stat().st_blocks * 512 < len(content)


def test_standard_output(tmp_path: Path) -> None:
    made = make(tmp_path / "guest.raw", "--seed", "7")
    done = program("sample", "--size", "4MiB", "--seed", "7", "-o", "-")
    assert done.stdout == made
    assert done.errors == "4.00 MiB of profile heap written to stdout\n"


def test_options_change_the_image(tmp_path: Path) -> None:
    made = {
        make(tmp_path / str(number), *options)
        for number, options in enumerate(
            [[], ["--seed", "2"], ["--profile", "writer"], ["--page-size", "16KiB"]]
        )
    }
    assert len(made) == 4
    assert {len(content) for content in made} == {4 * 2**20}


def test_rounds_of_dirty_pages(tmp_path: Path) -> None:
    path = tmp_path / "guest.raw"
    now = bytearray(make(path, "--profile", "writer", "--rounds", "2"))
    for number in (1, 2):
        sample = SampleImage("writer", 4 * 2**20)
        for offset, data in sample.dirty_round(number):
            now[offset : offset + len(data)] = data
        assert (tmp_path / f"guest.raw.{number}").read_bytes() == now
    assert len(list(tmp_path.iterdir())) == 3


def test_what_is_told(tmp_path: Path) -> None:
    made = ("sample", "--size", "1MiB", "--force", "-o", tmp_path / "guest.raw")
    assert command(*made, "--rounds", "2").text == (
        "1.00 MiB of profile heap written to guest.raw, and 2 later rounds beside it\n"
    )
    assert command(*made, "-q").text == ""


def test_a_device_has_no_holes() -> None:
    assert command("sample", "--size", "1MiB", "-o", "/dev/null").code == 0


@pytest.mark.parametrize("more", [[], ["--rounds", "9" * 18]])
def test_more_than_the_disk_holds(tmp_path: Path, more: list[str]) -> None:
    path = tmp_path / "guest.raw"
    done = command("sample", "--size", "8388608TiB", "-o", path, *more)
    assert done.code == 7
    assert sentence(done).startswith(f"{path} would take about 4.14 EiB, and ")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_image_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "guest.raw"
    path.write_text("precious")
    done = command("sample", "--size", "1MiB", "-o", path)
    assert done.code == 7
    assert "--force" in sentence(done)
    assert path.read_text() == "precious"
    assert command("sample", "--size", "1MiB", "-o", path, "--force").code == 0


@pytest.mark.parametrize("rounds", ["3", "9" * 18])
def test_a_later_round_that_exists_is_found_first(tmp_path: Path, rounds: str) -> None:
    path = tmp_path / "guest.raw"
    for name in ("guest.raw.3", "guest.raw.2", "guest.raw.02", "guest.raw.x"):
        (tmp_path / name).write_text("precious")
    made = ("sample", "--size", "1MiB", "-o", path, "--rounds")
    done = command(*made, rounds)
    assert done.code == 7
    assert sentence(done).startswith(f"{path}.2 exists already; ")
    assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 4
    assert command(*made, "1").code == 0
    assert command(*made, "3", "--force").code == 0
    (tmp_path / "guest.raw.4").mkdir()
    path.unlink()
    done = command(*made, "4", "--force")
    assert done.code == 7
    assert f"{path}.4 is no regular file" in sentence(done)
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "1MiB"], "Missing option '-o'"),
        (["-o", "x"], "Missing option '--size'"),
        (["--size", "5000", "-o", "x"], "multiple of its page size"),
        (["--size", "1MiB", "-o", "x", "--page-size", "3000"], "is none of 4096, 8192"),
        (["--size", "1MiB", "-o", "x", "--profile", "huge"], "is not one of idle"),
        (["--size", "1MiB", "-o", "-", "--rounds", "1"], "makes several files"),
        (["--size", "9" * 400, "-o", "x"], "is more than 16 EiB"),
        (["--size", "1MiB", "-o", "x", "--rounds", "-1"], "not in the range"),
    ],
)
def test_wrong_options(options: list[str], words: str) -> None:
    done = command("sample", *options)
    assert done.code == 2
    assert words in sentence(done)
