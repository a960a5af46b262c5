# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp capture --pid``: what it prints, and how it fails."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import command, program, sentence
from tests.conftest import folder_names


@pytest.fixture
def process() -> Iterator[int]:
    """The number of one that is small and does nothing.

    The tests' own would do but for its size, which depends on what ran before.
    """
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as running:
        yield running.pid


def test_the_report_tells_how_to_read_the_image(process: int, tmp_path: Path) -> None:
    path = tmp_path / "cat.raw"
    done = command("capture", "--pid", str(process), "-o", path)
    assert done.code == 0, done.errors
    assert f"process {process} (" in done.text
    options = re.findall(r"^  (--block .*)$", done.text, re.M)
    assert options
    readers = re.search(r"for migcomp (.*) and (.*):$", done.text, re.M)
    assert readers is not None
    assert [*readers[1].split(", "), readers[2]] == ["run", "explain", "convert"]
    for reader in (["run"], ["explain"], ["convert", "--to", "lime", "-"]):
        name, *more = reader
        read = command(name, path, *more, *shlex.split(" ".join(options)), "-q")
        assert read.code == 0, read.errors


def test_json(process: int, tmp_path: Path) -> None:
    path = tmp_path / "cat.raw"
    done = command("capture", "--pid", str(process), "-o", path, "--json")
    assert done.json["schema"] == "migcomp.capture/1"
    assert done.json["source"]["pid"] == process
    (image,) = done.json["images"]
    assert image["path"] == str(path)
    assert image["bytes"] == path.stat().st_size
    assert sum(block["length"] for block in image["blocks"]) == image["bytes"]


def test_to_standard_output(process: int) -> None:
    done = program("capture", "--pid", str(process), "-o", "-", "--json")
    assert done.code == 0
    assert f'"bytes": {len(done.stdout)}' in done.errors


@pytest.mark.parametrize("pid", ["0", "-3", "init"])
def test_no_number(pid: str, tmp_path: Path) -> None:
    done = command("capture", f"--pid={pid}", "-o", tmp_path / "x.raw")
    assert done.code == 2
    assert "is not a positive number" in done.errors


def test_no_process(tmp_path: Path) -> None:
    done = command("capture", "--pid", "4194305", "-o", tmp_path / "x.raw")
    assert done.code == 3
    assert sentence(done) == "there is no process 4194305; ps -e lists them"
    assert folder_names(tmp_path) == []


def test_nothing_is_overwritten(process: int, tmp_path: Path) -> None:
    path = tmp_path / "cat.raw"
    path.write_bytes(b"mine")
    arguments = ("capture", "--pid", str(process), "-o", path)
    done = command(*arguments)
    assert done.code == 7
    assert "--force" in sentence(done)
    assert path.read_bytes() == b"mine"
    assert command(*arguments, "--force").code == 0
    assert path.stat().st_size > 4
