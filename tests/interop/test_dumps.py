# SPDX-License-Identifier: LGPL-2.1-or-later
"""Dumps as we read them, and as others do: readelf, pyelftools, volatility3,
libkdumpfile, makedumpfile, crit; and one guest's memory dumped in three formats.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cramjam
import pytest

from migcomp.images.decode import readable_again
from migcomp.images.open import open_image
from tests.conftest import PAGE, REQUIRE_SHARED, make_page, make_pages
from tests.dump_files import (
    Range,
    avml,
    criu_dump,
    elf_core,
    kdump,
    lime,
    note,
    vmware_state,
    windows_dump,
)
from tests.interop.kdumpfile import KdumpFile, library
from tests.unit.test_compressed_dumps import PACKERS

A, B, C, ZERO = (make_pages(kind) for kind in ("rows", "noise", "text", "zero"))
LONG = b"".join(make_page(kind, n) for n in range(40) for kind in ("text", "rows"))
RANGES: list[Range] = [(0x1000, LONG), (0x100000, B + ZERO + C), (0x200000, A)]


def needed(found: object, what: str) -> None:
    """Skips without the tool; CI, which installs it, fails."""
    if not found and os.environ.get(REQUIRE_SHARED) == "1":
        pytest.fail(f"{REQUIRE_SHARED}=1, but there is no {what}")
    if not found:
        pytest.skip(f"needs {what}")


def needed_program(name: str, package: str) -> None:
    needed(shutil.which(name), f"{name}, of Debian's package {package}")


def needed_package(name: str, package: str) -> None:
    needed(importlib.util.find_spec(name), f"{name} (pip install {package})")


def needed_kdumpfile() -> None:
    needed(library(), "libkdumpfile, of Debian's package libkdumpfile10")


def ours(path: Path) -> list[Range]:
    """The blocks of an image, and their pages."""
    ranges = []
    with open_image(str(path)) as image, readable_again(image) as copy:
        page = 0
        for block in copy.blocks:
            pages = block.length // copy.page_size
            parts = [
                copy.read(n, min(256, page + pages - n))
                for n in range(page, page + pages, 256)
            ]
            ranges.append((block.guest_address, b"".join(parts)))
            page += pages
    return ranges


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# --- One guest, three dumps -----------------------------------------------------------


def test_three_dumps_of_a_stopped_guest_are_equal(paused_images: Path) -> None:
    """To the last byte: nothing ran between them.  The raw dump has no ROM."""
    raw = (paused_images / "paused.raw").read_bytes()
    elf = ours(paused_images / "paused.elf")
    assert [address for address, _ in elf] == [0, 0xFFFC0000]
    assert elf[0][1] == raw
    assert any(elf[1][1])
    assert ours(paused_images / "paused.kdump") == elf


# --- ELF ------------------------------------------------------------------------------


def elves(tmp_path: Path) -> list[Path]:
    notes = note(b"QEMU", 0, bytes(40))
    return [
        saved(tmp_path / "small", elf_core(RANGES, notes=notes)),
        saved(tmp_path / "many", elf_core(RANGES, notes=notes, many=True)),
        saved(tmp_path / "32", elf_core(RANGES, bits=32, order=">", notes=notes)),
    ]


def test_segments_as_readelf_sees_them(tmp_path: Path, paused_images: Path) -> None:
    needed_program("readelf", "binutils")
    for path in (*elves(tmp_path), paused_images / "paused.elf"):
        text = subprocess.run(
            ["readelf", "-lW", path], capture_output=True, text=True, check=True
        ).stdout
        number = r" +(0x\w+)"
        loads = re.findall(rf"^ +LOAD{number * 5}", text, re.M)
        with open_image(str(path)) as image:
            assert [
                (int(physical, 16), int(size, 16)) for _, _, physical, _, size in loads
            ] == [(block.guest_address, block.length) for block in image.blocks]


def test_segments_as_pyelftools_reads_them(tmp_path: Path, paused_images: Path) -> None:
    needed_package("elftools", "pyelftools")
    from elftools.elf.elffile import ELFFile

    for path in (*elves(tmp_path), paused_images / "paused.elf"):
        with path.open("rb") as file:
            segments = [
                (segment["p_paddr"], segment.data())
                for segment in ELFFile(file).iter_segments("PT_LOAD")
            ]
        assert ours(path) == segments


# --- volatility3 ----------------------------------------------------------------------


def theirs(module: str, name: str, path: Path, state: Path | None = None) -> Any:
    """A layer of volatility3 over a file."""
    needed_package("volatility3", "volatility3")
    from volatility3.framework import contexts  # type: ignore[import-untyped]
    from volatility3.framework.layers import physical  # type: ignore[import-untyped]

    context = contexts.Context()
    for role, file in (("base_layer", path), ("meta_layer", state)):
        if file is not None:
            context.config[f"{role}.location"] = f"file://{file}"
            context.add_layer(physical.FileLayer(context, role, role))
            context.config[f"layer.{role}"] = role
    layers = importlib.import_module(f"volatility3.framework.layers.{module}")
    return getattr(layers, name)(context, "layer", name)


def agree(layer: Any, path: Path, ranges: Sequence[Range]) -> None:
    assert ours(path) == list(ranges)
    for address, data in ranges:
        assert layer.read(address, len(data)) == data


def test_elf_as_volatility_reads_it(tmp_path: Path) -> None:
    path = elves(tmp_path)[0]
    agree(theirs("elf", "Elf64Layer", path), path, RANGES)


def test_lime_as_volatility_reads_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "image", lime(RANGES))
    agree(theirs("lime", "LimeLayer", path), path, RANGES)


@pytest.mark.parametrize(("bits", "kind"), [(64, 1), (64, 5), (32, 1)])
def test_windows_dumps_as_volatility_reads_them(
    tmp_path: Path, bits: int, kind: int
) -> None:
    path = saved(tmp_path / "image", windows_dump(RANGES, bits=bits, kind=kind))
    agree(theirs("crash", f"WindowsCrashDump{bits}Layer", path), path, RANGES)


def test_vmware_as_volatility_reads_it(tmp_path: Path) -> None:
    memory = saved(tmp_path / "guest.vmem", b"".join(data for _, data in RANGES))
    regions, page = [], 0
    for address, data in RANGES:
        regions.append((address // PAGE, page, len(data) // PAGE))
        page += len(data) // PAGE
    state = saved(tmp_path / "guest.vmss", vmware_state(regions))
    agree(theirs("vmware", "VmwareLayer", memory, state), memory, RANGES)


def framed(data: bytes) -> bytes:
    """By the library that AVML itself compresses with."""
    return bytes(cramjam.snappy.compress(data))


def test_avml_as_volatility_reads_it(tmp_path: Path) -> None:
    needed_package("volatility3", "volatility3")
    from volatility3.framework.layers import avml as layer

    needed(layer.HAS_SNAPPY, "libsnappy, of Debian's package libsnappy1v5")
    path = saved(tmp_path / "image", avml(RANGES, framed))
    agree(theirs("avml", "AVMLLayer", path), path, RANGES)


def test_a_guest_as_avml_has_it(tmp_path: Path, paused_images: Path) -> None:
    """What the guest's pages become in AVML's own library."""
    raw = (paused_images / "paused.raw").read_bytes()
    step = 16 << 20
    parts = [(at, raw[at : at + step]) for at in range(0x1000, len(raw), step)]
    path = saved(tmp_path / "image", avml(parts, framed))
    assert ours(path) == [(0x1000, raw[0x1000:])]


# --- kdump ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", PACKERS)
def test_kdump_as_libkdumpfile_reads_it(tmp_path: Path, method: str) -> None:
    needed_kdumpfile()
    path = saved(tmp_path / "image", kdump(RANGES, PACKERS[method], method))
    assert ours(path) == RANGES
    with KdumpFile(str(path)) as dump:
        for address, data in RANGES:
            assert dump.read(address, len(data)) == data


def test_a_guest_as_makedumpfile_puts_it_together(
    tmp_path: Path, paused_images: Path
) -> None:
    """QEMU wrote it flattened; unflattened, libkdumpfile reads it too."""
    needed_program("makedumpfile", "makedumpfile")
    needed_kdumpfile()
    flat, whole = paused_images / "paused.kdump", tmp_path / "whole.kdump"
    with flat.open("rb") as source:
        subprocess.run(
            ["makedumpfile", "-R", whole], stdin=source, capture_output=True, check=True
        )
    ranges = ours(flat)
    assert ours(whole) == ranges
    with KdumpFile(str(whole)) as dump:
        for address, data in ranges:
            for at in range(0, len(data), 1 << 20):
                part = data[at : at + (1 << 20)]
                assert dump.read(address + at, len(part)) == part


# --- CRIU -----------------------------------------------------------------------------


def test_pagemaps_that_crit_encodes(tmp_path: Path) -> None:
    needed_program("crit", "criu")
    old, new = tmp_path / "old", tmp_path / "new"
    criu_dump(old, [(0x1000, A + B)])
    criu_dump(new, [(0x1000, C), (0x8000, A)])
    entries = [
        {"pages_id": 8},
        {"vaddr": 0x1000, "nr_pages": 1, "flags": "PE_PRESENT"},
        {"vaddr": 0x2000, "nr_pages": 1, "in_parent": True, "flags": "PE_PARENT"},
        {"vaddr": 0x8000, "nr_pages": 1, "flags": "PE_LAZY | PE_PRESENT"},
    ]
    (new / "parent").symlink_to("../old")
    text = saved(
        tmp_path / "json",
        json.dumps({"magic": "PAGEMAP", "entries": entries}).encode(),
    )
    pagemap = new / "pagemap-7.img"
    subprocess.run(["crit", "encode", "-i", text, "-o", pagemap], check=True)
    assert ours(pagemap) == [(0x1000, C + B), (0x8000, A)]
    shown = subprocess.run(
        ["crit", "decode", "-i", old / "pagemap-7.img"],
        capture_output=True,
        check=True,
    )
    first = {"vaddr": 0x1000, "nr_pages": 2, "flags": 4}
    assert json.loads(shown.stdout)["entries"] == [{"pages_id": 8}, first]
