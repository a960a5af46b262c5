# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp capture SOCKET``: reports, and signals in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, command, environment, program, sentence
from tests.conftest import folder_names
from tests.qmp_server import MEMORY, TWO_BLOCKS, Guest, Server

pytest.importorskip("qemu.qmp")


@pytest.fixture
def guest() -> Guest:
    return Guest()


@pytest.fixture
def address(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("qmp") / "socket"
    server = Server(guest, path)
    yield str(path)
    server.close()


def test_json_of_rounds(address: str, tmp_path: Path) -> None:
    folder = tmp_path / "rounds"
    done = command(
        *("capture", address, "-o", folder, "--rounds", "2", "--interval", "0"),
        *("--dirty-rate", "1", "--pause", "--json"),
    )
    assert done.code == 0, done.errors
    assert folder_names(folder) == ["capture.json", "round0.raw", "round1.raw"]
    said = done.json
    assert said == json.loads((folder / "capture.json").read_text())
    taken = [image["taken"] for image in said["images"]]
    # A measurement of a second is between them.
    assert taken[0] == 0
    assert taken[1] >= 1
    assert said["schema"] == "migcomp.capture/1"
    assert said["source"] == {"socket": address, "qemu": "7.2.22"}
    assert (said["method"], said["paused"]) == ("pmemsave", True)
    assert said["guest"] == {"found": "running", "left": "running"}
    for number, image in enumerate(said["images"]):
        assert image["path"] == str(folder / f"round{number}.raw")
        assert image["bytes"] == len(MEMORY)
        assert image["blocks"] == [
            {"name": "pc.ram@0", "length": len(MEMORY), "guest-address": 0}
        ]
        assert image["dirty-rate"] == {"status": "measured", "dirty-rate": 17}


def test_over_tcp(guest: Guest, tmp_path: Path) -> None:
    image = tmp_path / "image"
    server = Server(guest, None)
    try:
        done = command("capture", server.address, "-o", image, "--json")
    finally:
        server.close()
    assert done.code == 0, done.errors
    assert done.json["source"] == {"socket": server.address, "qemu": "7.2.22"}
    assert image.read_bytes() == MEMORY
    done = command("capture", server.address, "-o", tmp_path / "other")
    assert done.code == 3
    assert f"there is no QEMU to reach at {server.address}: " in sentence(done)
    assert folder_names(tmp_path) == ["image"]


def test_notes_are_not_overwritten(address: str, tmp_path: Path) -> None:
    notes = tmp_path / "capture.json"
    notes.write_text("mine")
    arguments = ("capture", address, "-o", tmp_path, "--rounds", "1")
    done = command(*arguments)
    assert (done.code, notes.read_text()) == (7, "mine")
    assert folder_names(tmp_path) == ["capture.json"]
    assert command(*arguments, "--force").code == 0
    assert json.loads(notes.read_text())["method"] == "pmemsave"


def test_the_report_has_the_blocks(guest: Guest, address: str, tmp_path: Path) -> None:
    guest.layout = TWO_BLOCKS
    done = command("capture", address, "-o", tmp_path / "image")
    assert done.code == 0, done.errors
    assert "guest found running, left running" in done.text
    assert "--block pc.ram@100000000:0x100000000:0x80000" in done.text


@pytest.mark.parametrize(
    ("method", "held"),
    [
        ("pmemsave", "pmemsave"),
        ("dump", "dump-guest-memory"),
        ("migrate", "migrate"),
        ("pmemsave", "calc-dirty-rate"),
    ],
)
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "terminated"),
    ],
)
def test_signals_leave_the_guest_as_it_was_found(
    guest: Guest,
    address: str,
    method: str,
    held: str,
    number: int,
    code: int,
    word: str,
    tmp_path: Path,
) -> None:
    guest.hold = held
    folder = tmp_path / "rounds"
    arguments = ["capture", address, "-o", str(folder), "--rounds", "2", "--pause"]
    arguments += ["--method", method, "--dirty-rate", "1"]
    with subprocess.Popen(
        [*COMMAND, *arguments], env=environment(), stderr=subprocess.PIPE, text=True
    ) as running:
        assert guest.reached.wait(30)
        running.send_signal(number)
        if held == "dump-guest-memory":
            # A dump cannot be stopped: the guest stays as it is meanwhile.
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(0.5)
            assert guest.status == "paused"
        guest.released.set()
        _, errors = running.communicate(timeout=30)
    assert running.returncode == code
    assert errors == f"migcomp: {word}\n"
    assert guest.status == "running"
    assert guest.capabilities == Guest().capabilities
    assert guest.bandwidth == Guest().bandwidth
    assert guest.migration.get("status") in (None, "cancelled")
    assert folder_names(tmp_path) == []


def test_between_two_rounds_what_is_done_stays(
    guest: Guest, address: str, tmp_path: Path
) -> None:
    guest.hold = "cont"
    folder = tmp_path / "rounds"
    arguments = ["capture", address, "-o", str(folder), "--rounds", "2", "--pause"]
    with subprocess.Popen(
        [*COMMAND, *arguments, "--interval", "1000"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert guest.reached.wait(30)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=30)
    assert (running.returncode, errors) == (130, "migcomp: interrupted\n")
    assert guest.status == "running"
    assert set(folder_names(tmp_path)) <= {"rounds"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "either a QMP SOCKET or a process"),
        (("socket", "--pid", "1"), "either a QMP SOCKET or a process"),
        (("--pid", "1", "--pause"), "--pause is for guests"),
        (("--pid", "1", "--dirty-rate", "1"), "--dirty-rate is for guests"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], why: str, tmp_path: Path) -> None:
    done = command("capture", *arguments, "-o", tmp_path / "image")
    assert done.code == 2
    assert why in done.errors


def test_not_to_standard_output(address: str) -> None:
    done = command("capture", address, "-o", "-")
    assert done.code == 2
    assert "QEMU writes the file itself" in done.errors


def test_nobody_there(tmp_path: Path) -> None:
    """In a process of its own: the library's log would go to standard error."""
    done = program(
        *("capture", tmp_path / "none", "-o", tmp_path / "rounds", "--rounds", "2")
    )
    assert done.code == 3
    assert "no QEMU to reach" in sentence(done)
    assert folder_names(tmp_path) == []


def test_a_file_of_that_name_exists(guest: Guest, address: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"mine")
    done = command("capture", address, "-o", path)
    assert done.code == 7
    assert "--force" in sentence(done)
    assert guest.log == []
    done = command("capture", address, "-o", path, "--rounds", "1")
    assert done.code == 7
    assert path.read_bytes() == b"mine"
