# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads a fleet from a TOML file; docs/fleet.md tells its keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from migcomp.errors import SetupError
from migcomp.fleet.fleet import (
    ALL_AT_ONCE,
    K_AT_A_TIME,
    PARALLEL,
    POLICIES,
    Fleet,
    Guests,
    Host,
    MemorySource,
    Policy,
    Uplink,
)
from migcomp.images.regions import TOTAL_MAX
from migcomp.images.sample import PROFILES
from migcomp.plan.candidates import Candidate
from migcomp.plan.versions import DEFAULT, Qemu, parse_version
from migcomp.toml_file import read_toml
from migcomp.toml_table import (
    Table,
    flag,
    number,
    one_of,
    parsed,
    rate,
    several,
    size,
    tables,
    text,
    whole,
)
from migcomp.units import quoted

#: Of a file, and of guests in it: more would take more memory than one expects.
_FILE_MAX = 16 << 20
GUESTS_MAX = 100_000
_HOSTS_MAX = 10_000
_IMAGES_MAX = 10_000
_MS_MAX = 2_000_000
#: Engine: its codecs, the first being its default, and its threads' default.
_ENGINES = {
    "none": ((), 0),
    "multifd": (("zstd", "zlib", "none"), 2),
    "compress": (("zlib",), 8),
}
_LEVELS_MAX = {"zstd": 20, "zlib": 9}
#: No more than an image may claim.
_MEMORY = size(1, TOTAL_MAX)
_VERSION = parsed(parse_version, 'a version such as "8.2"')


def policy_of(name: str, parallel: int | None) -> Policy:
    """Raises ValueError where ``parallel`` means nothing."""
    if name != ALL_AT_ONCE:
        return Policy(name, parallel or PARALLEL)
    if parallel is not None:
        raise ValueError(f"means nothing with policy {ALL_AT_ONCE}; leave it out")
    return Policy(name, None)


def read_fleet(path: str, page_size: int) -> Fleet:
    """``page_size`` is of all guests.  Raises SetupError."""
    content = read_toml(path, _FILE_MAX)
    top = Table(path, "the file", content)
    for key in ("migration", "host", "uplink", "guest"):
        top.take(key, lambda value: value, None)
    top.end()
    hosts = tuple(_host(each) for each in tables(path, content, "host", _HOSTS_MAX))
    known = _distinct(path, "host", (host.name for host in hosts))
    uplinks = tuple(
        _uplink(each, known) for each in tables(path, content, "uplink", _HOSTS_MAX)
    )
    _distinct(path, "uplink", (uplink.name for uplink in uplinks))
    way, qemu_version, max_bandwidth, downtime, policy = _migration(
        Table(path, "[migration]", content.get("migration", {}))
    )
    folder = Path(path).parent
    guests = []
    left = GUESTS_MAX
    for table in tables(path, content, "guest", GUESTS_MAX):
        guests.append(_guests(table, known, folder, downtime, page_size))
        left -= guests[-1].count
        if left < 0:
            table.fail(f"with it there are more than {GUESTS_MAX:,} guests")
    _distinct(path, "guest", (name for each in guests for name in each.names))
    fleet = Fleet(
        path, hosts, uplinks, tuple(guests), way, qemu_version, max_bandwidth, policy
    )
    _check(fleet)
    return fleet


def _distinct(path: str, kind: str, names: Iterable[str]) -> frozenset[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SetupError(f"{path}: two {kind}s are named {quoted(name)}")
        seen.add(name)
    return frozenset(seen)


def _host(table: Table) -> Host:
    name = table.take("name", text)
    table.named(name)
    host = Host(
        name,
        table.take("cpus", whole(1, 100_000)),
        table.take("link", rate),
        table.take("memory", _MEMORY, None),
        table.take("evacuate", flag, False),
    )
    table.end()
    return host


def _uplink(table: Table, known: frozenset[str]) -> Uplink:
    name = table.take("name", text)
    table.named(name)
    bandwidth, hosts = (
        table.take("link", rate),
        table.take("hosts", several(text, _HOSTS_MAX)),
    )
    table.end()
    for host in hosts:
        if host not in known:
            table.fail(f"hosts names {quoted(host)}, and there is no such host")
    if known == frozenset(hosts):
        table.fail("hosts names all there are, so that nothing would pass it")
    return Uplink(name, bandwidth, frozenset(hosts))


def _migration(
    table: Table,
) -> tuple[Candidate, tuple[int, int], int, int, Policy]:
    engine = table.take("engine", one_of(*_ENGINES), "multifd")
    qemu_version = table.take("qemu-version", _VERSION, DEFAULT)
    way = _way(table, engine)
    max_bandwidth = table.take("max-bandwidth", size(0), 0)
    downtime = table.take("downtime-limit", whole(1, _MS_MAX), 300)
    name = table.take("policy", one_of(*POLICIES), K_AT_A_TIME)
    parallel = table.take("parallel", whole(1, GUESTS_MAX), None)
    table.end()
    qemu = Qemu(qemu_version)
    needed = [engine] if engine != "none" else []
    if engine == "multifd" and way.work:
        needed.append("multifd-compression")
    for capability in needed:
        if not qemu.has(capability):
            table.fail(f"engine {engine}: {qemu} has no {capability}")
    try:
        policy = policy_of(name, parallel)
    except ValueError as error:
        table.fail(f"parallel {error}")
    return way, qemu_version, max_bandwidth, downtime, policy


def _way(table: Table, engine: str) -> Candidate:
    codecs, threads_default = _ENGINES[engine]
    if engine == "none":
        for key in ("codec", "level", "threads"):
            if table.has(key):
                table.fail(f"{key} means nothing with engine none; leave it out")
    codec = table.take("codec", one_of(*codecs), codecs[0] if codecs else "none")
    if codec == "none" and table.has("level"):
        table.fail("level means nothing without a codec; leave it out")
    level = table.take("level", whole(1, _LEVELS_MAX.get(codec, 1)), 1)
    threads = table.take("threads", whole(1, 255), threads_default)
    return Candidate(engine, codec, 0 if codec == "none" else level, threads)


def _guests(
    table: Table, hosts: frozenset[str], folder: Path, downtime: int, page_size: int
) -> Guests:
    name = table.take("name", text)
    table.named(name)
    guests = Guests(
        name,
        table.take("count", whole(1, GUESTS_MAX), 1),
        table.take("host", text),
        _memory(table, folder),
        table.take("size", _MEMORY, None),
        table.take("vcpus", whole(1, 4096), 1),
        table.take("cpu", number(0, 1), 0.0),
        table.take("dirty-rate", size(0), None),
        table.take("working-set", size(1), None),
        table.take("skew", number(0, 10), 0.0),
        table.take("downtime-limit", whole(1, _MS_MAX), downtime),
    )
    table.end()
    _check_memory(table, guests.memory, guests.size, page_size)
    if guests.host not in hosts:
        table.fail(f"host is {quoted(guests.host)}, and there is no such host")
    if not guests.dirty_rate:
        for key in ("working-set", "skew"):
            if table.has(key):
                table.fail(
                    f"{key} is of a guest with a dirty-rate of more than 0; give that, "
                    "too"
                )
    if guests.dirty_rate is not None and len(guests.memory.images) > 1:
        table.fail("give either several images, which tell what it writes, or a rate")
    return guests


def _memory(table: Table, folder: Path) -> MemorySource:
    images = table.take("image", several(text, _IMAGES_MAX), ())
    interval = table.take("interval", number(0.001, 1e6), None)
    profile = table.take("profile", one_of(*PROFILES), "")
    paths = tuple(str(folder / image) for image in images)
    name = f"profile {profile}" if profile else " ".join(images)
    if interval is not None:
        name += f" every {interval:g} s"
    return MemorySource(name, paths, interval, profile)


def _check_memory(
    table: Table, memory: MemorySource, memory_size: int | None, page_size: int
) -> None:
    if bool(memory.images) == bool(memory.profile):
        table.fail("give either image or profile")
    if memory.interval is not None and len(memory.images) < 2:
        table.fail("interval is the time between two snapshots; give several images")
    if memory.profile and memory_size is None:
        table.fail("size is missing; a profile has none of its own")
    if memory.images and memory_size is not None:
        table.fail("size is that of the image; leave it out")
    if memory_size is not None and memory_size % page_size:
        table.fail(f"size must be a multiple of the page size, {page_size}")


def _check(fleet: Fleet) -> None:
    """What no table alone can tell."""
    path = fleet.path
    if not any(host.evacuate for host in fleet.hosts):
        raise SetupError(f"{path}: no [[host]] has evacuate = true, so nothing moves")
    to = [host for host in fleet.hosts if not host.evacuate]
    if not to:
        raise SetupError(
            f"{path}: all hosts have evacuate = true, and there is none to go to"
        )
    told = [host for host in to if host.memory is not None]
    if told and len(told) < len(to):
        silent = next(host for host in to if host.memory is None)
        raise SetupError(
            f"{path}: [[host]] ({quoted(silent.name)}): memory is missing; give it for "
            "all hosts that take guests, or for none"
        )
    if not fleet.leaving:
        raise SetupError(f"{path}: no [[guest]] is on a host that is evacuated")
