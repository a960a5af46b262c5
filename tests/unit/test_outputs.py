# SPDX-License-Identifier: LGPL-2.1-or-later
"""Outputs appear complete or not at all."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from migcomp.errors import OutputError
from migcomp.outputs import OutputFile, written_by_another
from tests.conftest import folder_names


def write(path: Path | str, data: bytes = b"new", *, force: bool = False) -> None:
    with OutputFile(str(path), force=force) as file:
        file.write(data)


def test_it_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with OutputFile(str(path)) as file:
        file.write(b"first")
        assert not path.exists()
        assert file.is_regular
        file.seek(0)
        assert file.read() == b"first"
    assert path.read_bytes() == b"first"
    assert folder_names(tmp_path) == ["out"]
    assert file.closed


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError, SystemExit])
@pytest.mark.parametrize("force", [False, True])
def test_nothing_is_left_of_a_failure(
    tmp_path: Path, failure: type[BaseException], force: bool
) -> None:
    path = tmp_path / "out"
    if force:
        path.write_text("before")

    def fail() -> None:
        with OutputFile(str(path), force=force) as file:
            file.write(b"half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert folder_names(tmp_path) == (["out"] if force else [])
    assert not force or path.read_text() == "before"


@pytest.mark.parametrize("there", [False, True])
def test_a_link_stays_one(tmp_path: Path, there: bool) -> None:
    """What it leads to is written, and is beside it only by chance."""
    (tmp_path / "big").mkdir()
    link, file = tmp_path / "link", tmp_path / "big/file"
    link.symlink_to("big/file")
    if there:
        file.write_text("before")
        with pytest.raises(OutputError, match="link exists already"):
            write(link)
        assert file.read_text() == "before"
    write(link, force=there)
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
    with written_by_another(str(link), force=True) as temporary:
        temporary.write_bytes(b"newer")
    assert link.is_symlink()
    assert file.read_bytes() == b"newer"
    assert folder_names(tmp_path) == ["big", "link"]
    assert folder_names(tmp_path / "big") == ["file"]


def test_a_link_to_a_pipe() -> None:
    """As >(command) of a shell, or /dev/stdout."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        write(f"/proc/self/fd/{writing}")
        os.close(writing)
        assert pipe.read() == b"new"


def test_an_existing_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    with pytest.raises(OutputError, match=r"exists already.*--force"):
        write(path)
    assert path.read_text() == "before"
    write(path, force=True)
    assert path.read_text() == "new"
    assert folder_names(tmp_path) == ["out"]


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_comes_up_meanwhile(tmp_path: Path, force: bool) -> None:
    path = tmp_path / "out"

    def meanwhile() -> None:
        with OutputFile(str(path), force=force) as file:
            file.write(b"ours")
            path.write_text("theirs")

    if force:
        meanwhile()
        assert path.read_text() == "ours"
    else:
        with pytest.raises(OutputError, match="exists already"):
            meanwhile()
        assert path.read_text() == "theirs"
    assert folder_names(tmp_path) == ["out"]


def links_fail(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fail)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    links_fail(monkeypatch, number)
    path = tmp_path / "out"
    write(path)
    assert path.read_bytes() == b"new"
    assert folder_names(tmp_path) == ["out"]

    other = tmp_path / "other"

    def meanwhile() -> None:
        with OutputFile(str(other)):
            other.write_text("theirs")

    with pytest.raises(OutputError, match="other exists already"):
        meanwhile()
    assert other.read_text() == "theirs"
    assert folder_names(tmp_path) == ["other", "out"]


def test_a_rename_that_fails_gives_the_name_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    links_fail(monkeypatch, errno.EPERM)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="cannot be written: Input/output error"):
        write(tmp_path / "out")
    assert folder_names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_a_name_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    links_fail(monkeypatch, number)
    with pytest.raises(OutputError, match=f"written: {os.strerror(number)}"):
        write(tmp_path / "out")
    assert folder_names(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o077, 0])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "out")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    mode = stat.S_IMODE((tmp_path / "out").stat().st_mode)
    assert mode == 0o666 & ~mask


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a directory; name a file in it"):
        write(tmp_path)
    with pytest.raises(OutputError, match="cannot be written: No such file"):
        write(tmp_path / "no" / "out")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        write(tmp_path / "file" / "out")
    assert folder_names(tmp_path) == ["file"]


@pytest.mark.parametrize("letter", ["n", "\N{GREEK SMALL LETTER NU}"])
def test_the_longest_name_there_is(tmp_path: Path, letter: str) -> None:
    name = letter * (255 // len(letter.encode()))
    write(tmp_path / name)
    assert folder_names(tmp_path) == [name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot be written: Permission denied"):
        write(folder / "out")


def test_pipes_and_devices_are_written_as_they_are(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    received = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    with OutputFile(str(fifo)) as file:
        assert not file.is_regular
        file.write(b"through")
    reader.join()
    assert received == [b"through"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    write("/dev/null")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with OutputFile("-") as file:
        file.write(b"to standard output\n")
    os.write(1, b"which stays open\n")
    assert capfd.readouterr().out == "to standard output\nwhich stays open\n"
