# SPDX-License-Identifier: LGPL-2.1-or-later
"""Capturing from a real QEMU, whose guest runs on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from migcomp.capture.qmp import GuestCapture, Wish, capture_guest
from migcomp.convert.convert import Wish as Wanted
from migcomp.convert.convert import convert
from migcomp.images.open import open_image
from migcomp.outputs import OutputFile
from tests.conftest import REQUIRE_SHARED, folder_names
from tests.interop.machine import MEMORY_MIB, initramfs, machine, missing

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
pytest.importorskip("qemu.qmp")


@pytest.fixture(scope="module")
def initrd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if missing():
        if os.environ.get(REQUIRE_SHARED) == "1":
            pytest.fail(f"{REQUIRE_SHARED}=1, but there is no {missing()}")
        pytest.skip(f"needs {missing()}")
    return initramfs(tmp_path_factory.mktemp("initrd"))


def capture(folder: Path, *paths: Path, wish: Wish) -> GuestCapture:
    work = capture_guest(str(folder / "qmp"), [*map(str, paths)], wish)
    return asyncio.run(work)


def test_a_stopped_guest_all_ways(initrd: Path, tmp_path: Path) -> None:
    folder = tmp_path / "machine"
    raw, ours = tmp_path / "qemu.raw", tmp_path / "ours.raw"
    with machine(folder, initrd) as guest:
        guest.wait_for_ticks(5)
        guest("stop")
        guest("pmemsave", val=0, size=MEMORY_MIB << 20, filename=str(raw))
        guest.close()
        result = capture(folder, ours, wish=Wish("pmemsave"))
        assert ours.read_bytes() == raw.read_bytes()
        assert (result.found, result.left) == ("paused", "paused")
        dump, stream = tmp_path / "ours.elf", tmp_path / "ours.qemu"
        result = capture(folder, dump, wish=Wish("dump"))
        assert (result.found, result.left) == ("paused", "paused")
        result = capture(folder, stream, wish=Wish("migrate"))
        assert (result.found, result.left) == ("paused", "postmigrate")
    # A PC shows its ROMs in the first megabyte, and a stream has the RAM below.
    expected = raw.read_bytes()[1 << 20 :]
    assert block_at(dump, "elf", None)[1 << 20 :] == expected
    assert block_at(stream, "qemu", "pc.ram")[1 << 20 :] == expected


def block_at(path: Path, format: str, name: str | None) -> bytes:
    """The guest's RAM: the block of that name, or all from address 0 on."""
    flat = path.with_name(f"{path.name}.flat")
    with open_image(str(path)) as image, OutputFile(str(flat)) as sink:
        assert image.format == format
        convert(image, sink, "raw", Wanted())
        blocks = image.blocks
    size, before = MEMORY_MIB << 20, 0
    for block in blocks:
        if block.name == name or (name is None and block.guest_address == 0):
            return flat.read_bytes()[before : before + size]
        before += block.length
    raise AssertionError(blocks)


def test_over_tcp(initrd: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    image = tmp_path / "image"
    monitor = ("-qmp", f"tcp:{address},server=on,wait=off")
    with machine(tmp_path / "machine", initrd, *monitor) as guest:
        guest.wait_for_ticks(2)
        result = asyncio.run(capture_guest(address, [str(image)], Wish(pause=True)))
        assert (result.found, result.left) == ("running", "running")
    assert image.stat().st_size == MEMORY_MIB << 20


def test_memory_above_4_gib(initrd: Path, tmp_path: Path) -> None:
    """Part of this PC's memory lies there, as in one of more than 3.5 GiB."""
    folder, high = tmp_path / "machine", 1 << 32
    below, above = 192 << 20, 64 << 20
    raw, dump, own = (tmp_path / name for name in ("image", "dump", "own"))
    memory = ("-m", "256M", "-machine", f"pc,max-ram-below-4g={below}")
    with machine(folder, initrd, *memory) as guest:
        guest.wait_for_ticks(2)
        guest("stop")
        guest("pmemsave", val=high, size=above, filename=str(own))
        guest.close()
        (snapshot,) = capture(folder, raw, wish=Wish("pmemsave")).snapshots
        capture(folder, dump, wish=Wish("dump"))
    places = [(block.guest_address, block.length) for block in snapshot.blocks]
    assert places == [(0, below), (high, above)]
    expected = own.read_bytes()
    assert any(expected)
    assert raw.read_bytes()[below:] == expected
    for to in ("elf", "lime"):
        written = tmp_path / to
        with (
            open_image(str(raw), layout=snapshot.blocks) as image,
            OutputFile(str(written)) as sink,
        ):
            convert(image, sink, to, Wanted())
        assert memory_from(written, high) == expected
    assert memory_from(dump, high) == expected


def memory_from(path: Path, address: int) -> bytes:
    """What a dump has from a guest address on, to the end of its RAM block."""
    with open_image(str(path)) as image:
        first = 0
        for block in image.blocks:
            end = block.guest_address + block.length
            if block.guest_address <= address < end:
                first += (address - block.guest_address) // image.page_size
                last = first + (end - address) // image.page_size
                return b"".join(image.read(page, 1) for page in range(first, last))
            first += block.length // image.page_size
        raise AssertionError(image.blocks)


@pytest.mark.parametrize("method", ["pmemsave", "dump", "migrate"])
@pytest.mark.parametrize("pause", [False, True])
def test_a_running_guest_runs_on(
    initrd: Path, method: str, pause: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "machine"
    paths = [tmp_path / f"round{n}" for n in range(2)]
    with machine(folder, initrd) as guest:
        guest.wait_for_ticks(5)
        guest.close()
        wish = Wish(method, pause, interval=0.5, dirty_rate=1)
        result = capture(folder, *paths, wish=wish)
        assert (result.found, result.left) == ("running", "running")
        guest.wait_for_ticks(len(guest.ticks()) + 2)
    for path, snapshot in zip(paths, result.snapshots, strict=True):
        assert snapshot.dirty_rate is not None
        assert snapshot.dirty_rate["calc-time"] == 1
        with open_image(str(path)) as image:
            assert image.format == snapshot.format
    assert paths[0].read_bytes() != paths[1].read_bytes()


@pytest.mark.parametrize("method", ["pmemsave", "dump", "migrate"])
def test_ctrl_c(initrd: Path, method: str, tmp_path: Path) -> None:
    folder, rounds = tmp_path / "machine", tmp_path / "rounds"
    with machine(folder, initrd) as guest:
        guest.wait_for_ticks(5)
        guest.close()
        command = [sys.executable, "-m", "migcomp", "capture", str(folder / "qmp")]
        command += ["-o", str(rounds), "--rounds", "1000", "--interval", "0"]
        command += ["--pause", "--method", method]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as running:
            while not rounds.is_dir() or len(list(rounds.iterdir())) < 3:
                assert running.poll() is None
                time.sleep(0.01)
            running.send_signal(signal.SIGINT)
            running.communicate()
        assert running.returncode == 130
        assert all(name.startswith("round") for name in folder_names(rounds))
        guest.wait_for_ticks(len(guest.ticks()) + 2)
