# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images in zstd's seekable format: written, read, and refused."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migcomp import _core
from migcomp.convert.convert import Wish, convert
from migcomp.errors import ImageError
from migcomp.images.decode import read_page, readable_again
from migcomp.images.open import open_image
from migcomp.outputs import OutputFile
from migcomp.results import Block
from tests.conftest import PAGE, make_page, make_pages, memory_file
from tests.unit.test_convert import converted, into_pipe

FRAME = 512 << 10
TO = "seekable-zstd"
WORDS = [make_page(kind, n) for n in range(3) for kind in ("text", "rows", "noise")]


def table_of(data: bytes) -> list[tuple[int, int, int]]:
    """The seek table: bytes of frame, of content, checksum."""
    frames, descriptor, magic = struct.unpack("<IBI", data[-9:])
    assert (descriptor, magic) == (0x80, 0x8F92EAB1)
    start = len(data) - 9 - 12 * frames - 8
    assert struct.unpack_from("<II", data, start) == (0x184D2A5E, 12 * frames + 9)
    return list(struct.iter_unpack("<III", data[start + 8 : -9]))


def decompressed(data: bytes) -> bytes:
    """By the table, and front to back: both must be the same."""
    at, parts = 0, []
    for size, length, checksum in table_of(data):
        content = zstandard.ZstdDecompressor().decompress(data[at : at + size])
        assert len(content) == length
        assert _core.xxh64(content) & 0xFFFFFFFF == checksum
        # RFC 8878: the frame's own checksum, its last 4 bytes.
        assert zstandard.get_frame_parameters(data[at:]).has_checksum
        assert data[at + size - 4 : at + size] == checksum.to_bytes(4, "little")
        parts.append(content)
        at += size
    reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
    assert reader.read() == b"".join(parts)
    return b"".join(parts)


def seekable(
    contents: Sequence[bytes], *, checksums: bool = False, descriptor: int = 0
) -> bytes:
    """As other writers do it."""
    frames = [zstandard.compress(content, 1) for content in contents]
    table = b""
    for frame, content in zip(frames, contents, strict=True):
        table += struct.pack("<II", len(frame), len(content))
        table += struct.pack("<I", _core.xxh64(content) & 0xFFFFFFFF) * checksums
    descriptor |= 0x80 * checksums
    footer = struct.pack("<IBI", len(frames), descriptor, 0x8F92EAB1)
    head = struct.pack("<II", 0x184D2A5E, len(table) + len(footer))
    return b"".join((*frames, head, table, footer))


def ours(data: bytes, **options: object) -> bytes:
    with (
        memory_file(data) as path,
        open_image(path, **options) as image,  # type: ignore[arg-type]
        readable_again(image) as copy,
    ):
        assert image.format == TO
        pages = copy.pages or 0
        # No more at once than a request has.
        return b"".join(
            copy.read(page, min(512, pages - page)) for page in range(0, pages, 512)
        )


# --- Writing --------------------------------------------------------------------------


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.sampled_from([b"", *WORDS]), st.integers(1, 150)), min_size=1
    ),
    st.integers(0, PAGE - 1),
    st.integers(1, 3),
)
def test_there_and_back(
    tmp_path: Path, parts: list[tuple[bytes, int]], cut: int, threads: int
) -> None:
    memory = b"".join((page or bytes(PAGE)) * times for page, times in parts)
    whole = memory[: len(memory) - cut] + bytes(cut)
    memory = memory[: len(memory) - cut]
    wish = Wish(threads=threads)
    data = converted(memory, TO, tmp_path, wish, pad=True).read_bytes()
    assert decompressed(data) == memory
    assert ours(data) == whole
    lengths = [length for _, length, _ in table_of(data)]
    pages = len(memory) - len(memory) % PAGE
    full, rest = divmod(pages, FRAME)
    expected = [FRAME] * full + [rest, len(memory) % PAGE]
    assert lengths == [length for length in expected if length]


def test_holes_become_the_same_frames_as_zeros(tmp_path: Path) -> None:
    """Wherever the blocks end; and the last frame is none of the full ones."""
    layout = [
        Block("low", 200 * PAGE, 0),
        Block("high", (5 * 128 + 3 - 200) * PAGE, 1 << 32),
    ]
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        os.pwrite(file.fileno(), make_page("text"), 2 * FRAME + 7 * PAGE)
        file.truncate(5 * FRAME + 3 * PAGE)
    memory = sparse.read_bytes()
    target = tmp_path / "target"
    with (
        open_image(str(sparse), layout=layout) as image,
        OutputFile(str(target)) as sink,
    ):
        assert any(run.hole for run in image.runs(0))
        convert(image, sink, TO, Wish())
    data = target.read_bytes()
    assert decompressed(data) == memory
    assert [size for size, _, _ in table_of(data)].count(table_of(data)[0][0]) == 4
    assert data == converted(memory, TO, tmp_path).read_bytes()


def test_into_a_pipe(tmp_path: Path) -> None:
    memory = make_pages("zero", "rows", "noise", "same") * 60
    assert into_pipe(memory, TO) == converted(memory, TO, tmp_path).read_bytes()


def test_levels_differ_and_threads_do_not(tmp_path: Path) -> None:
    memory = make_pages("text", "rows", "noise") * 100
    of_one = converted(memory, TO, tmp_path, Wish(level=1, threads=1)).read_bytes()
    of_two = converted(memory, TO, tmp_path, Wish(level=1, threads=2)).read_bytes()
    better = converted(memory, TO, tmp_path, Wish(level=19)).read_bytes()
    assert of_one == of_two
    assert len(better) < len(of_one)
    assert decompressed(better) == memory


def test_without_a_native_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGCOMP_LIBZSTD", "none")
    memory = make_pages("text", "zero", "noise") * 100
    data = converted(memory, TO, tmp_path).read_bytes()
    assert decompressed(data) == memory
    assert ours(data) == memory


# --- Reading --------------------------------------------------------------------------

ABSURD = struct.pack("<IBI", 1 << 27, 0, 0x8F92EAB1)
A, B = make_pages("text", "zero", "rows"), make_pages("noise", "same")


def test_frames_of_any_whole_pages_are_read() -> None:
    for checksums in (False, True):
        data = seekable([A, b"", B, A[:PAGE]], checksums=checksums)
        assert ours(data) == A + B + A[:PAGE]
        with memory_file(data) as path, open_image(path) as image:
            told = {"frames": 4, "checksums": "yes" if checksums else "no"}
            assert image.facts == told
            assert read_page(image, 4) == B[PAGE:]
    assert ours(seekable([A, B[:-9]])) == A + B[:-9] + bytes(9)


def test_flipped_bits_are_found(tmp_path: Path) -> None:
    memory = make_pages("noise", "text")
    data = converted(memory, TO, tmp_path).read_bytes()
    frame = table_of(data)[0][0]
    for at in range(9, frame, 97):
        spoilt = bytearray(data)
        spoilt[at] ^= 0x10
        with pytest.raises(ImageError, match="page 0: "):
            ours(bytes(spoilt))


def test_checksums_of_the_seek_table_are_checked() -> None:
    """These frames have none of their own."""
    data = bytearray(seekable([A, B], checksums=True))
    data[-10] ^= 1  # of the last entry's checksum
    with pytest.raises(ImageError, match="page 3: the checksum of its block is wrong"):
        ours(bytes(data))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (zstandard.compress(A), "without a seek table; decompress it with zstd -d"),
        (seekable([A])[:-1], "without a seek table"),
        (b"\x28\xb5\x2f\xfd", "without a seek table"),
        (seekable([A], descriptor=4), "its seek table is none"),
        (seekable([A])[:-9] + ABSURD, "its seek table is none"),
        (seekable([A, A])[:-9] + seekable([A])[-9:], "seek table has another size"),
        (seekable([A])[:9] + seekable([A]), "its frames take"),
        (seekable([b""]), "holds no memory"),
        (seekable([A, A[:-1], A]), "end within a page of 4096 bytes; give another"),
        (seekable([bytes(FRAME + PAGE)]), "frames of more than 512 KiB; decompress"),
    ],
)
def test_what_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        ours(data)


def test_pages_must_be_those_of_the_frames() -> None:
    with pytest.raises(ImageError, match="end within a page of 16384 bytes"):
        ours(seekable([A, B]), page_size=16384)
