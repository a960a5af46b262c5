# SPDX-License-Identifier: LGPL-2.1-or-later
"""Raw images: holes, blocks, pipes, and files that are none."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import tempfile
from collections.abc import Iterator
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp.choice import Choice
from migcomp.errors import ImageError, LayoutError
from migcomp.images import file
from migcomp.images.image import PAGE_SIZES, UNKNOWN_LENGTH
from migcomp.images.open import open_image as open_any
from migcomp.images.raw import RawImage, spool
from migcomp.pipeline import compress
from migcomp.results import Block
from tests.conftest import PAGE, make_pages, memory_file

FS_BLOCK = os.sysconf("SC_PAGE_SIZE")


def open_image(path: str, **options: Any) -> RawImage:
    image = open_any(path, **options)
    assert isinstance(image, RawImage)
    return image


def sparse(path: str, size: int, data: set[int]) -> None:
    """``data``: the blocks of the file system that are not holes."""
    os.truncate(path, size)
    with FileIO(path, "rb+") as file:
        for block in data:
            file.seek(block * FS_BLOCK)
            file.write(b"d" * min(FS_BLOCK, size - block * FS_BLOCK))


def pages_of(image: RawImage, block: int) -> list[tuple[int, bool]]:
    """Each page and whether it is a hole, in the order given."""
    return [
        (page, run.hole)
        for run in image.runs(block)
        for page in range(run.first_page, run.first_page + run.pages)
    ]


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(PAGE_SIZES),
    st.integers(1, 8),
    st.sets(st.integers(0, 127)),
    st.lists(st.integers(1, 7), max_size=3),
)
def test_a_page_is_a_hole_only_if_all_of_it_is(
    page_size: int, pages: int, data: set[int], cuts: list[int]
) -> None:
    size = pages * page_size
    data = {block for block in data if block * FS_BLOCK < size}
    bounds = sorted({0, pages, *(cut for cut in cuts if cut < pages)})
    layout = [
        Block(f"b{a}", (b - a) * page_size, a * page_size) for a, b in pairwise(bounds)
    ]
    with memory_file() as path:
        sparse(path, size, data)
        with open_image(path, page_size=page_size, layout=layout) as image:
            blocks = [pages_of(image, block) for block in range(len(layout))]
    with_data = {block * FS_BLOCK // page_size for block in data}
    found = [page for block in blocks for page in block]
    assert found == [(page, page not in with_data) for page in range(pages)]
    assert [len(block) for block in blocks] == [
        block.length // page_size for block in layout
    ]


def test_runs_are_as_long_as_they_can_be() -> None:
    with memory_file() as path:
        sparse(path, 100 * PAGE, {5, 6, 7, 99})
        with open_image(path) as image:
            runs = [(run.first_page, run.pages, run.hole) for run in image.runs(0)]
    assert runs == [(0, 5, True), (5, 3, False), (8, 91, True), (99, 1, False)]


@pytest.mark.parametrize("tail", [1, PAGE - 1])
def test_holes_of_a_spooled_image_with_an_odd_end(tail: int) -> None:
    data = make_pages("rows", "zero", "zero", "rows", "rows")[: 4 * PAGE + tail]
    with (
        memory_file(data) as path,
        open_image(path, pad=True) as image,
        spool(image) as copy,
    ):
        assert image.page_map is None
        assert copy.page_map is not None
        assert copy.blocks == image.blocks
        assert [page for page, _ in pages_of(copy, 0)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("dedup", [False, True])
def test_a_sparse_file_that_shrinks_is_no_hole(tmp_path: Path, dedup: bool) -> None:
    path = tmp_path / "image"
    sparse_at = str(path)
    path.touch()
    sparse(sparse_at, 64 * PAGE, {0, 1})
    with open_image(sparse_at) as image:
        os.truncate(path, 8 * PAGE)
        with pytest.raises(ImageError, match="became shorter while it was read"):
            list(image.runs(0))
        with pytest.raises(ImageError, match="became shorter while it was read"):
            compress(image, None, Choice(dedup=dedup))
        with pytest.raises(ImageError, match="became shorter while it was read"):
            image.read(4, 8)
        assert image.read(0, 1) == b"d" * PAGE


@pytest.mark.parametrize("data", [set(), {2, 3, 4, 5, 6, 7}])
def test_a_sparse_file_that_shrinks_between_blocks(data: set[int]) -> None:
    """Though where its data and holes were is known from the first block."""
    blocks = tuple(Block(str(n), 4 * PAGE, 4 * n * PAGE) for n in range(4))
    with memory_file() as path:
        sparse(path, 16 * PAGE, data)
        with open_image(path, layout=blocks) as image:
            assert [page for page, _ in pages_of(image, 0)] == [0, 1, 2, 3]
            os.truncate(path, 6 * PAGE)
            with pytest.raises(ImageError, match="became shorter while it was read"):
                list(image.runs(1))


def test_blocks_ask_once_for_the_hole_that_all_lie_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a tmpfs each question walks to the answer."""
    asked = []
    seek = os.lseek

    def counting(fd: int, position: int, whence: int) -> int:
        asked.append(whence)
        return seek(fd, position, whence)

    blocks = tuple(Block(str(n), FS_BLOCK, n * FS_BLOCK) for n in range(64))
    with memory_file() as path:
        sparse(path, 64 * FS_BLOCK, set(range(63)))
        with open_image(path, layout=blocks) as image:
            monkeypatch.setattr(os, "lseek", counting)
            holes = [hole for block in range(64) for _, hole in pages_of(image, block)]
    pages = FS_BLOCK // PAGE
    assert holes == [False] * 63 * pages + [True] * pages
    assert asked.count(os.SEEK_HOLE) == 1


def seek_fails(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(fd: int, position: int, whence: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "lseek", fail)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_what_tells_no_holes_is_all_data(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with memory_file() as path:
        sparse(path, 9 * PAGE, {3})
        with open_image(path) as image:
            seek_fails(monkeypatch, number)
            assert pages_of(image, 0) == [(page, False) for page in range(9)]


def test_a_file_that_cannot_be_read_is_no_hole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with memory_file() as path:
        sparse(path, 9 * PAGE, {3})
        with open_image(path) as image:
            seek_fails(monkeypatch, errno.EIO)
            with pytest.raises(ImageError, match=r"cannot be read: Input/output error"):
                list(image.runs(0))


# --- What is no image -----------------------------------------------------------------


@pytest.mark.parametrize("page_size", [0, 1, 2048, 4095, 12288, 131072])
def test_page_sizes(page_size: int) -> None:
    with (
        memory_file(bytes(PAGE)) as path,
        pytest.raises(ImageError, match=r"is none of 4.* KiB, .*, 64.* KiB"),
    ):
        open_image(path, page_size=page_size)


def test_sizes_that_fit_no_page() -> None:
    with memory_file(bytes(PAGE + 1)) as path:
        with pytest.raises(ImageError, match=r"4097 bytes, .* or --pad to fill up"):
            open_image(path)
        with open_image(path, pad=True) as image:
            assert image.pages == 2


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a directory"):
        open_image(str(tmp_path))
    with pytest.raises(ImageError, match="cannot be opened: No such file"):
        open_image(str(tmp_path / "absent"))
    with memory_file() as path, pytest.raises(ImageError, match="is empty"):
        open_image(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(PAGE))
    path.chmod(0)
    with pytest.raises(ImageError, match="cannot be opened: Permission denied"):
        open_image(str(path))


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [
        ((PAGE, PAGE), "its blocks take 8192; correct --block"),
        ((3 * PAGE, -PAGE), "no positive multiple"),
        ((2 * PAGE + 5, PAGE - 5), "no positive multiple"),
        ((0, 3 * PAGE), "no positive multiple"),
    ],
)
def test_blocks_that_do_not_fit(lengths: tuple[int, ...], sentence: str) -> None:
    layout = [Block(f"b{i}", length, i << 20) for i, length in enumerate(lengths)]
    refuse_layout(layout, sentence)


def refuse_layout(layout: list[Block], sentence: str, page_size: int = PAGE) -> None:
    with (
        memory_file(bytes(3 * 16 * PAGE)) as path,
        pytest.raises(LayoutError, match=sentence),
    ):
        open_image(path, layout=layout, page_size=page_size)


def test_blocks_of_one_name() -> None:
    layout = [Block("ram", PAGE, 0), Block("rom", PAGE, PAGE), Block("ram", PAGE, 0)]
    refuse_layout(layout, "two blocks have the name ram; correct --block")


@pytest.mark.parametrize("name", ["", "n" * 65536, "é" * 32768, "\udcff"])
def test_block_names_that_no_stream_could_have(name: str) -> None:
    """The last one stands for a byte on the command line that is no UTF-8."""
    layout = [Block(name, 3 * 16 * PAGE, 0)]
    refuse_layout(
        layout, "a block's name has 1 to 65535 bytes of UTF-8, and '.*correct"
    )


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (Block("b", PAGE, 7 * PAGE), "blocks a and b overlap at guest address 0x7000"),
        (Block("b", 3 * PAGE, 2 * PAGE), "blocks b and a overlap at .* 0x4000"),
        (Block("b", PAGE, 5), "b starts at 0x5, where no page of 4096 bytes begins"),
        (Block("b", 2 * PAGE, (1 << 64) - PAGE), "ends at 0x10000000000001000, beyond"),
    ],
)
def test_blocks_where_none_can_be(second: Block, sentence: str) -> None:
    refuse_layout([Block("a", 4 * PAGE, 4 * PAGE), second], sentence)


def test_a_block_begins_a_page_of_the_guests_size() -> None:
    layout = [Block("a", 16 * PAGE, 0), Block("b", 16 * PAGE, 17 * PAGE)]
    refuse_layout(layout, "where no page of 65536 bytes begins", 16 * PAGE)


# --- Files that cannot be mapped ---------------------------------------------------


@pytest.fixture
def open_files() -> Iterator[None]:
    """Fails when a file stays open."""
    # The listing itself takes a number, which is the same both times.
    before = set(Path("/proc/self/fd").iterdir())
    yield
    assert set(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.usefixtures("open_files")
def test_a_file_that_shrinks_before_it_is_mapped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with memory_file(bytes(4 * PAGE)) as path:
        monkeypatch.setattr(file, "_size", lambda fd: 8 * PAGE)
        with pytest.raises(ImageError, match="cannot be mapped"):
            open_image(path)


def test_a_device_has_no_length_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmap() finds out the length of files only: it must be told."""
    lengths = []
    real = mmap.mmap

    def spy(fd: int, length: int, *, access: int) -> mmap.mmap:
        lengths.append(length)
        return real(fd, length, access=access)

    monkeypatch.setattr("mmap.mmap", spy)
    with memory_file(bytes(4 * PAGE)) as path, open_image(path) as image:
        assert image.page_map is not None
    assert lengths == [4 * PAGE]


# --- Pipes --------------------------------------------------------------------------


def piped(data: bytes) -> str:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return f"/proc/self/fd/{reading}"


def test_a_pipe_has_no_length() -> None:
    path = piped(bytes(PAGE))
    with open_image(path) as image:
        assert (image.pages, image.page_map) == (None, None)
        assert image.blocks[0].length == UNKNOWN_LENGTH
    os.close(int(path.rpartition("/")[2]))


@pytest.mark.parametrize(
    ("size", "pad", "layout", "sentence"),
    [
        (0, False, (), "is empty"),
        (PAGE + 1, False, (), "4097 bytes, which is no multiple"),
        (PAGE, False, (2 * PAGE,), "the 8192 bytes that its blocks take"),
        (3 * PAGE, False, (2 * PAGE,), "the 8192 bytes that its blocks take"),
        (2 * PAGE + 1, True, (2 * PAGE,), "the 8192 bytes that its blocks take"),
    ],
)
@pytest.mark.parametrize("dedup", [False, True])
def test_pipes_that_bring_something_else(
    size: int, pad: bool, layout: tuple[int, ...], sentence: str, dedup: bool
) -> None:
    path = piped(b"\1" * size)
    blocks = [Block("ram", length, 0) for length in layout]
    with (
        open_image(path, pad=pad, layout=blocks) as image,
        pytest.raises(ImageError, match=sentence),
    ):
        compress(image, None, Choice(dedup=dedup))
    os.close(int(path.rpartition("/")[2]))


@pytest.mark.usefixtures("open_files")
def test_a_spooled_pipe_can_be_mapped() -> None:
    data = make_pages("rows", "zero", "noise")
    path = piped(data)
    with open_image(path) as image, spool(image) as copy:
        assert copy.page_map is not None
        assert copy.pages == 3
        assert os.pread(copy.fd, len(data), 0) == data
        assert stat.S_ISREG(os.fstat(copy.fd).st_mode)
    os.close(int(path.rpartition("/")[2]))


@pytest.mark.usefixtures("open_files")
def test_spooled_standard_input_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    path = piped(make_pages("rows"))
    before, reading = os.dup(0), int(path.rpartition("/")[2])
    os.dup2(reading, 0)
    os.close(reading)
    try:
        with open_image("-") as image, spool(image) as copy:
            assert copy.path == "-"
        assert os.fstat(0)
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_no_room_for_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: object) -> int:
        raise OSError(28, os.strerror(28))

    path = piped(make_pages("rows"))
    with open_image(path) as image:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(ImageError, match=r"No space left.*; set TMPDIR") as caught:
            spool(image)
        monkeypatch.undo()
    assert tempfile.gettempdir() in str(caught.value)
    os.close(int(path.rpartition("/")[2]))
