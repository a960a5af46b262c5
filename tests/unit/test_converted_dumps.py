# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images as dumps that tell guest addresses."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migcomp.convert.convert import Wish, convert
from migcomp.convert.elf import head_of
from migcomp.errors import ImageError
from migcomp.images.decode import readable_again
from migcomp.images.open import open_image
from migcomp.images.raw import RawImage
from migcomp.outputs import OutputFile
from migcomp.results import Block
from tests.conftest import PAGE, make_page, make_pages, memory_file
from tests.dump_files import Range, lime
from tests.qemu_tools import a_stream
from tests.unit.test_convert import converted, into_pipe

FORMATS = ("lime", "elf", "kdump")
WORDS = [make_page(kind, n) for n in range(3) for kind in ("text", "same", "noise")]


def ranges_of(path: str) -> list[Range]:
    ranges = []
    with open_image(path) as image, readable_again(image) as copy:
        page = 0
        for block in image.blocks:
            end = page + block.length // PAGE
            parts = [copy.read(n, min(99, end - n)) for n in range(page, end, 99)]
            ranges.append((block.guest_address, b"".join(parts)))
            page = end
    return ranges


def unflattened(data: bytes) -> bytes:
    """Of a kdump in pieces, what they make."""
    if not data.startswith(b"makedumpfile\0\0\0\0\0\0\0\0\0\0\0\1"):
        return data
    out, at = bytearray(), 4096
    while (piece := struct.unpack_from(">qq", data, at)) != (-1, -1):
        offset, size = piece
        out += bytes(max(offset + size - len(out), 0))
        out[offset : offset + size] = data[at + 16 : at + 16 + size]
        at += 16 + size
    assert at + 16 == len(data)
    return bytes(out)


def joined(ranges: list[Range]) -> list[Range]:
    """By address; those that adjoin are one."""
    out: list[Range] = []
    for address, data in sorted(ranges):
        if out and out[-1][0] + len(out[-1][1]) == address:
            out[-1] = (out[-1][0], out[-1][1] + data)
        else:
            out.append((address, data))
    return out


@pytest.mark.parametrize("to", FORMATS)
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([bytes(PAGE), *WORDS]), min_size=1, max_size=9),
            st.integers(1, 40),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=5,
    ),
    st.randoms(use_true_random=False),
)
def test_there_and_back(
    to: str,
    tmp_path: Path,
    parts: list[tuple[list[bytes], int, int]],
    rng: random.Random,
) -> None:
    """Whatever order the blocks have, and whether they adjoin; also in a pipe."""
    ranges: list[Range] = []
    address = 0
    for pages, times, gap in parts:
        address += gap * PAGE
        ranges.append((address, b"".join(pages) * times))
        address += len(ranges[-1][1])
    rng.shuffle(ranges)
    layout = [Block(f"at {at:#x}", len(data), at) for at, data in ranges]
    memory = b"".join(data for _, data in ranges)
    target = converted(memory, to, tmp_path, layout=layout)
    assert ranges_of(str(target)) == joined(ranges)
    piped = into_pipe(memory, to, layout=layout)
    assert unflattened(piped) == target.read_bytes()


LAYOUT = [Block("high", 2 * PAGE, 1 << 32), Block("low", 3 * PAGE, 0xC0000)]
MEMORY = make_pages("text", "zero", "rows", "zero", "noise")
LOW, HIGH = (0xC0000, MEMORY[2 * PAGE :]), (1 << 32, MEMORY[: 2 * PAGE])


def test_lime_to_the_byte(tmp_path: Path) -> None:
    target = converted(MEMORY, "lime", tmp_path, layout=LAYOUT)
    assert target.read_bytes() == lime([LOW, HIGH])


def test_elf_to_the_byte(tmp_path: Path) -> None:
    data = converted(MEMORY, "elf", tmp_path, layout=LAYOUT).read_bytes()
    assert data[:7] == b"\x7fELF\2\1\1"
    head = struct.unpack_from("<HHIQQQIHHHHHH", data, 16)
    assert head == (4, 0, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    at = PAGE
    for number, (address, content) in enumerate((LOW, HIGH)):
        size = len(content)
        segment = struct.unpack_from("<IIQQQQQQ", data, 64 + 56 * number)
        assert segment == (1, 6, at, 0, address, size, size, PAGE)
        assert data[at : at + size] == content
        at += size
    assert len(data) == at
    assert not any(data[64 + 2 * 56 : PAGE])


def test_more_segments_than_the_header_can_tell(tmp_path: Path) -> None:
    many = 65535
    layout = [Block(f"{n}", PAGE, 2 * n * PAGE) for n in range(many)]
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(many * PAGE)
    with open_image(str(source), layout=layout) as image:
        head = head_of(image, list(range(many)))
    with target.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + many * PAGE)
    with open_image(str(target)) as image:
        assert image.blocks[-1] == Block(
            f"ram@{layout[-1].guest_address:#x}", PAGE, layout[-1].guest_address
        )
        assert len(image.blocks) == many


@pytest.mark.parametrize("to", ["lime", "elf"])
def test_zero_pages_take_no_room(to: str, tmp_path: Path) -> None:
    memory = make_page("rows") + bytes(1023 * PAGE) + make_page("noise") + bytes(PAGE)
    target = converted(memory, to, tmp_path)
    assert ranges_of(str(target)) == [(0, memory)]
    assert target.stat().st_blocks * 512 < 16 * PAGE


@pytest.mark.parametrize("to", FORMATS)
def test_a_page_that_is_cut_off_is_filled_up(to: str, tmp_path: Path) -> None:
    target = converted(MEMORY[:-9], to, tmp_path, pad=True)
    assert ranges_of(str(target)) == [(0, MEMORY[:-9] + bytes(9))]
    assert unflattened(into_pipe(MEMORY[:-9], to, pad=True)) == target.read_bytes()


@pytest.mark.parametrize("to", FORMATS)
def test_of_a_stream(to: str, tmp_path: Path) -> None:
    stream, writer = a_stream()
    target = converted(stream, to, tmp_path)
    memory = b"".join(data for _, data in ranges_of(str(target)))
    assert memory == writer.memory
    with memory_file(stream) as path, open_image(path) as image:
        told = sorted((b.guest_address, b.length) for b in image.blocks)
    assert [(at, len(data)) for at, data in ranges_of(str(target))] == told


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("second", [PAGE, 2**64 - 2 * PAGE])
def test_addresses_that_no_dump_can_tell(to: str, second: int, tmp_path: Path) -> None:
    """A raw image's are checked before; what other formats say may be anything."""
    two = Block("two", 3 * PAGE, second)
    refuse(to, Block("one", 2 * PAGE, 0), two, tmp_path)


def refuse(
    to: str,
    one: Block,
    two: Block,
    folder: Path,
    words: str = "RAM block two at guest address",
) -> None:
    with memory_file(MEMORY) as path, open_image(path) as image:
        assert isinstance(image, RawImage)
        image.blocks = (one, two) if two.length else (one,)
        with (
            pytest.raises(ImageError, match=words),
            OutputFile(str(folder / "converted")) as sink,
        ):
            convert(image, sink, to, Wish())
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("codec", ["zlib", "zstd", "none"])
def test_pages_of_a_kdump(codec: str, tmp_path: Path) -> None:
    """Zero pages share one; what does not shrink is as it is."""
    data = converted(
        MEMORY + make_page("same"), "kdump", tmp_path, Wish(codec)
    ).read_bytes()
    flag = {"zlib": 1, "zstd": 0x20, "none": 0}[codec]
    table = list(struct.iter_unpack("<QIIQ", data[4 * PAGE : 4 * PAGE + 6 * 24]))
    zero = (4 * PAGE + 6 * 24, PAGE, 0, 0)
    assert table[1] == table[3] == zero
    assert [flags for _, _, flags, _ in table] == [flag, 0, flag, 0, 0, flag]
    assert not any(data[zero[0] : zero[0] + PAGE])
    sizes = [size for _, size, _, _ in table]
    assert sizes[4] == PAGE
    assert len(data) == zero[0] + sum(sizes) - PAGE
    assert sizes[5] < 200 or codec == "none"
    assert ranges_of(str(tmp_path / "converted")) == [(0, MEMORY + make_page("same"))]


def test_addresses_that_no_kdump_can_tell(tmp_path: Path) -> None:
    for address, words in ((100, "begins within a page"), (1 << 60, "be too large")):
        one, none = Block("one", len(MEMORY), address), Block("", 0, 0)
        refuse("kdump", one, none, tmp_path, words)
