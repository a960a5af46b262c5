# SPDX-License-Identifier: LGPL-2.1-or-later
"""Dumps that say where in memory their pages belong: ELF, LiME, Windows, VMware."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from migcomp.choice import Choice
from migcomp.errors import ImageError
from migcomp.images.headers import ANEW
from migcomp.images.image import Image
from migcomp.images.open import open_image
from migcomp.images.regions import PATCHES_MAX
from migcomp.pipeline import compress
from migcomp.results import Block
from tests.conftest import PAGE, make_pages, memory_file, restored
from tests.dump_files import (
    Range,
    elf_core,
    lime,
    note,
    vmware_block,
    vmware_state,
    vmware_tag,
    windows_dump,
)

A, B, C, ZERO = (make_pages(kind) for kind in ("rows", "noise", "text", "zero"))
RANGES: list[Range] = [(0, A + B), (0x10000, C), (0xFFFC0000, B + A + C)]
BLOCKS = (
    Block("ram@0x0", 2 * PAGE, 0),
    Block("ram@0x10000", PAGE, 0x10000),
    Block("ram@0xfffc0000", 3 * PAGE, 0xFFFC0000),
)


def content(image: Image) -> bytes:
    assert image.pages is not None
    return b"".join(image.read(page, 1) for page in range(image.pages))


def refusal(data: bytes, **options: int) -> str:
    """The one sentence about a file."""
    with memory_file(data) as path, pytest.raises(ImageError) as caught:
        open_image(path, **options)  # type: ignore[arg-type]
    sentence = str(caught.value)
    assert sentence.startswith(path)
    assert "\n" not in sentence
    return sentence


FORMATS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "elf": ("elf", lambda: elf_core(RANGES)),
    "elf, 32 bits, big-endian": ("elf", lambda: elf_core(RANGES, bits=32, order=">")),
    "elf, many segments": ("elf", lambda: elf_core(RANGES, many=True)),
    "elf, VirtualBox": (
        "elf",
        lambda: elf_core(RANGES, notes=note(b"VBCORE", 0xB00, bytes(36)), version=0),
    ),
    "elf, a process": ("elf", lambda: elf_core(RANGES, virtual=True)),
    "elf, not in order": ("elf", lambda: elf_core(RANGES[::-1])),
    "lime": ("lime", lambda: lime(RANGES)),
    "lime, not in order": ("lime", lambda: lime(RANGES[::-1])),
    "windows": ("windows-dump", lambda: windows_dump(RANGES)),
    "windows, 32 bits": ("windows-dump", lambda: windows_dump(RANGES, bits=32)),
    "windows, bitmap": ("windows-dump", lambda: windows_dump(RANGES, kind=5)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_pages_and_blocks(name: str) -> None:
    format, make = FORMATS[name]
    whole = A + B + C + B + A + C
    sink = BytesIO()
    with memory_file(make()) as path, open_image(path) as image:
        assert image.format == format
        assert image.blocks == BLOCKS
        assert content(image) == whole
        compress(image, sink, Choice(packet_pages=2))
    assert restored(sink.getvalue()) == whole


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_cut_off(name: str) -> None:
    data = FORMATS[name][1]()
    for cut in (len(data) - 1, len(data) - 3 * PAGE, len(data) - 6 * PAGE - 1, 40, 9):
        sentence = refusal(data[:cut])
        assert ("is cut off" in sentence and ANEW in sentence) or cut < 64


@pytest.mark.parametrize("make", [elf_core, lime])
def test_ranges_that_end_within_a_page(make: Callable[[list[Range]], bytes]) -> None:
    """As the memory below 640 KiB, which ends at 0x9fc00 on many machines."""
    low, high = bytes(A[: PAGE - 0x400]), bytes(B[:0x400])
    ranges = [(0x1000, C + low), (0x2000 + PAGE - 0x400, high), (0x5800, A[:0x1000])]
    with memory_file(make(ranges)) as path, open_image(path) as image:
        assert image.blocks == (
            Block("ram@0x1000", 2 * PAGE, 0x1000),
            Block("ram@0x5000", 2 * PAGE, 0x5000),
        )
        assert content(image) == b"".join(
            (C, low, high, bytes(0x800), A[:0x1000], bytes(0x800))
        )


def test_a_range_within_one_page() -> None:
    with memory_file(lime([(0x1234, b"x")])) as path, open_image(path) as image:
        assert content(image) == bytes(0x234) + b"x" + bytes(PAGE - 0x235)


def test_too_many_parts_of_pages() -> None:
    ranges = [(n * PAGE, b"x") for n in range(PATCHES_MAX + 1)]
    assert "too many regions that begin or end within" in refusal(lime(ranges))


@pytest.mark.parametrize(
    ("ranges", "sentence"),
    [
        ([(0, A + B), (PAGE, C)], "overlap at guest address 0x1000"),
        ([(0, A), (0, A)], "overlap at guest address 0x0"),
        ([(2**64 - PAGE, A + B)], "ends at"),
        ([(2**64 - 1, b"x"), (0, b"y")], ""),
    ],
)
def test_lime_ranges_that_cannot_be(ranges: list[Range], sentence: str) -> None:
    parts = []
    for start, data in ranges:
        last = (start + len(data) - 1) % 2**64
        parts.append(struct.pack("<IIQQQ", 0x4C694D45, 1, start, last, 0) + data)
    if sentence:
        assert sentence in refusal(b"".join(parts))
    else:
        with memory_file(b"".join(parts)) as path, open_image(path) as image:
            assert image.blocks[-1].guest_address == 2**64 - PAGE


def test_lime_headers_that_are_none() -> None:
    assert "begins no LiME header" in refusal(lime(RANGES) + bytes(32))
    assert "begins no LiME header" in refusal(
        lime(RANGES).replace(b"EMiL\1", b"EMiL\2")
    )
    assert "it ends within the header at byte" in refusal(lime(RANGES) + b"EMiL")


# --- ELF ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "writer"),
    [
        (b"QEMU", "QEMU"),
        (b"VBCORE", "VirtualBox"),
        (b"VMCOREINFO", "kdump"),
        (b"", "not told"),
    ],
)
def test_who_wrote_it(name: bytes, writer: str) -> None:
    data = elf_core(RANGES, notes=note(b"CORE", 1, bytes(336)) + note(name, 0, b"1234"))
    with memory_file(data) as path, open_image(path) as image:
        assert image.facts == {"written by": writer, "addresses": "physical"}


def test_memory_that_is_not_in_the_file_is_zero() -> None:
    sizes = [4 * PAGE, PAGE, 3 * PAGE]
    with memory_file(elf_core(RANGES, sizes=sizes)) as path, open_image(path) as image:
        assert [(r.first_page, r.pages, r.hole) for r in image.runs(0)] == [
            (0, 2, False),
            (2, 2, True),
        ]
        assert content(image) == A + B + ZERO * 2 + C + B + A + C


def test_a_segment_that_another_holds() -> None:
    """/proc/vmcore has the kernel's text twice."""
    ranges = [(PAGE, B), (0, A + B + C), (3 * PAGE, A)]
    with memory_file(elf_core(ranges)) as path, open_image(path) as image:
        assert image.blocks == (Block("ram@0x0", 4 * PAGE, 0),)
        assert content(image) == A + B + C + A
    assert "overlap at guest address 0x1000" in refusal(
        elf_core([(0, A + B), (PAGE, B + C)])
    )


def test_segments_that_share_their_bytes() -> None:
    """QEMU's dumps with paging have a segment for each mapping of the same page."""
    data = bytearray(elf_core([(0, A + B), (PAGE, C + A)]))
    first = struct.unpack_from("<Q", data, 64 + 56 + 8)[0]
    struct.pack_into("<Q", data, 64 + 2 * 56 + 8, first + PAGE)
    with memory_file(bytes(data)) as path, open_image(path) as image:
        assert content(image) == A + B + C


@pytest.mark.parametrize(
    ("at", "layout", "value", "sentence"),
    [
        (4, "B", 3, "no known class"),
        (5, "B", 0, "no known class"),
        (16, "<H", 2, "no core file"),
        (54, "<H", 32, "its program headers have 32 bytes, not 56"),
        (56, "<H", 0, "holds no memory"),
        (32, "<Q", 2**63, "ends within its program headers"),
        (64 + 56 + 8, "<Q", 2**64 - PAGE, "is cut off: its"),
        (64 + 56 + 24, "<Q", 2**64 - PAGE, "cannot be"),
        (64 + 56 + 40, "<Q", 2**63, "overlap at guest address"),
        (64 + 3 * 56 + 40, "<Q", 2**60, "which is absurd"),
        (64 + 56 + 32, "<Q", 2**62, ""),
    ],
)
def test_elf_headers_that_cannot_be(
    at: int, layout: str, value: int, sentence: str
) -> None:
    data = bytearray(elf_core(RANGES))
    struct.pack_into(layout, data, at, value)
    if sentence:
        assert sentence in refusal(bytes(data))
    else:  # more in the file than in memory is no harm
        with memory_file(bytes(data)) as path, open_image(path) as image:
            assert content(image) == A + B + C + B + A + C


def test_absurd_numbers_of_segments() -> None:
    data = bytearray(elf_core(RANGES, many=True))
    struct.pack_into("<I", data, 64 + 44, 2**32 - 1)
    assert "4294967295 segments, which is absurd" in refusal(bytes(data))
    ranges = [(2 * n * PAGE, b"") for n in range(70_000)]
    ranges[0] = (0, A)
    assert "70001 segments" in refusal(elf_core(ranges, many=True))


def test_segments_that_no_program_header_counts() -> None:
    """65,534 are the most that fit the header of the file."""
    ranges = [(2 * n * PAGE, b"") for n in range(65_500)]
    ranges[-1] = (ranges[-1][0], A)
    with memory_file(elf_core(ranges, many=True)) as path, open_image(path) as image:
        assert content(image) == A


# --- Windows --------------------------------------------------------------------------


def test_windows_dumps_that_cannot_be() -> None:
    assert "of type 2, which does not hold all memory" in refusal(
        windows_dump(RANGES, kind=2)
    )
    assert "of type 5" in refusal(windows_dump(RANGES, bits=32, kind=5))
    data = bytearray(windows_dump(RANGES))
    struct.pack_into("<I", data, 0x88, 2**32 - 1)
    assert "runs of memory, which is absurd" in refusal(bytes(data))
    data = bytearray(windows_dump(RANGES, kind=5))
    data[0x2000] = 0
    assert "has no bitmap's header" in refusal(bytes(data))
    struct.pack_into("<4s44xQ", data, 0x2000, b"FDMP", 2**60)
    data[0x2004:0x2008] = b"DUMP"
    assert "its bitmap would take" in refusal(bytes(data))


# --- VMware ---------------------------------------------------------------------------

REGIONS = [(0, 0, 2), (0x10, 2, 1), (0xFFFC0, 3, 3)]
MEMORY = A + B + C + B + A + C


@pytest.mark.parametrize("suffix", [".vmss", ".vmsn"])
@pytest.mark.parametrize("name", ["memory", "state"])
def test_a_vmem_and_its_state(tmp_path: Path, suffix: str, name: str) -> None:
    memory, state = tmp_path / "guest.vmem", tmp_path / f"guest{suffix}"
    memory.write_bytes(MEMORY)
    state.write_bytes(vmware_state(REGIONS))
    with open_image(str({"memory": memory, "state": state}[name])) as image:
        assert image.format == "vmware"
        assert image.blocks == BLOCKS
        assert content(image) == MEMORY
        assert image.facts == {"laid out by": str(state)}
    memory.write_bytes(MEMORY[:-1])
    with pytest.raises(ImageError, match=r"guest.vmem is cut off: its 24575 .*anew"):
        open_image(str(memory))


def test_a_vmem_that_is_laid_out_has_no_diffs(tmp_path: Path) -> None:
    memory, state = tmp_path / "guest.vmem", tmp_path / "guest.vmss"
    memory.write_bytes(MEMORY)
    state.write_bytes(vmware_state(REGIONS))
    diff = tmp_path / "diff"
    with diff.open("wb") as file:
        file.truncate(len(MEMORY) - PAGE)
        file.seek(len(MEMORY) - PAGE)
        file.write(A)
    with pytest.raises(ImageError, match=r"guest.vmem is laid out by .*guest.vmss, "):
        open_image(str(memory), diffs=[str(diff)])
    with open_image(str(memory), diffs=[str(diff)], format="raw") as image:
        assert content(image) == MEMORY[:-PAGE] + A


def test_a_state_that_holds_the_memory() -> None:
    for regions, blocks in ((REGIONS, BLOCKS), ([], (Block("ram@0x0", 6 * PAGE, 0),))):
        data = vmware_state(regions, memory=MEMORY, magic=0xBAD1BAD1)
        with memory_file(data) as path, open_image(path) as image:
            assert image.blocks == blocks
            assert content(image) == MEMORY


def test_a_vmem_without_a_state_is_raw(tmp_path: Path) -> None:
    memory = tmp_path / "guest.vmem"
    memory.write_bytes(MEMORY)
    (tmp_path / "guest.vmss").write_bytes(b"something else")
    with open_image(str(memory)) as image:
        assert image.format == "raw"


def test_vmware_states_that_cannot_be(tmp_path: Path) -> None:
    assert "there is no" in refusal(vmware_state(REGIONS))
    assert "32-bit VMware" in refusal(vmware_state([], magic=0xBED0BED0, memory=A))
    good = vmware_state(REGIONS, memory=MEMORY)
    assert "groups, which is absurd" in refusal(good[:8] + b"\xff" * 4 + good[12:])
    assert "no group of memory" in refusal(good.replace(b"memory\0", b"nemory\0"))
    assert "does not describe each" in refusal(good.replace(b"regionPPN", b"regionPPM"))
    assert refusal(good[:-PAGE]).endswith(f"is cut off: it ends within a block; {ANEW}")
    head = good[: 12 + 160 + 2]
    many = vmware_tag(b"regionsCount", struct.pack("<I", 1 << 20))
    assert "1048576 regions" in refusal(head + many + b"\0\0")
    packed = vmware_block(b"Memory", MEMORY, size=62)
    assert "in a way that is not published" in refusal(head + packed + b"\0\0")
    assert "within a tag" in refusal(head + many[:-2])
    assert "within a group" in refusal(head + many)
    assert "more tags than any" in refusal(
        head + vmware_tag(b"", b"1") * 100_001 + b"\0\0"
    )
