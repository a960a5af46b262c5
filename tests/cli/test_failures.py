# SPDX-License-Identifier: LGPL-2.1-or-later
"""However a command ends: one sentence, its exit code, and nothing half-done."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from migcomp.convert.formats import FORMATS
from tests.cli.conftest import (
    COMMAND,
    command,
    environment,
    image_bytes,
    program,
    sentence,
)

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")


# --- Inputs --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "{}"], 3),
        (["restore", "{}", "-o", "{}.raw"], 4),
        (["verify", "{}"], 4),
        (["inspect", "{}"], 3),
    ],
)
def test_inputs_that_cannot_be_read(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    missing, folder, empty = (tmp_path / n for n in ("missing", "folder", "empty"))
    folder.mkdir()
    empty.touch()
    for path, words in (
        (missing, "cannot be opened: No such file or directory"),
        (folder, "is a directory"),
        (empty, "is empty"),
    ):
        done = command(*(argument.format(path) for argument in arguments))
        assert done.code == code
        assert sentence(done).startswith(f"{path} {words}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "folder"]


@not_as_root
def test_inputs_without_permission(image: Path, stream: Path) -> None:
    for path, arguments, code in ((image, ["run"], 3), (stream, ["inspect"], 3)):
        path.chmod(0)
        done = command(*arguments, path)
        assert done.code == code
        assert "Permission denied" in sentence(done)


def test_standard_input_is_named_so(image: Path) -> None:
    with image.open("rb") as source:
        done = subprocess.run(
            [*COMMAND, "run", "-", "--diff", image],
            stdin=source,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert done.returncode == 3
    assert b"is standard input, and no diff of it" in done.stderr


def test_names_that_are_empty(image: Path) -> None:
    """As of a variable that is not set."""
    capture = ["capture", image, "-o", "", "--rounds", "2"]
    for arguments in (["run", ""], ["run", image, "-o", ""], ["inspect", ""], capture):
        done = command(*arguments)
        assert done.code == 2
        assert "an empty name is no file's" in sentence(done)


def test_an_empty_standard_input() -> None:
    for name, code in (("run", 3), ("inspect", 3), ("verify", 4)):
        done = program(name, "-")
        assert done.code == code
        assert sentence(done).startswith("standard input")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "{}"], 3),
        (["verify", "{}"], 4),
        (["run", "guest.raw", "--diff", "{}"], 3),
        (["convert", "{}", "x", "--to", "raw"], 3),
    ],
)
def test_a_file_that_one_may_not_read(
    image: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    locked = image.with_name("locked")
    locked.write_bytes(image.read_bytes())
    real = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if os.fspath(path) == str(locked):
            raise PermissionError(13, os.strerror(13), path)
        return real(path, *rest, **more)

    monkeypatch.chdir(image.parent)
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "access", lambda *_: False)
    done = command(*(a.format(locked) for a in arguments))
    assert done.code == code
    assert sentence(done) == f"{locked} cannot be opened: Permission denied"


# --- Outputs -------------------------------------------------------------------


def test_outputs_that_cannot_be_made(image: Path, tmp_path: Path) -> None:
    for output, words in (
        (tmp_path, "is a directory; name a file in it"),
        (tmp_path / "no" / "x.migc", "cannot be written: No such file or directory"),
    ):
        done = command("run", image, "-o", output)
        assert done.code == 7
        assert sentence(done) == f"{output} {words}"


@not_as_root
def test_a_folder_without_permission(image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    done = command("run", image, "-o", folder / "x.migc")
    assert done.code == 7
    assert "Permission denied" in sentence(done)


@needs_full
def test_a_full_disk(image: Path, stream: Path) -> None:
    many: tuple[list[str | Path], ...] = (
        ["run", image, "-o", FULL],
        ["restore", stream, "-o", FULL],
        ["sample", "--size", "1MiB", "-o", FULL],
    )
    conversions: list[list[str | Path]] = [
        ["convert", image, FULL, "--to", to] for to in FORMATS
    ]
    for arguments in (*many, *conversions):
        done = command(*arguments)
        assert done.code == 7
        assert sentence(done) == (
            "/dev/full cannot be written: No space left on device; free some space, "
            "or write to another disk"
        )


@needs_full
@pytest.mark.parametrize(
    "arguments",
    [["codecs"], ["codecs", "--json"], ["--help"], ["run", "-h"], ["run", "{}"]],
)
def test_a_report_onto_a_full_disk(image: Path, arguments: list[str]) -> None:
    with FULL.open("wb") as full:
        done = program(*(a.format(image) for a in arguments), stdout=full.fileno())
    assert done.code == 7
    assert sentence(done) == (
        "standard output cannot be written: No space left on device; free some space, "
        "or write to another disk"
    )


@pytest.mark.parametrize("command_name", ["run", "restore", "sample"])
def test_nothing_is_left_of_an_output_that_failed(
    image: Path, stream: Path, tmp_path: Path, command_name: str
) -> None:
    arguments: dict[str, list[str | Path]] = {
        "run": [image],
        "restore": [stream],
        "sample": ["--size", "4MiB"],
    }
    output = tmp_path / "output"
    done = subprocess.run(
        [*COMMAND, command_name, *map(str, arguments[command_name]), "-o", output],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        capture_output=True,
        env=environment(),
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert done.stderr == (
        f"migcomp: {output} cannot be written: File too large; write to a file system "
        "that takes files of this size\n"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["guest.migc", "guest.raw"]


# --- Bugs ----------------------------------------------------------------------


def test_a_bug_is_one_line_and_says_how_to_see_more(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("migcomp.pipeline.compress", fail)
    done = command("run", image)
    assert done.code == 1
    assert sentence(done) == (
        r"unexpected RuntimeError: two\nlines; this is a bug in migcomp, and "
        "MIGCOMP_DEBUG=1 in the environment shows where"
    )


def test_debugging_shows_where(tmp_path: Path) -> None:
    done = program("run", tmp_path / "missing", MIGCOMP_DEBUG="1")
    assert done.code == 1
    assert "Traceback" in done.errors
    assert "ImageError" in done.errors


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\x1b[31m.raw"
    done = subprocess.run(
        [*map(os.fsencode, COMMAND), b"run", path],
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 3
    assert rb"/\udcff\x1b[31m.raw cannot be opened" in done.stderr
    Path(os.fsdecode(path)).write_bytes(image_bytes(4))
    for changes in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        done = subprocess.run(
            [*map(os.fsencode, COMMAND), b"run", path],
            capture_output=True,
            env=environment(**changes),
            check=False,
        )
        assert done.returncode == 0
        assert done.stdout.startswith(rb"\udcff\x1b[31m.raw: 16.0 KiB compressed")
