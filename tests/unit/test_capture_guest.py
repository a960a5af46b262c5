# SPDX-License-Identifier: LGPL-2.1-or-later
"""Capturing from what looks like a QEMU: it is left as it was found."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from migcomp.capture.methods import ram_blocks
from migcomp.capture.monitor import connect
from migcomp.capture.qmp import GuestCapture, Wish, capture_guest
from migcomp.errors import ImageError, OutputError
from migcomp.results import Block
from tests.conftest import folder_names
from tests.qmp_server import MEMORY, ONE_BLOCK, TWO_BLOCKS, Guest, Server

pytest.importorskip("qemu.qmp")

CONTENT = {
    "pmemsave": MEMORY,
    "dump": b"\x7fELF" + MEMORY,
    "migrate": b"QEVM" + MEMORY,
}
WRITES = {"pmemsave": "pmemsave", "dump": "dump-guest-memory", "migrate": "migrate"}


@pytest.fixture
def guest() -> Guest:
    return Guest()


@pytest.fixture
def address(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("qmp") / "socket"
    server = Server(guest, path)
    yield str(path)
    server.close()


def capture(address: str, *paths: Path, force: bool = False, **wish: Any) -> Any:
    work = capture_guest(address, [*map(str, paths)], Wish(**wish), force=force)
    result: GuestCapture = asyncio.run(work)
    return result


def assert_untouched(guest: Guest, status: str = "running") -> None:
    assert guest.status == status
    assert guest.capabilities == Guest().capabilities
    assert guest.bandwidth == Guest().bandwidth


@pytest.mark.parametrize("method", list(CONTENT))
@pytest.mark.parametrize("pause", [False, True])
def test_a_running_guest(
    guest: Guest, address: str, method: str, pause: bool, tmp_path: Path
) -> None:
    path = tmp_path / "it's an image"
    result = capture(address, path, method=method, pause=pause)
    assert path.read_bytes() == CONTENT[method]
    assert folder_names(tmp_path) == [path.name]
    assert guest.stopped_for == ["paused" if pause else "running"]
    assert_untouched(guest)
    assert (result.qemu, result.found, result.left) == ("7.2.22", "running", "running")
    (snapshot,) = result.snapshots
    assert snapshot.size == len(CONTENT[method])
    if method == "pmemsave":
        assert snapshot.blocks == (Block("pc.ram@0", 1 << 20, 0),)


@pytest.mark.parametrize("method", list(CONTENT))
@pytest.mark.parametrize("pause", [False, True])
def test_a_stopped_guest_never_runs(
    guest: Guest, address: str, method: str, pause: bool, tmp_path: Path
) -> None:
    guest.status = "paused"
    result = capture(address, tmp_path / "image", method=method, pause=pause)
    assert "cont" not in guest.log
    assert_untouched(guest, "postmigrate" if method == "migrate" else "paused")
    assert (result.found, result.left) == ("paused", guest.status)


def test_a_migration_is_plain_and_unlimited(
    guest: Guest, address: str, tmp_path: Path
) -> None:
    capture(address, tmp_path / "image", method="migrate")
    assert guest.plain_during_migration
    assert_untouched(guest)


def test_two_blocks_are_put_together(
    guest: Guest, address: str, tmp_path: Path
) -> None:
    guest.layout = TWO_BLOCKS
    result = capture(address, tmp_path / "image", pause=True)
    assert (tmp_path / "image").read_bytes() == MEMORY
    assert folder_names(tmp_path) == ["image"]
    assert result.snapshots[0].blocks == (
        Block("pc.ram@0", 1 << 19, 0),
        Block("pc.ram@100000000", 1 << 19, 1 << 32),
    )


def test_blocks_of_backends_only() -> None:
    assert [b.name for b in ram_blocks(ONE_BLOCK, {"vga.vram"})] == [
        "vga.vram@fd000000"
    ]
    assert ram_blocks(ONE_BLOCK.replace("pc.ram", "/objects/m0"), {"m0"}) == (
        Block("/objects/m0@0", 1 << 20, 0),
    )
    assert ram_blocks("nothing of the sort", {"pc.ram"}) == ()


def test_no_layout_no_guess(guest: Guest, address: str, tmp_path: Path) -> None:
    guest.layout = ""
    with pytest.raises(ImageError, match="use --method dump"):
        capture(address, tmp_path / "image")


def test_rounds_and_dirty_rates(guest: Guest, address: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"round{n}" for n in range(3)]
    result = capture(address, *paths, pause=True, interval=0.01, dirty_rate=1)
    assert [s.path for s in result.snapshots] == [str(p) for p in paths]
    assert all(path.read_bytes() == MEMORY for path in paths)
    assert all(s.dirty_rate["dirty-rate"] == 17 for s in result.snapshots)
    assert guest.log.count("cont") == 3
    assert_untouched(guest)


def test_rounds_of_a_stopped_guest(guest: Guest, address: str, tmp_path: Path) -> None:
    guest.status = "paused"
    with pytest.raises(ImageError, match="does not run"):
        capture(address, tmp_path / "0", tmp_path / "1")


@pytest.mark.parametrize("method", list(CONTENT))
def test_qemu_cannot_write(
    guest: Guest, address: str, method: str, tmp_path: Path
) -> None:
    guest.refuse[WRITES[method]] = "Could not open 'x': Permission denied"
    with pytest.raises(OutputError, match="Permission denied; it may run as another"):
        capture(address, tmp_path / "image", method=method, pause=True)
    assert_untouched(guest)
    assert folder_names(tmp_path) == []


@pytest.mark.parametrize("method", list(CONTENT))
def test_the_disk_is_full(
    guest: Guest,
    address: str,
    method: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """QEMU says so in none of its ways."""
    looked: list[Path] = []

    def full(folder: Path) -> SimpleNamespace:
        looked.append(folder)
        return SimpleNamespace(f_bavail=255, f_frsize=4096)

    monkeypatch.setattr("migcomp.capture.qmp.os.statvfs", full)
    guest.refuse[WRITES[method]] = "An IO error has occurred"
    with pytest.raises(OutputError, match="occurred; the disk is full: free some"):
        capture(address, tmp_path / "image", method=method, pause=True)
    assert looked == [tmp_path]
    assert_untouched(guest)
    assert folder_names(tmp_path) == []


def test_qemu_writes_in_another_place(
    guest: Guest, address: str, tmp_path: Path
) -> None:
    guest.write = False
    with pytest.raises(OutputError, match="in another place"):
        capture(address, tmp_path / "image", pause=True)
    assert_untouched(guest)


def test_a_file_that_is_short(guest: Guest, address: str, tmp_path: Path) -> None:
    guest.layout = ONE_BLOCK.replace("000fffff", "001fffff")
    with pytest.raises(OutputError, match="QEMU wrote 1048576 bytes"):
        capture(address, tmp_path / "image")
    assert folder_names(tmp_path) == []


def test_a_dump_that_fails(guest: Guest, address: str, tmp_path: Path) -> None:
    guest.dump_error = True
    with pytest.raises(OutputError, match="the dump has failed"):
        capture(address, tmp_path / "image", method="dump", pause=True)
    assert_untouched(guest)
    assert folder_names(tmp_path) == []


@pytest.mark.parametrize("status", ["active", "setup"])
def test_a_migration_of_another(
    guest: Guest, address: str, status: str, tmp_path: Path
) -> None:
    guest.hold = "migrate"
    guest.migration = {"status": status}
    with pytest.raises(ImageError, match="a migration is under way"):
        capture(address, tmp_path / "image", method="migrate")
    assert guest.migration == {"status": status}
    assert_untouched(guest)


def test_a_dump_of_another(guest: Guest, address: str, tmp_path: Path) -> None:
    guest.hold = "dump-guest-memory"
    guest.dump = {"status": "active", "completed": 0, "total": 1}
    with pytest.raises(ImageError, match="another dump is under way"):
        capture(address, tmp_path / "image", method="dump")


@pytest.mark.parametrize(
    ("method", "command"),
    [
        ("pmemsave", "query-status"),
        ("pmemsave", "stop"),
        ("pmemsave", "pmemsave"),
        ("dump", "query-dump"),
        ("dump", "dump-guest-memory"),
        ("migrate", "migrate"),
        ("migrate", "migrate-set-capabilities"),
    ],
)
def test_the_connection_breaks(
    guest: Guest, address: str, method: str, command: str, tmp_path: Path
) -> None:
    guest.drop = command
    with pytest.raises(ImageError, match=r"the connection to QEMU at .* broke during"):
        capture(address, tmp_path / "image", method=method, pause=True)
    assert folder_names(tmp_path) == []


@pytest.mark.parametrize(
    "command", ["stop", "calc-dirty-rate", "migrate-set-parameters"]
)
def test_a_command_is_refused(
    guest: Guest, address: str, command: str, tmp_path: Path
) -> None:
    guest.refuse[command] = "not today"
    with pytest.raises((ImageError, OutputError), match="not today"):
        capture(address, tmp_path / "image", method="migrate", pause=True, dirty_rate=1)
    assert_untouched(guest)
    assert folder_names(tmp_path) == []


def test_nothing_is_overwritten(guest: Guest, address: str, tmp_path: Path) -> None:
    paths = [tmp_path / "round0", tmp_path / "round1"]
    paths[1].write_bytes(b"mine")
    with pytest.raises(OutputError, match="--force"):
        capture(address, *paths)
    assert guest.log == []
    assert folder_names(tmp_path) == ["round1"]
    capture(address, *paths, force=True, interval=0)
    assert paths[1].read_bytes() == MEMORY


def test_what_came_up_meanwhile_stays(
    guest: Guest, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image"
    save = guest.on_pmemsave

    def meanwhile(**arguments: Any) -> object:
        path.write_bytes(b"mine")
        return save(**arguments)

    monkeypatch.setattr(guest, "on_pmemsave", meanwhile)
    with pytest.raises(OutputError, match="exists already"):
        capture(address, path)
    assert path.read_bytes() == b"mine"
    assert folder_names(tmp_path) == ["image"]


def test_nobody_there(tmp_path: Path) -> None:
    for address in (str(tmp_path / "none"), "127.0.0.1:1", "tcp:[::1]:1"):
        with pytest.raises(
            ImageError, match=r"no QEMU to reach at .*; start QEMU with"
        ):
            capture(address, tmp_path / "image")


def test_another_has_the_monitor(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migcomp.capture.monitor._PATIENCE_SECONDS", 0.2)
    server = Server(guest, tmp_path / "socket", greet=False)
    try:
        with pytest.raises(ImageError, match="QEMU serves one at a time"):
            capture(str(tmp_path / "socket"), tmp_path / "image")
    finally:
        server.close()


def test_the_package_is_named(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "qemu.qmp":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImageError, match=r"pip install 'migcomp\[qmp\]'"):
        capture(address, tmp_path / "image")


def test_who_is_cancelled_gets_the_reply_first(guest: Guest, address: str) -> None:
    """So that it is known whether a guest was stopped."""

    async def cancelled() -> None:
        async with connect(address) as monitor:
            task = asyncio.ensure_future(monitor("stop"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await monitor("query-status"))["status"] == "paused"

    asyncio.run(cancelled())
