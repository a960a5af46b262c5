# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images in other formats: nothing of the memory is lost, nothing else changed."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import ExitStack
from importlib import import_module
from io import FileIO
from pathlib import Path
from random import Random
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migcomp.convert import convert as convert_module
from migcomp.convert.addresses import warning
from migcomp.convert.convert import Wish, convert
from migcomp.convert.formats import FORMATS
from migcomp.errors import ImageError
from migcomp.images.decode import readable_again
from migcomp.images.open import open_image
from migcomp.outputs import OutputFile
from migcomp.results import Block
from tests.conftest import make_page, make_pages, memory_file, restored
from tests.qemu_tools import (
    BLOCKS,
    COMPRESSED,
    NORMAL,
    PAGE,
    XBZRLE,
    ZERO,
    Writer,
    a_stream,
    bulk,
    configured,
    decode,
    mapped_stream,
    name_of,
)

RAM, BIOS = (name for name, _ in BLOCKS)


def converted(
    data: bytes, to: str, folder: Path, wish: Wish | None = None, **options: object
) -> Path:
    """``options`` are those of open_image."""
    target = folder / "converted"
    with (
        memory_file(data) as path,
        open_image(path, **options) as image,  # type: ignore[arg-type]
        OutputFile(str(target), force=True) as sink,
    ):
        convert(image, sink, to, wish or Wish())
    return target


def into_pipe(data: bytes, to: str, **options: object) -> bytes:
    reading, writing = os.pipe()
    received = []

    def receive() -> None:
        with FileIO(reading) as file:
            received.append(file.read())

    thread = Thread(target=receive)
    thread.start()
    with ExitStack() as stack:
        stack.callback(os.close, writing)
        path = stack.enter_context(memory_file(data))
        image = stack.enter_context(open_image(path, **options))  # type: ignore[arg-type]
        sink = stack.enter_context(OutputFile(f"/proc/self/fd/{writing}"))
        convert(image, sink, to, Wish())
    thread.join()
    return received[0]


def test_each_format_has_the_writer_of_its_name() -> None:
    folder = Path(convert_module.__file__).parent
    others = {"__init__", "addresses", "convert", "flat", "formats", "stored"}
    names = {path.stem for path in folder.glob("*.py")} - others
    assert names == {name.replace("-", "_") for name in FORMATS}
    for name in FORMATS:
        module = import_module(f"migcomp.convert.{name.replace('-', '_')}")
        assert name == module.FORMAT


# --- Guest addresses -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "length", "end"),
    [
        (b"pc-i440fx-7.2", 0xE000_0000, "0xc0000000"),
        (b"pc-i440fx-7.2", 0xDFFF_F000, ""),
        (b"pc-q35-7.2", 0xB000_0000, "0x80000000"),
        (b"pc-q35-7.2", 0xAFFF_F000, ""),
    ],
)
def test_memory_above_the_hole_of_a_pc(machine: bytes, length: int, end: str) -> None:
    writer = Writer(((b"pc.ram", length // PAGE),))
    writer.start(name_of(machine))
    writer.end_ram()
    with memory_file(writer.finish()) as path, open_image(path) as image:
        for to in FORMATS:
            said = warning(image, to)
            if end and to in ("elf", "kdump", "lime", "migcomp"):
                assert f"pc.ram has from {end} on" in said
            else:
                assert said == ""


def test_blocks_that_a_qemu_stream_puts_elsewhere() -> None:
    data = make_pages("noise", "noise")
    low, high = Block("pc.ram", PAGE, 0), Block("high", PAGE, 1 << 32)
    for layout, moved in (((low, high), True), ((), False)):
        with memory_file(data) as path, open_image(path, layout=layout) as image:
            said = warning(image, "qemu")
            assert warning(image, "elf") == ""
        if moved:
            assert "RAM block high, at 0x100000000, to be at 0x100000" in said
        else:
            assert said == ""


# --- To raw ---------------------------------------------------------------------------


def test_a_raw_image_of_a_stream(tmp_path: Path) -> None:
    stream, writer = a_stream()
    assert converted(stream, "raw", tmp_path).read_bytes() == writer.memory
    assert into_pipe(stream, "raw") == writer.memory


@pytest.mark.parametrize("tail", [0, 1, PAGE - 1])
def test_a_raw_image_of_a_raw_image(tail: int, tmp_path: Path) -> None:
    data = make_pages("zero", "rows", "same", "zero", "noise", "zero", "zero")
    data = data[: len(data) - tail]
    assert converted(data, "raw", tmp_path, pad=True).read_bytes() == data
    assert into_pipe(data, "raw", pad=True) == data


def test_zero_pages_become_holes(tmp_path: Path) -> None:
    data = make_page("rows") + bytes(255 * PAGE) + make_page("noise") + bytes(PAGE)
    target = converted(data, "raw", tmp_path)
    assert target.read_bytes() == data
    assert target.stat().st_blocks * 512 < 16 * PAGE


# --- To QEMU streams ------------------------------------------------------------------


def random_stream(seed: int) -> tuple[bytes, Writer]:
    rng, writer = Random(seed), Writer(footers=True)
    writer.start()
    bulk(writer)
    for _ in range(rng.randrange(4)):
        writer.part()
        for _ in range(rng.randrange(30)):
            block, pages = rng.choice(BLOCKS)
            page = rng.randrange(pages)
            content = bytearray(writer.pages[block, page])
            match rng.randrange(4):
                case 0:
                    writer.zero(block, page)
                case 1:
                    writer.normal(block, page, make_page("noise", seed))
                case 2:
                    writer.compressed(block, page, b"\xcc" * PAGE)
                case _:
                    content[rng.randrange(PAGE)] ^= 0x5A
                    writer.changed(block, page, bytes(content))
        writer.end_records()
        if rng.random() < 0.3:
            writer.put("BHHI", 8, 1, 4, 7)
    writer.end_ram()
    return writer.finish(), writer


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 10**6), st.sampled_from([None, "none", "zlib"]))
def test_a_stream_written_anew(tmp_path: Path, seed: int, codec: str | None) -> None:
    stream, writer = random_stream(seed)
    new = converted(stream, "qemu", tmp_path, Wish(codec=codec)).read_bytes()
    commands = stream.count(b"\x08\0\1\0\4\0\0\0\7")
    assert new.count(b"\x08\0\1\0\4\0\0\0\7") == commands
    if commands:
        # Not part of what decode() reads; its place is kept, behind the pages.
        stream = stream.replace(b"\x08\0\1\0\4\0\0\0\7", b"")
        new = new.replace(b"\x08\0\1\0\4\0\0\0\7", b"")
    before, after = decode(stream), decode(new)
    assert b"".join(after.memory.values()) == writer.memory
    assert new[after.ram_end :] == stream[before.ram_end :]
    start = stream.index(b"\x02\0\0\0\x02")
    assert new[:start] == stream[:start]
    assert after.parts == 1
    zeros = sum(page == bytes(PAGE) for page in writer.pages.values())
    assert after.counts[ZERO] == zeros
    assert after.counts[XBZRLE] == 0
    if codec == "zlib":
        plain = sum(len(zlib.compress(p, 1)) >= PAGE for p in writer.pages.values())
        assert after.counts[NORMAL] == plain
        assert after.counts[COMPRESSED] == 44 - zeros - plain
    else:
        assert after.counts[NORMAL] == 44 - zeros


def test_what_is_not_understood_stays(tmp_path: Path) -> None:
    stream, writer = a_stream()
    end = decode(stream).ram_end
    new = converted(stream[:end] + b"\x99what?", "qemu", tmp_path).read_bytes()
    assert new.endswith(b"\x7e\0\0\0\2\x99what?")
    assert b"".join(decode(new).memory.values()) == writer.memory


def test_streams_without_footers_get_none(tmp_path: Path) -> None:
    stream, writer = a_stream(footers=False)
    new = converted(stream, "qemu", tmp_path)
    with open_image(str(new)) as image:
        assert image.facts["section footers"] == "no"
        assert image.read(0, 44) == writer.memory
    assert b"\x7e\0\0\0\2" not in new.read_bytes()


def test_streams_that_cannot_be_written_anew(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="capability mapped-ram: QEMU would look"):
        converted(mapped_stream()[0], "qemu", tmp_path)
    writer = Writer(blocks=((RAM, 3),))
    writer.data += b"QEVM" + struct.pack(">I", 3) + b"\x07\0\0\0"
    capability = struct.pack(">I", 1) + name_of("x-ignore-shared")
    writer.data += configured((b"configuration/capabilities", capability))
    writer.head(1, 2, "ram", 0, 4)
    writer.put("Q", 3 * PAGE | 4)
    writer.data += name_of(RAM)
    writer.put("QQ", 3 * PAGE, 0)
    writer.end_records()
    writer.end_ram()
    with pytest.raises(ImageError, match="x-ignore-shared: some of its memory lies"):
        converted(writer.finish(), "qemu", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("codec", ["none", "zlib"])
def test_a_stream_of_the_ram_alone(codec: str, tmp_path: Path) -> None:
    data = make_pages("zero", "rows", "noise", "same", "zero", "text")
    layout = [Block("low", 2 * PAGE, 0), Block("high", 4 * PAGE, 1 << 32)]
    target = converted(data, "qemu", tmp_path, Wish(codec=codec), layout=layout)
    read = decode(target.read_bytes())
    assert {k.decode(): bytes(v) for k, v in read.memory.items()} == {
        "low": data[: 2 * PAGE],
        "high": data[2 * PAGE :],
    }
    assert read.counts[COMPRESSED] == (3 if codec == "zlib" else 0)
    with open_image(str(target)) as image:
        assert [block.name for block in image.blocks] == ["low", "high"]


@pytest.mark.parametrize("codec", ["none", "zlib"])
@pytest.mark.parametrize("page_size", [16384, 65536])
def test_a_stream_of_larger_pages_tells_so(
    codec: str, page_size: int, tmp_path: Path
) -> None:
    data = make_pages("zero", "rows", "noise", "same", "zero", "text") * 16
    target = converted(data, "qemu", tmp_path, Wish(codec=codec), page_size=page_size)
    with open_image(str(target)) as image, readable_again(image) as again:
        assert image.page_size == page_size
        assert again.read(0, again.pages or 0) == data


def test_names_that_qemu_has_no_room_for(tmp_path: Path) -> None:
    layout = [Block("x" * 256, PAGE, 0)]
    with pytest.raises(ImageError, match="which QEMU cannot name"):
        converted(bytes(PAGE), "qemu", tmp_path, layout=layout)


# --- To our own -----------------------------------------------------------------------


def test_a_stream_of_ours(tmp_path: Path) -> None:
    stream, writer = a_stream()
    wish = Wish(codec="lz4", threads=1)
    target = converted(stream, "migcomp", tmp_path, wish)
    assert restored(target.read_bytes()) == writer.memory
