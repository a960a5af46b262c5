# SPDX-License-Identifier: LGPL-2.1-or-later
"""Inputs that are there, and that the system does not give."""

from __future__ import annotations

import errno
import mmap
import os
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, command, environment, sentence
from tests.conftest import REPOSITORY

FLEET = REPOSITORY / "sample_images/fleet.toml"


@contextmanager
def reset(data: bytes) -> Iterator[socket.socket]:
    """Gives ``data``, and then no more: who sent it has broken down."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
    with receiver:
        sender.sendall(data)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # What has not been read by then is lost, too.
        closing = threading.Timer(0.5, sender.close)
        closing.start()
        yield receiver
        closing.join()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "-", "-o", "{}"], 3),
        (["run", "-", "--dedup"], 3),
        (["convert", "-", "{}", "--to", "elf"], 3),
        (["restore", "-", "-o", "{}"], 4),
        (["verify", "-"], 4),
        (["inspect", "-"], 4),
    ],
)
def test_an_input_that_breaks_down(
    image: Path, stream: Path, tmp_path: Path, arguments: list[str], code: int
) -> None:
    """It is not the output's fault, nor want of room for a copy."""
    output = tmp_path / "output"
    data = (image if code == 3 else stream).read_bytes()
    with reset(data[:-100]) as source:
        done = subprocess.run(
            [*COMMAND, *(a.format(output) for a in arguments)],
            stdin=source.fileno(),
            env=environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == code
    assert re.match(
        "migcomp: standard input:?( it)? cannot be read: Connection reset by peer",
        done.stderr.decode(),
    )
    assert not output.exists()


def test_a_stream_that_cannot_be_mapped(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some file systems in user space."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(mmap, "mmap", refuse)
    verify: list[str | Path] = ["verify", stream]
    for arguments in (verify, ["restore", stream, "-o", tmp_path / "x"]):
        done = command(*arguments)
        assert done.code == 4
        assert sentence(done).startswith(f"{stream} cannot be mapped")


@pytest.mark.parametrize(
    ("arguments", "code", "most"),
    [
        (["simulate", "{image}", "--link", "1Gbit", "--costs", "{}"], 3, "1.00"),
        (["simulate", "--fleet", "{fleet}", "--costs", "{}"], 3, "64.0"),
        (["simulate", "--fleet", "{}"], 2, "16.0"),
        (["bench", "sweep", "{image}", "--plan", "{}", "-o", "{output}"], 2, "1.00"),
    ],
    ids=["costs", "costs of a fleet", "fleet", "plan"],
)
def test_files_that_are_read_whole(
    image: Path,
    tmp_path: Path,
    bounded_memory: None,
    arguments: list[str],
    code: int,
    most: str,
) -> None:
    """In bounded memory, and with one answer."""
    output = tmp_path / "output"

    def told(path: Path) -> str:
        names = {"image": image, "fleet": FLEET, "output": output}
        done = command(*(each.format(path, **names) for each in arguments))
        assert done.code == code
        return sentence(done)

    endless, none = Path("/dev/zero"), tmp_path / "none"
    assert told(endless) == f"{endless} is too long; {most} MiB are enough"
    assert told(tmp_path) == f"{tmp_path} cannot be read: Is a directory"
    assert told(none) == f"{none} cannot be read: No such file or directory"
    assert not output.exists()


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        (b"[" * 100_000, "does not tell when the snapshots were taken"),
        (bytes((16 << 20) + 1), "is too long; 16.0 MiB are enough"),
    ],
    ids=["deep", "long"],
)
def test_notes_beside_snapshots(
    image: Path, tmp_path: Path, notes: bytes, words: str
) -> None:
    path = tmp_path / "capture.json"
    path.write_bytes(notes)
    later = tmp_path / "later.raw"
    later.write_bytes(image.read_bytes())
    done = command("simulate", later, later, "--link", "1Gbit")
    assert done.code == 3
    assert f"{path} {words}" in sentence(done)
