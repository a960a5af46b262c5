# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plan's commands, given to a real QEMU and read back, and to virsh."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from migcomp.plan.candidates import Candidate, candidates
from migcomp.plan.commands import Commands, commands_for
from migcomp.plan.versions import Qemu
from migcomp.precopy.parameters import Parameters
from tests.conftest import REQUIRE_SHARED
from tests.interop import machine, virsh
from tests.interop.machine import Machine

QEMU_HERE = Qemu((7, 2))
WAYS = [*candidates(QEMU_HERE, 4, xbzrle=True)]
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
every = pytest.mark.parametrize("way", WAYS, ids=str)


def need(what: str) -> None:
    if what:
        if os.environ.get(REQUIRE_SHARED) == "1":
            pytest.fail(f"{REQUIRE_SHARED}=1, but there is no {what}")
        pytest.skip(f"needs {what}")


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    need(machine.missing())
    folder = tmp_path_factory.mktemp("plan")
    with machine.machine(
        folder / "machine", machine.initramfs(folder), incoming=True
    ) as guest:
        yield guest


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def made(way: Candidate) -> tuple[Commands, Parameters]:
    unlimited = way.method == "multifd" and way.codec != "none"
    base = Parameters(
        max_bandwidth=0 if unlimited else 117_686_605,
        downtime_limit=250,
        auto_converge=way.threads == 2,
        xbzrle_cache_size=1 << 28,
    )
    parameters = way.parameters(base)
    return commands_for(way, parameters, QEMU_HERE), parameters


def expected(way: Candidate, parameters: Parameters) -> dict[str, Any]:
    """What query-migrate-parameters is to say."""
    named = {
        "none": (),
        "xbzrle": ("xbzrle-cache-size",),
        "compress": ("compress-level", "compress-threads"),
        "multifd": ("multifd-channels", "multifd-compression"),
    }[way.method]
    names = ("max-bandwidth", "downtime-limit", *named)
    return {name: getattr(parameters, name.replace("-", "_")) for name in names}


def state(guest: Machine) -> tuple[dict[str, Any], set[str]]:
    on = {
        each["capability"]
        for each in guest("query-migrate-capabilities")
        if each["state"]
    }
    return guest("query-migrate-parameters"), on


def check(guest: Machine, way: Candidate, parameters: Parameters) -> None:
    found, on = state(guest)
    wanted = expected(way, parameters)
    assert {name: found[name] for name in wanted} == wanted
    capabilities = set() if way.method == "none" else {way.method}
    assert on == capabilities | ({"auto-converge"} if way.threads == 2 else set())


def disturb(guest: Machine) -> None:
    """So that what a command does not set is seen."""
    guest(
        "migrate-set-parameters",
        **{
            "max-bandwidth": 1,
            "downtime-limit": 1,
            "compress-level": 9,
            "compress-threads": 255,
            "multifd-channels": 255,
            "multifd-compression": "zlib",
            "xbzrle-cache-size": 1 << 20,
        },
    )


@every
def test_qmp(guest: Machine, way: Candidate) -> None:
    commands, parameters = made(way)
    disturb(guest)
    for line in (*commands.qmp_destination[:-1], *commands.qmp_source[:-1]):
        given = json.loads(line)
        assert guest(given["execute"], **given["arguments"]) == {}
    check(guest, way, parameters)


@every
def test_hmp(guest: Machine, way: Candidate) -> None:
    commands, parameters = made(way)
    disturb(guest)
    for line in (*commands.hmp_destination[:-1], *commands.hmp_source[:-1]):
        said = guest("human-monitor-command", **{"command-line": line})
        assert said == "", line
    check(guest, way, parameters)


def filled_in(lines: Sequence[str], port: int) -> list[str]:
    return [
        line.replace("DESTINATION", "127.0.0.1").replace("PORT", str(port))
        for line in lines
    ]


def give(guest: Machine, lines: Sequence[str], port: int) -> None:
    for line in filled_in(lines, port):
        given = json.loads(line)
        assert guest(given["execute"], **given["arguments"]) == {}


@contextmanager
def migrated(
    way: Candidate, folder: Path, *, stopped: bool
) -> Iterator[tuple[Machine, Machine]]:
    """Source and destination behind a migration by all commands of the plan, of a
    guest that runs, or was ``stopped`` before."""
    need(machine.missing())
    commands, _ = made(way)
    port, initrd = free_port(), machine.initramfs(folder)
    with (
        machine.machine(folder / "source", initrd) as source,
        machine.machine(folder / "destination", initrd, incoming=True) as destination,
    ):
        source.wait_for_ticks(2)
        if stopped:
            source("stop")
        give(destination, commands.qmp_destination, port)
        give(source, commands.qmp_source, port)
        source.wait_for_migration()
        destination.wait_for_migration()
        yield source, destination


@pytest.mark.parametrize("way", WAYS[1::2], ids=str)
def test_all_commands_migrate_a_guest_that_runs(way: Candidate, tmp_path: Path) -> None:
    """It is not resumed: docs/plan.md says what QEMU 7.2's emulation loses."""
    with migrated(way, tmp_path, stopped=False):
        pass


@pytest.mark.parametrize("way", WAYS[::2], ids=str)
def test_a_guest_lives_on_where_the_commands_bring_it(
    way: Candidate, tmp_path: Path
) -> None:
    with migrated(way, tmp_path, stopped=True) as (source, destination):
        before = source.ticks()[-1]
        memories = []
        for guest, name in ((source, "there"), (destination, "here")):
            path = tmp_path / name
            size = machine.MEMORY_MIB << 20
            guest("pmemsave", val=0, size=size, filename=str(path))
            memories.append(path.read_bytes())
        assert memories[0] == memories[1]
        assert destination.ticks() == []
        destination("cont")
        destination.wait_for_ticks(3)
        assert destination.ticks()[:3] == [before + 1, before + 2, before + 3]


@every
def test_virsh(way: Candidate) -> None:
    """It asks for the domain only when it knows all options."""
    need(virsh.missing())
    commands, _ = made(way)
    for line in (*commands.virsh, *commands.virsh_meanwhile):
        words = line.split()
        program, verb, *options = words
        assert program == "virsh"
        known = subprocess.run(
            ["virsh", "help", verb], check=True, capture_output=True, text=True
        ).stdout
        names = set(re.findall(r"--[a-z-]+", known))
        used = {word for word in options if word.startswith("--")}
        new = {f"--comp-{codec}-level" for codec in ("zlib", "zstd")}
        if commands.libvirt:
            assert used - new <= names
            continue
        assert used <= names
        done = subprocess.run(
            ["virsh", "-c", "test:///default", verb, *options],
            check=False,
            capture_output=True,
            text=True,
        )
        assert "failed to get domain 'DOMAIN'" in done.stderr


def test_libvirt_that_is_new_enough_was_asked_for() -> None:
    """The one here may be older than 9.4, whose options are then as documented."""
    for way in WAYS:
        needs = made(way)[0].libvirt
        assert (needs is not None) == (way.method == "multifd" and bool(way.work))
