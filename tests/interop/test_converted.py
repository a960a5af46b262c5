# SPDX-License-Identifier: LGPL-2.1-or-later
"""What ``migcomp convert`` writes, read by others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from migcomp.convert.convert import Wish, convert
from migcomp.images.open import open_image
from migcomp.outputs import OutputFile
from migcomp.results import Block
from tests.conftest import PAGE, make_page
from tests.dump_files import Range
from tests.interop.kdumpfile import KdumpFile
from tests.interop.test_dumps import (
    agree,
    needed_kdumpfile,
    needed_package,
    needed_program,
    ours,
    theirs,
)
from tests.unit.test_convert import into_pipe

LOW = b"".join(make_page(kind, n) for n in range(90) for kind in ("text", "zero"))
HIGH = b"".join(make_page(kind, n) for n in range(9) for kind in ("rows", "noise"))
#: The second block lies before the first.
LAYOUT = (Block("main", len(LOW), 1 << 32), Block("rom", len(HIGH), 0xC0000))


def written(folder: Path, to: str, codec: str | None = None) -> Path:
    source, target = folder / "image", folder / "converted"
    source.write_bytes(LOW + HIGH)
    with (
        open_image(str(source), layout=LAYOUT) as image,
        OutputFile(str(target)) as sink,
    ):
        convert(image, sink, to, Wish(codec))
    return target


def of_guest(image: Path, folder: Path, to: str, codec: str | None = None) -> Path:
    target = folder / "converted"
    with open_image(str(image)) as source, OutputFile(str(target)) as sink:
        convert(source, sink, to, Wish(codec))
    return target


# --- Seekable zstd --------------------------------------------------------------------


def test_zstd_decompresses_it(tmp_path: Path) -> None:
    needed_program("zstd", "zstd")
    path = written(tmp_path, "seekable-zstd")
    content = subprocess.run(["zstd", "-dc", path], capture_output=True, check=True)
    assert content.stdout == LOW + HIGH
    # Each frame, and the whole, are what zstd takes for sound.
    subprocess.run(["zstd", "-qt", path], check=True)


def test_any_page_as_pyzstd_finds_it(tmp_path: Path) -> None:
    needed_package("pyzstd", "pyzstd")
    import pyzstd

    memory = LOW + HIGH
    with pyzstd.SeekableZstdFile(written(tmp_path, "seekable-zstd")) as file:
        for at in (0, 127 * PAGE, 128 * PAGE, len(memory) - PAGE, 100 * PAGE + 9):
            file.seek(at)
            assert file.read(PAGE) == memory[at : at + PAGE]
        # Bytes of frames, and of content.
        told = file.seek_table_info
        assert told is not None
        assert (told[0], told[2]) == (2, len(memory))


def test_what_pyzstd_writes(tmp_path: Path) -> None:
    needed_package("pyzstd", "pyzstd")
    import pyzstd

    path, memory = tmp_path / "image", LOW + HIGH
    with pyzstd.SeekableZstdFile(path, "w", max_frame_content_size=6 * PAGE) as file:
        file.write(memory)
    assert ours(path) == [(0, memory)]


def test_a_guest_in_frames(tmp_path: Path, paused_images: Path) -> None:
    needed_program("zstd", "zstd")
    raw = paused_images / "paused.raw"
    path = of_guest(raw, tmp_path, "seekable-zstd")
    content = subprocess.run(["zstd", "-dc", path], capture_output=True, check=True)
    assert content.stdout == raw.read_bytes()
    assert ours(path) == [(0, content.stdout)]


# --- ELF and LiME ---------------------------------------------------------------------

RANGES: list[Range] = [(0xC0000, HIGH), (1 << 32, LOW)]


def test_elf_as_readelf_and_pyelftools_read_it(tmp_path: Path) -> None:
    needed_program("readelf", "binutils")
    needed_package("elftools", "pyelftools")
    from elftools.elf.elffile import ELFFile

    path = written(tmp_path, "elf")
    shown = subprocess.run(["readelf", "-aW", path], capture_output=True, check=True)
    assert shown.stderr == b""
    assert b"CORE (Core file)" in shown.stdout
    with path.open("rb") as file:
        segments = [
            (segment["p_paddr"], segment.data())
            for segment in ELFFile(file).iter_segments("PT_LOAD")
        ]
    assert segments == RANGES == ours(path)


def test_elf_and_lime_as_volatility_reads_them(tmp_path: Path) -> None:
    path = written(tmp_path, "elf")
    agree(theirs("elf", "Elf64Layer", path), path, RANGES)
    path.unlink()
    path = written(tmp_path, "lime")
    agree(theirs("lime", "LimeLayer", path), path, RANGES)


def test_a_guest_as_elf(tmp_path: Path, paused_images: Path) -> None:
    """From QEMU's kdump, what QEMU itself wrote as ELF."""
    path = of_guest(paused_images / "paused.kdump", tmp_path, "elf")
    assert ours(path) == ours(paused_images / "paused.elf")
    back = tmp_path / "back"
    back.mkdir()
    path = of_guest(path, back, "lime")
    assert ours(path) == ours(paused_images / "paused.elf")


# --- kdump ----------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["zlib", "zstd", "none"])
def test_kdump_as_libkdumpfile_reads_it(tmp_path: Path, codec: str) -> None:
    needed_kdumpfile()
    path = written(tmp_path, "kdump", codec)
    assert ours(path) == RANGES
    with KdumpFile(str(path)) as dump:
        for address, data in RANGES:
            assert dump.read(address, len(data)) == data


def test_a_kdump_from_a_pipe_as_makedumpfile_puts_it_together(tmp_path: Path) -> None:
    needed_program("makedumpfile", "makedumpfile")
    plain = written(tmp_path, "kdump").read_bytes()
    flat, whole = tmp_path / "flat", tmp_path / "whole"
    flat.write_bytes(into_pipe(LOW + HIGH, "kdump", layout=LAYOUT))
    assert ours(flat) == RANGES
    with flat.open("rb") as source:
        subprocess.run(
            ["makedumpfile", "-R", whole], stdin=source, capture_output=True, check=True
        )
    assert whole.read_bytes() == plain


def test_a_guest_as_kdump(tmp_path: Path, paused_images: Path) -> None:
    needed_kdumpfile()
    path = of_guest(paused_images / "paused.elf", tmp_path, "kdump")
    ranges = ours(paused_images / "paused.kdump")
    assert ours(path) == ranges
    with KdumpFile(str(path)) as dump:
        for address, data in ranges:
            for at in range(0, len(data), 1 << 20):
                part = data[at : at + (1 << 20)]
                assert dump.read(address + at, len(part)) == part
