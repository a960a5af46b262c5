# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real QEMU loads what we wrote, and its guest runs on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from migcomp import _core
from migcomp.convert.convert import Wish, convert
from migcomp.images.open import open_image
from migcomp.outputs import OutputFile
from tests.conftest import REQUIRE_SHARED
from tests.interop.machine import Machine, initramfs, machine, missing
from tests.qemu_tools import COMPRESSED, NORMAL, XBZRLE, ZERO, Page, decode

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Captures:
    """Streams of one guest, and what QEMU said of them: plain and compressed ones
    of a moment, and of the running guest two with XBZRLE."""

    folder: Path
    initrd: Path
    said: dict[str, Any]

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.qemu"


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Captures:
    if missing():
        if os.environ.get(REQUIRE_SHARED) == "1":
            pytest.fail(f"{REQUIRE_SHARED}=1, but there is no {missing()}")
        pytest.skip(f"needs {missing()}")
    folder = tmp_path_factory.mktemp("captures")
    initrd = initramfs(folder)
    said = {}
    with machine(folder / "source", initrd) as source:
        source.wait_for_ticks(10)
        for name in ("xbzrle", "xbzrle-again"):
            said[name] = source.migrate(
                folder / f"{name}.qemu", "xbzrle", bandwidth=20_000_000
            )
            source("cont")
        source("stop")
        said["plain"] = source.migrate(folder / "plain.qemu")
        # A migration that is over leaves the machine to the destination.
        source("cont")
        source("stop")
        said["compress"] = source.migrate(folder / "compress.qemu", "compress")
    return Captures(folder, initrd, said)


def rewritten(path: Path, codec: str | None, folder: Path) -> Path:
    target = folder / "rewritten.qemu"
    with open_image(str(path)) as image, OutputFile(str(target)) as sink:
        convert(image, sink, "qemu", Wish(codec=codec))
    return target


def runs_on(guest: Machine) -> None:
    guest("cont")
    guest.wait_for_ticks(2)
    first, second = guest.ticks()[:2]
    assert 8 < first < second


@pytest.mark.parametrize("name", ["plain", "compress", "xbzrle"])
@pytest.mark.parametrize("codec", [None, "zlib"])
def test_qemu_loads_it_and_the_guest_runs_on(
    captures: Captures, name: str, codec: str | None, tmp_path: Path
) -> None:
    original = captures.path(name)
    stream = rewritten(original, codec, tmp_path)
    before, between = decode(original.read_bytes()), decode(stream.read_bytes())
    assert between.memory == before.memory
    assert between.counts[XBZRLE] == 0
    assert (between.counts[COMPRESSED] > 1000) == (codec is not None)
    total = between.counts[ZERO] + between.counts[NORMAL] + between.counts[COMPRESSED]
    assert total == sum(map(len, before.memory.values())) // 4096
    # Behind the RAM, every byte is as it was.
    assert (
        original.read_bytes()[before.ram_end :]
        == stream.read_bytes()[between.ram_end :]
    )
    with machine(tmp_path / "target", captures.initrd, incoming=True) as target:
        target.load(stream, *(["compress"] if codec else []))
        target.migrate(tmp_path / "after.qemu")
        after = decode((tmp_path / "after.qemu").read_bytes())
        for block, memory in before.memory.items():
            assert after.memory[block] == memory, block
        runs_on(target)


def test_compressed_pages_need_the_capability(
    captures: Captures, tmp_path: Path
) -> None:
    """So that the tests above do test what they say."""
    stream = rewritten(captures.path("plain"), "zlib", tmp_path)
    with (
        machine(tmp_path / "target", captures.initrd, incoming=True) as target,
        pytest.raises(RuntimeError, match="unexpected compressed page"),
    ):
        target.load(stream)


@pytest.mark.parametrize("name", ["plain", "compress", "xbzrle"])
def test_statistics_of_a_new_capture(captures: Captures, name: str) -> None:
    said = captures.said[name]["ram"]
    with open_image(str(captures.path(name))) as image:
        found: Any = image.facts["statistics"]
    for key in ("total", "transferred", "normal", "normal-bytes"):
        assert found["ram"][key] == said[key], key


def test_deltas_are_ours(captures: Captures) -> None:
    deltas: list[bytes] = []

    def encode(page: Page) -> None:
        if page.flags == XBZRLE:
            deltas.append(page.delta)
            assert _core.xbzrle_encode(page.old, page.new, len(page.new)) == page.delta

    for name in ("xbzrle", "xbzrle-again"):
        decode(captures.path(name).read_bytes(), encode)
    assert deltas


def test_xbzrle_counters_are_never_set_back(captures: Captures) -> None:
    """What docs/qemu-streams.md says of QEMU 7.2."""
    found = []
    for name in ("xbzrle", "xbzrle-again"):
        with open_image(str(captures.path(name))) as image:
            facts: Any = image.facts
        cache = facts["statistics"].get("xbzrle-cache", {"pages": 0, "bytes": 0})
        normal = sum(row["normal"] for row in facts["rounds"][1:])
        found.append((cache["bytes"], normal))
    first, again = (
        captures.said[n]["xbzrle-cache"] for n in ("xbzrle", "xbzrle-again")
    )
    assert first["bytes"] == found[0][0]
    assert again["bytes"] == found[0][0] + found[1][0]
    assert first["cache-miss"] + first["overflow"] == found[0][1]
    assert again["cache-miss"] + again["overflow"] == found[0][1] + found[1][1]
