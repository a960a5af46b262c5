# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every format that is read, as what is spoilt: small good files, and where to put
a spoilt one so that it can be opened.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cramjam
import lzallright
import zstandard

from migcomp.choice import Choice
from migcomp.results import Block
from tests.conftest import PAGE, compressed, make_page, make_pages
from tests.dump_files import (
    Range,
    avml,
    criu_dump,
    elf_core,
    flattened,
    kdump,
    lime,
    note,
    snappy_frames,
    virsh_save,
    vmware_state,
    windows_dump,
)
from tests.qemu_tools import Writer, a_stream, mapped_stream
from tests.unit.test_packed_images import lzop, stored
from tests.unit.test_seekable_zstd import seekable

A, B, C = (make_pages(kind) for kind in ("rows", "text", "noise"))
SMALL: list[Range] = [(0, A + B), (0x8000, C)]
UNEVEN: list[Range] = [(0x1000, A[:0xC00]), (0x1C00, B[:0x400]), (0x9000, C + b"x")]

#: Puts a file into a folder, with all that belongs to it: what to open, and
#: open_image's options.
Lay = Callable[[Path, bytes], tuple[Path, Mapping[str, Any]]]


@dataclass(frozen=True)
class Format:
    """``decoded``: its pages have to be, and may turn out to be spoilt."""

    seeds: Sequence[bytes]
    lay: Lay
    decoded: bool = False


def alone(format: str) -> Lay:
    def lay(folder: Path, data: bytes) -> tuple[Path, Mapping[str, Any]]:
        path = folder / "image"
        path.write_bytes(data)
        return path, {"format": format}

    return lay


# --- Files of their own ---------------------------------------------------------------


def _elf() -> Format:
    return Format(
        [
            elf_core(SMALL, notes=note(b"QEMU", 0, bytes(40))),
            elf_core(UNEVEN, many=True),
            elf_core(SMALL, bits=32, order=">", virtual=True),
        ],
        alone("elf"),
    )


def _lime() -> Format:
    seeds = [lime(SMALL), lime(UNEVEN), zlib.compress(lime(SMALL))]
    return Format(seeds, alone("lime"))


def _avml() -> Format:
    def framed(data: bytes) -> bytes:
        """As AVML itself does it: by the same library."""
        return bytes(cramjam.snappy.compress(data))

    return Format(
        [
            avml(SMALL, framed),
            avml([(0x1000, (A + B) * 9 + b"x"), (0x100000, B)], framed),
            avml(SMALL, partial(snappy_frames, skipped=True)),
        ],
        alone("avml"),
        decoded=True,
    )


def _windows() -> Format:
    kinds: list[dict[str, int]] = [{}, {"kind": 5}, {"bits": 32}]
    return Format(
        [windows_dump(SMALL, **kind) for kind in kinds], alone("windows-dump")
    )


def _kdump() -> Format:
    def snappy(page: bytes) -> bytes:
        return bytes(cramjam.snappy.compress_raw(page))

    return Format(
        [
            kdump(SMALL),
            kdump(SMALL, bits=32, order=">", excluded={1}),
            kdump(SMALL, zstandard.ZstdCompressor().compress, "zstd"),
            kdump(SMALL, lzallright.LZOCompressor().compress, "lzo"),
            kdump(SMALL, snappy, "snappy"),
        ],
        alone("kdump"),
        decoded=True,
    )


def _flattened_kdump() -> Format:
    whole = kdump(SMALL)

    def pieces(start: int, step: int) -> list[tuple[int, int]]:
        starts = range(start, len(whole), step)
        return [(at, min(step, len(whole) - at)) for at in starts]

    crumbled = [(0, 500), (PAGE, 200), *pieces(2 * PAGE, 3000), (PAGE, 300)]
    return Format(
        [flattened(whole, pieces(0, 1 << 14)), flattened(whole, crumbled)],
        alone("kdump"),
        decoded=True,
    )


def _seekable_zstd() -> Format:
    return Format(
        [seekable([A + B, C, b"", A], checksums=True), seekable([A, B[:-9]])],
        alone("seekable-zstd"),
        decoded=True,
    )


def _migcomp() -> Format:
    data = make_pages("rows", "zero", "same", "text", "rows", "noise")
    choices = (("page", True), ("packet", False), ("stream", True))
    return Format(
        [
            compressed(data, Choice(grouping=grouping, dedup=dedup, packet_pages=2))[0]
            for grouping, dedup in choices
        ],
        alone("migcomp"),
    )


# --- QEMU's streams -------------------------------------------------------------------

RAM = b"pc.ram"


def _rounds() -> bytes:
    """Few pages, of every kind, again and again."""
    writer = Writer(blocks=((RAM, 5), (b"rom", 1)))
    writer.start()
    for number in range(4):
        writer.part()
        writer.zero(RAM, 0)
        writer.normal(RAM, 1, make_page("rows", number))
        writer.compressed(RAM, 2, make_page("text", number))
        writer.changed(RAM, 3, bytes([number + 1]) + make_page("spot", number)[1:])
        writer.zero(b"rom", 0)
        writer.end_records()
    writer.end_ram()
    return writer.finish()


def _qemu() -> Format:
    small = Writer(blocks=((RAM, 3),))
    small.start()
    small.part()
    small.zero(RAM, 1)
    small.compressed(RAM, 2, make_page("text"))
    small.end_records()
    small.end_ram()
    seeds = [_rounds(), small.finish(), a_stream()[0]]
    return Format(seeds, alone("qemu"), decoded=True)


def _mapped_ram() -> Format:
    return Format([mapped_stream(alignment=1 << 12)[0]], alone("qemu"))


def _virsh_save() -> Format:
    writer = Writer(blocks=((RAM, 2),))
    writer.start()
    writer.part()
    writer.normal(RAM, 1, A)
    writer.end_records()
    writer.end_ram()
    stream = writer.finish()
    packed = (
        *(stream, gzip.compress(stream), bz2.compress(stream), lzma.compress(stream)),
        *(lzop(stored(stream), bytes(4)), zstandard.compress(stream)),
    )
    return Format(
        [virsh_save(data, method) for method, data in enumerate(packed)],
        alone("virsh-save"),
    )


# --- Formats of several files ---------------------------------------------------------


def _raw() -> Format:
    """RAM blocks are told first: name, length, address."""
    block = struct.Struct("<cQQ")
    memory = A + B + C
    seeds = [
        block.pack(b"a", PAGE, 0) + block.pack(b"b", 2 * PAGE, 1 << 32) + memory,
        block.pack(b"a", 0, 0) + block.pack(b"a", 3 * PAGE, 0) + memory,
    ]

    def lay(folder: Path, data: bytes) -> tuple[Path, Mapping[str, Any]]:
        path = folder / "image"
        head = data[: 2 * block.size].ljust(2 * block.size, b"\0")
        path.write_bytes(data[2 * block.size :])
        layout = [
            Block(name.hex(), length, address)
            for name, length, address in block.iter_unpack(head)
            if length
        ]
        return path, {"format": "raw", "layout": layout, "pad": bool(head[-1])}

    return Format(seeds, lay)


def _vmware() -> Format:
    return Format(
        [
            vmware_state([(0, 0, 2), (8, 2, 1)], memory=A + B + C),
            vmware_state([], memory=A + B),
        ],
        alone("vmware"),
    )


def _vmem() -> Format:
    def lay(folder: Path, data: bytes) -> tuple[Path, Mapping[str, Any]]:
        memory = folder / "guest.vmem"
        memory.write_bytes(A + B + C)
        memory.with_suffix(".vmss").write_bytes(data)
        return memory, {}

    return Format([vmware_state([(0, 0, 2), (8, 2, 1)])], lay)


def _criu(spoilt: str) -> Format:
    """A dump and its parent, one of which is ``spoilt``."""

    def good(folder: Path) -> Path:
        criu_dump(folder / "old", [(0x1000, A + B), (0x8000, C)])
        pagemap = criu_dump(folder / "new", [(0x1000, 1), (0x2000, C), (0x8000, 1)])
        parent = folder / "new/parent"
        if not parent.is_symlink():
            parent.symlink_to("../old")
        return pagemap

    def lay(folder: Path, data: bytes) -> tuple[Path, Mapping[str, Any]]:
        pagemap = good(folder)
        (folder / spoilt / pagemap.name).write_bytes(data)
        return pagemap, {}

    return Format([_laid(good, f"{spoilt}/pagemap-7.img")], lay)


def _laid(make: Callable[[Path], object], name: str) -> bytes:
    """What lies under ``name`` in the folder that ``make`` fills."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        return (Path(folder) / name).read_bytes()


def _cloud_hypervisor() -> Format:
    ranges = [{"gpa": 0, "length": PAGE}, {"gpa": 1 << 32, "length": 2 * PAGE}]
    manager = json.dumps({"memory_ranges": {"data": ranges}})

    def lay(folder: Path, data: bytes) -> tuple[Path, Mapping[str, Any]]:
        memory = folder / "memory-ranges"
        memory.write_bytes(A + B + C)
        memory.with_name("state.json").write_bytes(data)
        return folder, {}

    return Format([json.dumps({"state": manager}).encode()], lay)


def _firecracker() -> Format:
    """What is spoilt says where the layers have data, and how long they are."""
    write = struct.Struct("<BHH")  # layer, offset and length in units of 512 bytes
    layers = 4
    seeds = [
        write.pack(0, 0, 64) + write.pack(1, 8, 8) + write.pack(2, 16, 8),
        b"".join(write.pack(n, 8 * n, 12) for n in range(1, layers)),
        b"".join(write.pack(n % layers, 3 * n, 9) for n in range(16)),
    ]

    def lay(folder: Path, data: bytes) -> tuple[Path, Mapping[str, Any]]:
        paths = [folder / f"{number}" for number in range(layers)]
        for path in paths:
            path.write_bytes(b"")
            os.truncate(path, 8 * PAGE)
        for at in range(0, min(len(data), 1000) - write.size + 1, write.size):
            layer, start, length = write.unpack_from(data, at)
            with paths[layer % layers].open("rb+") as file:
                if layer & 0x80:
                    file.truncate(start << 9)
                file.seek(start << 9)
                file.write(A[:512] * min(length, 64))
        diffs = [str(path) for path in paths[1:]]
        return paths[0], {"diffs": diffs[: 1 + len(data) % 3]}

    return Format(seeds, lay)


FORMATS: Mapping[str, Callable[[], Format]] = {
    "raw": _raw,
    "qemu": _qemu,
    "mapped-ram": _mapped_ram,
    "virsh-save": _virsh_save,
    "elf": _elf,
    "kdump": _kdump,
    "kdump-flattened": _flattened_kdump,
    "lime": _lime,
    "avml": _avml,
    "vmware": _vmware,
    "vmware-vmem": _vmem,
    "criu": partial(_criu, "new"),
    "criu-parent": partial(_criu, "old"),
    "windows-dump": _windows,
    "cloud-hypervisor": _cloud_hypervisor,
    "firecracker": _firecracker,
    "migcomp": _migcomp,
    "seekable-zstd": _seekable_zstd,
}
