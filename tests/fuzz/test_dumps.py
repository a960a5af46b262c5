# SPDX-License-Identifier: LGPL-2.1-or-later
"""Spoilt dumps of every format that is no QEMU stream."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import cramjam
import lzallright
import pytest
import zstandard

from migcomp.errors import ImageError
from migcomp.images.open import open_image
from tests.conftest import PAGE, make_page, make_pages
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
from tests.fuzz.images import COUNT, Tally, mutations, survive
from tests.qemu_tools import Writer
from tests.unit.test_seekable_zstd import seekable

A, B, C = (make_pages(kind) for kind in ("rows", "text", "noise"))
SMALL: list[Range] = [(0, A + B), (0x8000, C)]
UNEVEN: list[Range] = [(0x1000, A[:0xC00]), (0x1C00, B[:0x400]), (0x9000, C + b"x")]

pytestmark = pytest.mark.usefixtures("bounded_memory")


def framed(data: bytes) -> bytes:
    """As AVML itself does it: by the same library."""
    return bytes(cramjam.snappy.compress(data))


def snappy(page: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(page))


def test_elf() -> None:
    survive(
        [
            elf_core(SMALL, notes=note(b"QEMU", 0, bytes(40))),
            elf_core(UNEVEN, many=True),
            elf_core(SMALL, bits=32, order=">", virtual=True),
        ],
        format="elf",
    )


def test_lime() -> None:
    survive([lime(SMALL), lime(UNEVEN)], format="lime")


def test_compressed_lime() -> None:
    survive([zlib.compress(lime(SMALL))], 1000, format="lime")


def test_windows() -> None:
    survive(
        [
            windows_dump(SMALL),
            windows_dump(SMALL, kind=5),
            windows_dump(SMALL, bits=32),
        ],
        format="windows-dump",
    )


def test_vmware() -> None:
    survive(
        [
            vmware_state([(0, 0, 2), (8, 2, 1)], memory=A + B + C),
            vmware_state([], memory=A + B),
        ],
        format="vmware",
    )


def test_kdump() -> None:
    pack = zstandard.ZstdCompressor().compress
    tally = survive(
        [
            kdump(SMALL),
            kdump(SMALL, bits=32, order=">", excluded={1}),
            kdump(SMALL, pack, "zstd"),
            kdump(SMALL, lzallright.LZOCompressor().compress, "lzo"),
            kdump(SMALL, snappy, "snappy"),
        ],
        format="kdump",
    )
    assert tally.spoilt


def test_flattened_kdump() -> None:
    whole = kdump(SMALL)
    steps = ((0, 500), (PAGE, 200), *((at, 3000) for at in range(8192, 60_000, 3000)))
    survive(
        [
            flattened(whole, [(at, 1 << 14) for at in range(0, len(whole), 1 << 14)]),
            flattened(whole, [*steps, (PAGE, 300)]),
        ],
        format="kdump",
    )


def test_seekable_zstd() -> None:
    tally = survive(
        [
            seekable([A + B, C, b"", A], checksums=True),
            seekable([A, B[:-9]]),
        ],
        format="seekable-zstd",
    )
    assert tally.spoilt


def test_avml() -> None:
    tally = survive(
        [
            avml(SMALL, framed),
            avml([(0x1000, (A + B) * 9 + b"x"), (0x100000, B)], framed),
            avml(SMALL, partial(snappy_frames, skipped=True)),
        ],
        format="avml",
    )
    assert tally.spoilt


def test_virsh_save() -> None:
    writer = Writer(blocks=((b"pc.ram", 2),))
    writer.start()
    writer.part()
    writer.normal(b"pc.ram", 1, A)
    writer.end_records()
    writer.end_ram()
    stream = writer.finish()
    survive([virsh_save(stream)], format="virsh-save")
    survive([virsh_save(gzip.compress(stream), 1)], 1000, format="virsh-save")
    packed = zstandard.compress(stream)
    survive([virsh_save(packed, 5)], 1000, format="virsh-save")


# --- Formats of several files ---------------------------------------------------------


def survive_in(
    path: Path, good: bytes, image: Path, count: int, **options: object
) -> Tally:
    """As survive; what is spoilt is ``path``, what is opened is ``image``."""
    tally = Tally()
    for number, data in enumerate(islice(mutations([good], seed=1), count)):
        path.write_bytes(data)
        try:
            with open_image(str(image), **options) as opened:  # type: ignore[arg-type]
                opened.read(0, 1)
                tally.read += 1
        except ImageError as error:
            if str(image.parent.parent) not in str(error):
                pytest.fail(f"spoilt file {number}: which file? {error}")
            tally.refused += 1
        except Exception as error:
            pytest.fail(f"spoilt file {number}: {type(error).__name__}: {error}")
    assert tally.refused
    assert tally.read
    return tally


def test_criu(tmp_path: Path) -> None:
    criu_dump(tmp_path / "old", [(0x1000, A + B), (0x8000, C)])
    pagemap = criu_dump(tmp_path / "new", [(0x1000, 1), (0x2000, C), (0x8000, 1)])
    (tmp_path / "new/parent").symlink_to("../old")
    survive_in(pagemap, pagemap.read_bytes(), pagemap, COUNT)
    parent = tmp_path / "old/pagemap-7.img"
    pagemap = criu_dump(tmp_path / "new", [(0x1000, 1), (0x2000, C), (0x8000, 1)])
    survive_in(parent, parent.read_bytes(), pagemap, COUNT // 2)


def test_a_vmem_beside_its_state(tmp_path: Path) -> None:
    memory, state = tmp_path / "guest.vmem", tmp_path / "guest.vmss"
    memory.write_bytes(A + B + C)
    good = vmware_state([(0, 0, 2), (8, 2, 1)])
    survive_in(state, good, memory, COUNT // 5)


def test_cloud_hypervisor(tmp_path: Path) -> None:
    memory, state = tmp_path / "memory-ranges", tmp_path / "state.json"
    memory.write_bytes(A + B + C)
    ranges = [{"gpa": 0, "length": PAGE}, {"gpa": 1 << 32, "length": 2 * PAGE}]
    manager = json.dumps({"memory_ranges": {"data": ranges}})
    survive_in(state, json.dumps({"state": manager}).encode(), memory, COUNT)


@contextmanager
def layers(folder: Path, number: int) -> Iterator[list[str]]:
    """A raw image and diffs of random shape, some of which are none."""
    from random import Random

    rng = Random(number)
    paths = []
    for layer in range(rng.randrange(2, 5)):
        path = folder / f"{layer}"
        with path.open("wb") as file:
            for _ in range(rng.randrange(4)):
                page = make_page("rows", rng.randrange(9))
                os.pwrite(file.fileno(), page, rng.randrange(8 * PAGE))
            file.truncate(rng.choice((8, 8, 8, 8, 7)) * PAGE)
        paths.append(str(path))
    yield paths


def test_diffs(tmp_path: Path) -> None:
    refused = 0
    for number in range(2000):
        with layers(tmp_path, number) as (base, *diffs):
            try:
                with open_image(base, diffs=diffs) as image:
                    assert image.pages
                    image.read(0, image.pages)
            except ImageError:
                refused += 1
    assert 0 < refused < 2000


@pytest.mark.parametrize(
    "make", [elf_core, lime, windows_dump, avml, kdump], ids=lambda f: f.__name__
)
def test_good_files_are_read(make: Callable[[list[Range]], bytes]) -> None:
    """What is spoilt above is no file that would be refused anyhow."""
    from tests.conftest import memory_file

    with memory_file(make(SMALL)) as path, open_image(path) as image:
        assert image.pages == 3
