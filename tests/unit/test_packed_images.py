# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images that are compressed as a whole: virsh save, and LiME with compress=1."""

from __future__ import annotations

import builtins
import bz2
import gc
import gzip
import lzma
import os
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard

from migcomp.errors import CodecUnavailable
from migcomp.images.open import open_image
from migcomp.images.signatures import LZOP
from tests.conftest import PAGE, make_pages, memory_file, piped
from tests.dump_files import lime, virsh_save
from tests.image_tools import content, refusal
from tests.qemu_tools import a_stream

STREAM, WRITER = a_stream()
MEMORY = WRITER.memory
PROGRAMS = {1: "gzip", 2: "bzip2", 3: "xz", 4: "lzop", 5: "zstd"}


@pytest.fixture(autouse=True)
def open_files() -> Iterator[None]:
    """Fails when a file stays open."""
    gc.collect()  # what other tests left
    before = set(Path("/proc/self/fd").iterdir())
    yield
    assert set(Path("/proc/self/fd").iterdir()) == before


def program(name: str, data: bytes, *arguments: str) -> bytes:
    if not shutil.which(name):
        pytest.skip(f"needs the program {name}")
    return subprocess.run(
        [name, "-c", *arguments], input=data, capture_output=True, check=True
    ).stdout


# --- virsh save -----------------------------------------------------------------------


@pytest.mark.parametrize("method", [0, *PROGRAMS])
def test_what_libvirt_has_programs_compress(method: int) -> None:
    save = program(PROGRAMS[method], STREAM) if method else STREAM
    data = virsh_save(save, method)
    with memory_file(data) as path:
        with open_image(path) as image:
            assert image.format == "virsh-save"
            assert image.facts["compression"] == PROGRAMS.get(method, "none")
            assert image.facts["saved while running"] == "yes"
            assert "machine type" in image.facts
        assert content(path) == MEMORY
    if len(data) < 60_000:
        with piped(data) as path:
            assert content(path) == MEMORY


@pytest.mark.parametrize(
    ("method", "pack"),
    [
        (1, gzip.compress),
        (2, bz2.compress),
        (3, lzma.compress),
        (5, zstandard.ZstdCompressor().compress),
    ],
)
def test_several_members(method: int, pack: Callable[[bytes], bytes]) -> None:
    """As pigz, pbzip2 and pzstd write them."""
    parts = (STREAM[at : at + 20_000] for at in range(0, len(STREAM), 20_000))
    with memory_file(virsh_save(b"".join(map(pack, parts)), method)) as path:
        assert content(path) == MEMORY


def test_the_other_byte_order() -> None:
    with memory_file(virsh_save(STREAM, order=">", running=0)) as path:
        with open_image(path) as image:
            assert image.facts["saved while running"] == "no"
        assert content(path) == MEMORY


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (virsh_save(STREAM, magic=b"LibvirtQemudPart"), "was not saved to its end"),
        (virsh_save(STREAM, version=3), "is of version 3"),
        (virsh_save(b""), "it ends within the guest's XML"),
        (virsh_save(STREAM)[:50], "it ends within its header"),
        (virsh_save(b"something"), "no QEMU stream behind the guest's XML"),
        (virsh_save(STREAM, 6), "sparse format, which is not read"),
        (virsh_save(STREAM, 7), "in a way that is not known"),
        (virsh_save(b"!" + STREAM, 1), "gzip says"),
        (virsh_save(gzip.compress(b"something"), 1), "does not begin as it should"),
        (virsh_save(gzip.compress(b""), 1), "does not begin as it should"),
        (virsh_save(zstandard.compress(bytes(1 << 28)), 5), "does not begin as it"),
    ],
)
def test_saves_that_cannot_be(data: bytes, sentence: str) -> None:
    assert sentence in refusal(data)


@pytest.mark.parametrize("method", PROGRAMS)
def test_saves_that_are_cut_off_or_damaged(method: int) -> None:
    whole = program(PROGRAMS[method], STREAM)
    for cut in (len(whole) // 2, 40, 3):
        refusal(virsh_save(whole[:cut], method))
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes(50) + whole[middle + 50 :]
    refusal(virsh_save(damaged, method))


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize(
    ("method", "pack"),
    [
        (1, lambda data: gzip.compress(data, 1)),
        (2, bz2.compress),
        (3, lambda data: lzma.compress(data, preset=0)),
        (5, zstandard.ZstdCompressor().compress),
    ],
)
def test_bombs_take_no_memory(method: int, pack: Callable[[bytes], bytes]) -> None:
    """What is behind the end of the stream does not matter."""
    bomb = pack(STREAM) + pack(bytes(32 << 20)) * 8
    with memory_file(virsh_save(bomb, method)) as path:
        with open_image(path) as image:
            status = os.fstat(image.fd)
            assert status.st_size == len(STREAM) + (256 << 20)
            assert status.st_blocks * 512 < 4 << 20
        assert content(path) == MEMORY


def test_a_dictionary_that_takes_too_much_memory() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    data = lzma.compress(b"QEVM", lzma.FORMAT_XZ, filters=filters)
    assert "emory usage limit" in refusal(virsh_save(data, 3))


def test_no_room_for_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def fileno(self) -> int:
            return 2

        def write(self, data: bytes) -> int:
            raise OSError(28, os.strerror(28))

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr("tempfile.TemporaryFile", lambda buffering: Full())
    monkeypatch.setattr("migcomp.images.packed._room", lambda fd: 1 << 30)
    sentence = refusal(virsh_save(gzip.compress(STREAM), 1))
    assert "No space left on device" in sentence
    assert "set TMPDIR" in sentence


def test_a_copy_leaves_others_some_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros take none of it."""
    status = SimpleNamespace(f_bavail=len(STREAM) // 4096 + 1, f_frsize=4096)
    monkeypatch.setattr("os.fstatvfs", lambda fd: status)
    sentence = refusal(virsh_save(gzip.compress(STREAM), 1))
    assert "more than the" in sentence
    assert "set TMPDIR" in sentence
    status.f_bavail *= 2
    zeros = gzip.compress(STREAM) + gzip.compress(bytes(64 << 20))
    with memory_file(virsh_save(zeros, 1)) as path:
        assert content(path) == MEMORY


@pytest.mark.usefixtures("bounded_memory")
def test_a_plain_bomb_is_not_unpacked_to_its_end() -> None:
    zeros = zstandard.compress(bytes(64 << 20)) * 64
    sentence = refusal(virsh_save(zstandard.compress(STREAM) + zeros, 5))
    assert "is no guest's memory" in sentence
    assert "1.00 GiB and more" in sentence


def test_how_large_a_copy_gets_is_told() -> None:
    told = []
    with (
        memory_file(virsh_save(gzip.compress(STREAM), 1)) as path,
        open_image(path, watch=lambda done, copy=0: told.append((done, copy))) as image,
    ):
        copied = os.fstat(image.fd).st_size
        assert (Path(path).stat().st_size, copied) in told


def test_lzop_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "lzallright":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with (
        memory_file(virsh_save(LZOP, 4)) as path,
        pytest.raises(CodecUnavailable, match=r"pip install 'migcomp\[dumps\]'"),
    ):
        open_image(path)


# --- lzop -----------------------------------------------------------------------------


def lzop(
    *blocks: bytes,
    flags: int = 0,
    version: int = 0x1040,
    needed: int = 0x940,
    method: int = 1,
    extra: bytes = b"",
) -> bytes:
    head = struct.pack(">HHHBBI", version, 0x20A0, needed, method, 5, flags)
    head += bytes(12) + b"\4name" + bytes(4) + extra
    return LZOP + head + b"".join(blocks)


def stored(data: bytes, *sums: int) -> bytes:
    head = struct.pack(">II", len(data), len(data))
    return head + struct.pack(f">{len(sums)}I", *sums) + data


@pytest.mark.parametrize("arguments", [("-1",), ("-9",), ("-F",), ("--crc32", "-P")])
def test_lzop_as_the_program_writes_it(arguments: tuple[str, ...]) -> None:
    data = program("lzop", STREAM, *arguments)
    with memory_file(virsh_save(data, 4)) as path:
        assert content(path) == MEMORY


def test_lzop_as_it_can_be() -> None:
    adler, crc = zlib.adler32(STREAM), zlib.crc32(STREAM)
    end = bytes(4)
    for data in (
        lzop(stored(STREAM), end),
        lzop(stored(STREAM, adler, crc), end, flags=0x303),
        lzop(stored(STREAM), end, flags=0x40, extra=b"\0\0\0\2xxSUMS"),
    ):
        with memory_file(virsh_save(data, 4)) as path:
            assert content(path) == MEMORY


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"LZO", "it is cut off"),
        (b"QEVM" * 9, "does not begin as lzop's"),
        (lzop(version=0x900), "version or method"),
        (lzop(needed=0x2000), "version or method"),
        (lzop(method=9), "version or method"),
        (lzop(flags=0x800), "a kind that lzop does not write"),
        (lzop(flags=0x40, extra=b"\xff" * 4), "a field has 4294967299 bytes"),
        (lzop(stored(STREAM)), "it is cut off"),
        (lzop(stored(STREAM, 1), bytes(4), flags=1), "checksum is wrong"),
        (lzop(struct.pack(">II", 1 << 31, 9)), "a block of 9 bytes holds 2147483648"),
        (lzop(struct.pack(">II", 9, 10)), "a block of 10 bytes holds 9"),
        (lzop(struct.pack(">II", 9, 0)), "a block of 0 bytes holds 9"),
        (lzop(struct.pack(">II", 99, 4) + b"\xff" * 4), "lzop says"),
    ],
)
def test_lzop_that_cannot_be(data: bytes, sentence: str) -> None:
    assert sentence in refusal(virsh_save(data, 4))


# --- LiME -----------------------------------------------------------------------------

PAGES = make_pages("rows", "noise", "text", "zero")


def test_lime_that_is_compressed() -> None:
    data = zlib.compress(lime([(0x1000, PAGES), (0x100000, PAGES[:PAGE])]))
    with memory_file(data) as path:
        with open_image(path) as image:
            assert image.format == "lime"
            assert image.facts == {"ranges": 2, "compressed": "yes"}
        assert content(path) == PAGES + PAGES[:PAGE]
    assert "zlib says it ends too early" in refusal(data[:-9])
    assert "is cut off" in refusal(zlib.compress(lime([(0, PAGES)])[:-1]))


@pytest.mark.parametrize(
    "data", [zlib.compress(PAGES), b"\x78" * PAGE, b"x" + bytes(PAGE - 1)]
)
def test_what_only_begins_like_it(data: bytes) -> None:
    size = -(-len(data) // PAGE) * PAGE
    with memory_file(data.ljust(size, b"\0")) as path, open_image(path) as image:
        assert image.format == "raw"
