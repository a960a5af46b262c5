# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that a plan prints, by version; QEMU takes them in tests/interop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from migcomp.plan.candidates import Candidate, candidates
from migcomp.plan.commands import Commands, commands_for
from migcomp.plan.versions import Qemu
from migcomp.precopy.parameters import Parameters


def made(
    candidate: Candidate, version: tuple[int, int] = (8, 2), **parameters: Any
) -> Commands:
    base = Parameters(max_bandwidth=117_000_000, downtime_limit=200, **parameters)
    return commands_for(candidate, candidate.parameters(base), Qemu(version))


def capabilities(lines: tuple[str, ...]) -> dict[str, bool]:
    given = json.loads(lines[0])
    assert given["execute"] == "migrate-set-capabilities"
    return {
        each["capability"]: each["state"] for each in given["arguments"]["capabilities"]
    }


def settings(lines: tuple[str, ...]) -> dict[str, Any]:
    given = json.loads(lines[1])
    assert given["execute"] == "migrate-set-parameters"
    arguments: dict[str, Any] = given["arguments"]
    return arguments


def test_multifd() -> None:
    found = made(Candidate("multifd", "zstd", 3, 4))
    assert capabilities(found.qmp_source) == {
        "xbzrle": False,
        "auto-converge": False,
        "compress": False,
        "multifd": True,
    }
    assert settings(found.qmp_source) == {
        "max-bandwidth": 117_000_000,
        "downtime-limit": 200,
        "multifd-channels": 4,
        "multifd-compression": "zstd",
        "multifd-zstd-level": 3,
    }
    # The other side must know as well.
    assert capabilities(found.qmp_destination)["multifd"]
    assert settings(found.qmp_destination) == {
        "multifd-channels": 4,
        "multifd-compression": "zstd",
    }
    assert found.hmp_source == (
        "migrate_set_capability xbzrle off",
        "migrate_set_capability auto-converge off",
        "migrate_set_capability compress off",
        "migrate_set_capability multifd on",
        "migrate_set_parameter max-bandwidth 117000000B",
        "migrate_set_parameter downtime-limit 200",
        "migrate_set_parameter multifd-channels 4",
        "migrate_set_parameter multifd-compression zstd",
        "migrate_set_parameter multifd-zstd-level 3",
        "migrate -d tcp:DESTINATION:PORT",
    )
    assert found.virsh == (
        "virsh migrate --live --verbose --parallel --parallel-connections 4 "
        "--compressed --comp-methods zstd --comp-zstd-level 3 --bandwidth 111 "
        "DOMAIN qemu+ssh://DESTINATION/system",
    )
    assert found.virsh_meanwhile == ("virsh migrate-setmaxdowntime DOMAIN 200",)
    assert found.libvirt == (9, 4)


def test_multifd_without_compression_says_so() -> None:
    """A compression that was set before would stay."""
    found = made(Candidate("multifd", threads=2))
    assert settings(found.qmp_source)["multifd-compression"] == "none"
    assert "level" not in found.qmp_source[1]
    assert "--compressed" not in found.virsh[0]
    assert found.libvirt is None
    older = made(Candidate("multifd", threads=2), (4, 2))
    assert "multifd-compression" not in " ".join(
        older.qmp_source + older.hmp_source + older.qmp_destination
    )


def test_compress() -> None:
    found = made(Candidate("compress", "zlib", 1, 8))
    assert settings(found.qmp_source)["compress-threads"] == 8
    assert settings(found.qmp_destination) == {"decompress-threads": 2}
    assert "migrate_set_parameter compress-wait-thread on" in found.hmp_source
    assert "--comp-methods mt --comp-mt-level 1 --comp-mt-threads 8" in found.virsh[0]


def test_xbzrle() -> None:
    found = made(Candidate("xbzrle"), xbzrle_cache_size=1 << 28)
    assert settings(found.qmp_source)["xbzrle-cache-size"] == 1 << 28
    assert "--comp-methods xbzrle --comp-xbzrle-cache 268435456" in found.virsh[0]
    assert len(found.qmp_destination) == 2  # no parameters


def test_none() -> None:
    found = made(Candidate("none"))
    assert not any(capabilities(found.qmp_source).values())
    assert settings(found.qmp_source).keys() == {"max-bandwidth", "downtime-limit"}
    unlimited = Parameters(max_bandwidth=0)
    free = commands_for(Candidate("none"), unlimited, Qemu((8, 2)))
    assert "--bandwidth" not in free.virsh[0]


@pytest.mark.parametrize(
    ("version", "ways"),
    [
        ((4, 0), {"none", "multifd", "compress", "xbzrle"}),
        ((4, 2), {"none", "multifd", "compress", "xbzrle"}),
        ((5, 0), {"none", "multifd", "multifd zstd", "compress", "xbzrle"}),
        ((9, 0), {"none", "multifd", "multifd zstd", "compress", "xbzrle"}),
        ((9, 1), {"none", "multifd", "multifd zstd", "xbzrle"}),
        ((10, 1), {"none", "multifd", "multifd zstd", "xbzrle"}),
    ],
)
def test_what_a_version_has(version: tuple[int, int], ways: set[str]) -> None:
    found = [*candidates(Qemu(version), 4, xbzrle=True)]
    names = {"multifd zstd" if each.codec == "zstd" else each.method for each in found}
    assert names == ways
    for each in found:
        known = capabilities(made(each, version).qmp_source)
        assert ("compress" in known) == (version < (9, 1))


def test_threads_from_two_to_the_most() -> None:
    assert [c.threads for c in candidates(Qemu((9, 1)), 1, xbzrle=False)][:2] == [0, 1]
    plain = [
        c.threads
        for c in candidates(Qemu((9, 1)), 12, xbzrle=False)
        if (c.method, c.codec) == ("multifd", "none")
    ]
    assert plain == [2, 4, 8, 12]
