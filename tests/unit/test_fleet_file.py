# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fleets in TOML: what is read, and what every mistake is told as."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp.errors import SetupError
from migcomp.fleet.file import GUESTS_MAX, read_fleet
from migcomp.fleet.fleet import Fleet, Policy
from migcomp.plan.candidates import Candidate
from tests.conftest import REPOSITORY, memory_file

PAGE = 4096
HOSTS = """
[[host]]
name = "a"
cpus = 8
link = "10Gbit"
evacuate = true
[[host]]
name = "b"
cpus = 8
link = "10Gbit"
"""
GUEST = """
[[guest]]
name = "vm"
host = "a"
profile = "idle"
size = "1GiB"
"""
GOOD = HOSTS + GUEST


def read(text: str) -> Fleet:
    with memory_file(text.encode()) as path:
        return read_fleet(path, PAGE)


def problem(text: str) -> str:
    with memory_file(text.encode()) as path:
        with pytest.raises(SetupError) as caught:
            read_fleet(path, PAGE)
        said = str(caught.value)
        assert said.startswith(f"{path}: ")
        assert "\n" not in said
        return said.removeprefix(f"{path}: ")


def test_the_shipped_fleet() -> None:
    path = REPOSITORY / "sample_images/fleet.toml"
    fleet = read_fleet(str(path), PAGE)
    assert [host.name for host in fleet.hosts if host.evacuate] == ["node1"]
    assert fleet.policy == Policy("k-at-a-time", 2)
    assert fleet.way == Candidate("multifd", "zstd", 1, 2)
    database = next(each for each in fleet.guests if each.name == "database")
    assert database.memory.images == (str(path.parent / "heap-8m.raw"),)
    assert Path(database.memory.images[0]).exists()
    assert database.memory.name == "heap-8m.raw"


def test_defaults() -> None:
    fleet = read(GOOD)
    assert fleet.way == Candidate("multifd", "zstd", 1, 2)
    assert (fleet.policy, fleet.qemu_version) == (Policy("k-at-a-time", 2), (8, 2))
    (vm,) = fleet.guests
    assert (vm.count, vm.vcpus, vm.cpu, vm.downtime_limit) == (1, 1, 0.0, 300)
    assert (vm.size, vm.dirty_rate, [*vm.names]) == (1 << 30, None, ["vm"])
    assert [each.method for each in fleet.ways] == ["none", "multifd"]


def test_all_keys() -> None:
    fleet = read(
        """
        [migration]
        engine = "compress"
        codec = "zlib"
        level = 3
        threads = 4
        qemu-version = "7.2.1"
        max-bandwidth = "100MiB"
        downtime-limit = 50
        policy = "smallest-first"
        parallel = 3
        [[uplink]]
        name = "rack"
        link = "40Gbit"
        hosts = ["a"]
        [[guest]]
        name = "s"
        count = 3
        host = "a"
        image = ["r0.raw", "r1.raw"]
        interval = 2
        vcpus = 2
        cpu = 1
        downtime-limit = 9
        [[guest]]
        name = "w"
        host = "b"
        profile = "heap"
        size = 8192
        dirty-rate = 4096
        working-set = "8KiB"
        skew = 1.5
        """
        + HOSTS
    )
    assert fleet.way == Candidate("compress", "zlib", 3, 4)
    assert fleet.qemu_version == (7, 2)
    assert fleet.max_bandwidth == 100 << 20
    assert fleet.policy == Policy("smallest-first", 3)
    (rack,) = fleet.uplinks
    assert (rack.bandwidth, rack.hosts) == (40e9, frozenset("a"))
    several, writer = fleet.guests
    assert [*several.names] == ["s-1", "s-2", "s-3"]
    assert several.memory.name == "r0.raw r1.raw every 2 s"
    assert (several.downtime_limit, several.busy_cpus) == (9, 2.0)
    assert (writer.downtime_limit, writer.working_set, writer.skew) == (50, 8192, 1.5)


def test_without_compression_there_is_one_way() -> None:
    fleet = read('[migration]\nengine = "none"\n' + GOOD)
    assert [each.method for each in fleet.ways] == ["none"]


def guest(line: str) -> str:
    return GOOD + line


def migration(*lines: str) -> str:
    return "[migration]\n" + "\n".join(lines) + "\n" + GOOD


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("host = 3", "host must be an array of tables, [[host]]"),
        ("host = [3]", "[[host]] 1 must be a table"),
        ("[[hosts]]\n", "there is no key 'hosts'; did you mean 'host'?"),
        ("[[computer]]\n", "there is no key 'computer'; there are migration, host"),
        (GOOD.replace("cpus = 8", "cups = 8"),
         "[[host]] 1 ('a'): there is no key 'cups'; did you mean 'cpus'?"),
        (GOOD.replace("cpus = 8", "cpus = 8\nmemroy = '1GiB'"),
         "[[host]] 1 ('a'): there is no key 'memroy'; did you mean 'memory'?"),
        (GOOD.replace("size", "sise"), "no key 'sise'; did you mean 'size'?"),
        (GOOD.replace("profile", "profil"), "'profil'; did you mean 'profile'?"),
        (GOOD.replace('size = "1GiB"', 'memory = "1GiB"'),
         "[[guest]] 1 ('vm'): there is no key 'memory'; there are name, count"),
        (guest("sizes = '1GiB'"), "there is no key 'sizes'; there are name, count"),
        (guest("x" * 1_000_000 + " = 1"), "there is no key 'xxxxxx"),
        ("= 3", "is no TOML"),
        ("x = " + "[" * 5000, "is no TOML"),
        ("x = " + "9" * 5000, "is no TOML"),
        ("", "no [[host]] has evacuate = true"),
        (HOSTS, "no [[guest]] is on a host that is evacuated"),
        (GOOD + HOSTS, "two hosts are named 'a'"),
        (GOOD + GUEST, "two guests are named 'vm'"),
        (guest("evacuate = true"), "[[guest]] 1 ('vm'): there is no key 'evacuate'"),
        (guest("count = 1000000000000"), "count must be a whole number from 1 to"),
        (guest("count = 0"), "count must be a whole number"),
        (guest("count = true"), "count must be a whole number"),
        (guest("count = 1" + "0" * 400), "is a very large number"),
        (guest("cpu = 1.5"), "cpu must be a number from 0 to 1, and is 1.5"),
        (guest("cpu = nan"), "cpu must be a number"),
        (guest("cpu = 'x'"), "cpu must be a number"),
        (guest("vcpus = 2.0"), "vcpus must be a whole number"),
        (guest("skew = 1"), "skew is of a guest with a dirty-rate"),
        (guest("working-set = 4096"), "working-set is of a guest with a dirty-rate"),
        (guest("dirty-rate = 0\nskew = 1"), "with a dirty-rate of more than 0"),
        (guest("dirty-rate = 'fast'"), "dirty-rate is wrong: 'fast' is not a size"),
        (guest("dirty-rate = -1"), "dirty-rate is wrong"),
        (guest("dirty-rate = 1.5"), "dirty-rate must be a size"),
        (guest("image = 'x.raw'"), "give either image or profile"),
        (guest("interval = 2"), "interval is the time between two snapshots"),
        (guest("downtime-limit = 0"), "downtime-limit must be a whole number"),
        (GOOD.replace('"1GiB"', '"8EiB"'),
         "[[guest]] 1 ('vm'): size must be 4.00 PiB or less, and is '8EiB'"),
        (GOOD.replace('"1GiB"', f"{(1 << 52) + PAGE}"), "size must be 4.00 PiB or"),
        (GOOD.replace("cpus = 8", "cpus = 8\nmemory = '8EiB'"),
         "[[host]] 1 ('a'): memory must be 4.00 PiB or less, and is '8EiB'"),
        (GOOD.replace('"1GiB"', "1000"), "size must be a multiple of the page size"),
        (GOOD.replace('size = "1GiB"', ""), "size is missing"),
        (GOOD.replace('profile = "idle"', ""), "give either image or profile"),
        (GOOD.replace('profile = "idle"', "image = 'x'"), "size is that of the image"),
        (GOOD.replace('profile = "idle"', "image = []"), "image must not be empty"),
        (GOOD.replace('"idle"', '"big"'), "profile must be one of idle"),
        (GOOD.replace('host = "a"', 'host = "c"'), "host is 'c', and there is no such"),
        (GOOD.replace('host = "a"', ""), "[[guest]] 1 ('vm'): host is missing"),
        (GOOD.replace('name = "vm"', ""), "[[guest]] 1: name is missing"),
        (GOOD.replace('name = "vm"', "name = ''"), "name must be a text"),
        (GOOD.replace('name = "vm"', 'name = "\\u0000"'), "NUL"),
        (GOOD.replace("cpus = 8", "cpus = 0"), "[[host]] 1 ('a'): cpus must be"),
        (GOOD.replace("cpus = 8", "cpus = -8"), "cpus must be a whole number"),
        (GOOD.replace('"10Gbit"', '"0Gbit"'), "link is wrong: '0Gbit' is not a rate"),
        (GOOD.replace('"10Gbit"', "10"), "link must be a rate"),
        (GOOD.replace("= true", "= 'yes'"), "evacuate must be true or false"),
        (GOOD + "[[host]]\nname='c'\ncpus=1\nlink='1Gbit'\nmemory='1GiB'",
         "[[host]] ('b'): memory is missing"),
        (GOOD.replace('"b"', '"b"\nevacuate = true'), "there is none to go to"),
        (GOOD + "[[uplink]]\nname='r'\nlink='1Gbit'\nhosts=['x']", "names 'x', and"),
        (GOOD + "[[uplink]]\nname='r'\nlink='1Gbit'\nhosts=['a','b']", "names all"),
        (GOOD + "[[uplink]]\nname='r'\nlink='1Gbit'\nhosts=[]", "must not be empty"),
        (migration("engine = 'xbzrle'"), "engine must be one of none, multifd"),
        (migration("engine = 'none'", "level = 1"), "level means nothing with engine"),
        (migration("codec = 'none'", "level = 1"), "level means nothing without a"),
        (migration("codec = 'lz4'"), "codec must be one of zstd, zlib, none"),
        (migration("level = 99"), "level must be a whole number from 1 to 20"),
        (migration("policy = 'fast'"), "policy must be one of all-at-once"),
        (migration("policy = 'all-at-once'", "parallel = 2"), "parallel means nothing"),
        (migration("qemu-version = '3.1'"), "those are 4.0 to 10.2"),
        (migration("qemu-version = 8.2"), "must be a version"),
        (migration("qemu-version = '4.2'"), "QEMU 4.2 has no multifd-compression"),
        (migration("qemu-version = '9.1'", "engine = 'compress'"), "has no compress"),
        ("migration = 3", "[migration] must be a table"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(text: str, said: str) -> None:
    assert said in problem(text)


def test_more_guests_than_memory_has_room_for() -> None:
    half = GUEST.replace('"vm"', '"{}"') + f"count = {GUESTS_MAX // 2 + 1}\n"
    assert "more than 100,000 guests" in problem(
        HOSTS + half.format("x") + half.format("y")
    )


def test_what_is_no_file_or_no_text(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none.toml", "No such file"),
        (tmp_path, "directory"),
    ):
        with pytest.raises(SetupError, match=said):
            read_fleet(str(path), PAGE)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\0")
    with pytest.raises(SetupError, match="byte 0 is no text"):
        read_fleet(str(binary), PAGE)
    with (
        memory_file(size=17 << 20) as huge,
        pytest.raises(SetupError, match=r"is too long; 16\.0 MiB are enough"),
    ):
        read_fleet(huge, PAGE)


@settings(deadline=None)
@given(
    at=st.integers(0, len(GOOD) - 1),
    text=st.text(alphabet=' "[]=\n{}.,#0-9aé\0', max_size=4),
    length=st.integers(0, 9),
)
def test_a_spoilt_file_raises_nothing_else(at: int, text: str, length: int) -> None:
    spoilt = GOOD[:at] + text + GOOD[at + length :]
    with memory_file(spoilt.encode()) as path, suppress(SetupError):
        read_fleet(path, PAGE)
