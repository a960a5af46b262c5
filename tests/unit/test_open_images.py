# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images of any format: chosen by content, from files and from pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path

import pytest

from migcomp import _core
from migcomp.choice import Choice
from migcomp.errors import ImageError, Mismatch
from migcomp.images import open as opening
from migcomp.images.decode import readable_again
from migcomp.images.file import ImageFile, open_file
from migcomp.images.image import Image
from migcomp.images.mapped import MappedImage
from migcomp.images.open import formats, open_image
from migcomp.images.signatures import SIGNATURES, Signature
from migcomp.pipeline import compress
from migcomp.restore import verify
from migcomp.results import Block
from migcomp.stream.reader import open_stream
from tests.conftest import PAGE, make_pages, memory_file, piped, restored
from tests.dump_files import lime
from tests.fuzz.formats import FORMATS

MAGIC = b"TURNED\r\n"
A, B, ZERO = (make_pages(kind) for kind in ("rows", "noise", "zero"))


class Turned:
    """A format of these tests: pages after a header, the last one first; then as
    many zero pages, which it does not have."""

    FORMAT = "turned"

    def open_file(self, file: ImageFile, page_size: int) -> Image:
        pages = ((file.size or 0) - len(MAGIC)) // page_size
        if not pages:
            raise ImageError(f"{file.path} has no pages")
        extents = [
            (n, 1, len(MAGIC) + (pages - 1 - n) * page_size) for n in range(pages)
        ]
        page_map = _core.PageMap(file.map(), extents, page_size, True, pages=2 * pages)
        block = Block("turned", 2 * pages * page_size, 0x1000)
        return MappedImage(file, self.FORMAT, [block], page_map, page_size, {})


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Signature("turned", "turned", lambda head: head.startswith(MAGIC))
    monkeypatch.setattr(opening, "SIGNATURES", (known,))
    monkeypatch.setitem(sys.modules, "migcomp.images.turned", Turned())


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda known: known.format)
def test_a_signature_names_the_reader_of_its_format(signature: Signature) -> None:
    reader = import_module(f"migcomp.images.{signature.reader}")
    assert signature.format == reader.FORMAT


@pytest.fixture
def open_files() -> Iterator[None]:
    """Fails when a file stays open."""
    before = set(Path("/proc/self/fd").iterdir())
    yield
    assert set(Path("/proc/self/fd").iterdir()) == before


def stream_of(path: str, choice: Choice) -> bytes:
    sink = BytesIO()
    with open_image(path) as image:
        compress(image, sink, choice)
    return sink.getvalue()


@pytest.mark.usefixtures("turned", "open_files")
@pytest.mark.parametrize("dedup", [False, True])
@pytest.mark.parametrize("through_pipe", [False, True])
def test_content_tells_the_format(dedup: bool, through_pipe: bool) -> None:
    data = MAGIC + A + B + A
    choice = Choice(dedup=dedup, packet_pages=1)
    if through_pipe:
        with piped(data) as path:
            stream = stream_of(path, choice)
    else:
        with memory_file(data) as path:
            stream = stream_of(path, choice)
    assert restored(stream) == A + B + A + ZERO * 3
    with (
        memory_file(stream) as packed,
        memory_file(data) as original,
        memory_file(MAGIC + A + B + B) as other,
        open_image(original) as image,
        open_image(other) as another,
    ):
        assert image.format == "turned"
        assert image.blocks == (Block("turned", 6 * PAGE, 0x1000),)
        assert [(r.first_page, r.pages, r.hole) for r in image.runs(0)] == [
            (0, 3, False),
            (3, 3, True),
        ]
        assert image.read(1, 4) == B + A + ZERO * 2
        with open_stream(packed) as reader:
            verify(reader, image)
        with (
            open_stream(packed) as reader,
            pytest.raises(Mismatch, match=r"in page 0$"),
        ):
            verify(reader, another)


@pytest.mark.usefixtures("turned", "open_files")
def test_what_is_wrong_with_it_is_said_once() -> None:
    with memory_file(MAGIC) as path, pytest.raises(ImageError, match="has no pages"):
        open_image(path)
    with piped(MAGIC) as path, pytest.raises(ImageError, match="has no pages"):
        open_image(path)
    with (
        memory_file(MAGIC + A) as path,
        pytest.raises(ImageError, match="of its own, being turned; leave out --block"),
    ):
        open_image(path, layout=[Block("ram", PAGE, 0)])


@pytest.mark.usefixtures("turned")
def test_the_format_can_be_named() -> None:
    assert formats() == ("raw", "turned")
    with memory_file(MAGIC + A[:-8] + A) as path:
        with open_image(path, format="raw") as image:
            assert (image.format, image.read(1, 1)) == ("raw", A)
        with open_image(path, format="turned") as image:
            assert image.format == "turned"
        with pytest.raises(ImageError, match="no format 'tape'; there are raw, turned"):
            open_image(path, format="tape")


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (b"\x1f\x8b\x08\0", "compressed by gzip; decompress it"),
        (b"BZh9", "compressed by bzip2"),
        (b"\xfd7zXZ\0", "compressed by xz"),
        (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
        (b"\x89LZO\0\r\n\x1a\n", "compressed by lzop"),
        (b"QFI\xfb\0\0\0\3", "qcow2 disk image"),
        (b"KDMV", "VMware disk image"),
    ],
)
def test_known_formats_that_are_none_of_ours(head: bytes, sentence: str) -> None:
    page = head.ljust(PAGE, b"\0")
    with memory_file(page) as path:
        with pytest.raises(ImageError, match=sentence):
            open_image(path)
        with open_image(path, format="raw") as image:
            assert image.pages == 1


@pytest.mark.parametrize("size", [1, 100, PAGE, PAGE + 1, 5 * PAGE - 1, 5 * PAGE])
@pytest.mark.parametrize("request_pages", [1, 2])
def test_a_pipe_loses_nothing_by_being_looked_into(
    size: int, request_pages: int
) -> None:
    data = make_pages("rows", "noise", "zero", "text", "rows")[:size]
    choice = Choice(grouping="page", request_pages=request_pages, packet_pages=2)
    sink = BytesIO()
    with piped(data) as path, open_image(path, pad=True) as image:
        compress(image, sink, choice)
    assert restored(sink.getvalue()) == data


def content(path: Path | str) -> tuple[Sequence[Block], bytes]:
    with open_image(str(path)) as image, readable_again(image) as again:
        return image.blocks, again.read(0, again.pages or 0)


#: Formats of one file that tells what it is.
ALONE = (
    *("qemu", "mapped-ram", "virsh-save", "elf", "kdump", "kdump-flattened", "lime"),
    *("avml", "vmware", "windows-dump", "migcomp", "seekable-zstd"),
)


@pytest.mark.parametrize("name", ALONE)
def test_every_format_comes_through_a_pipe(name: str, tmp_path: Path) -> None:
    """Also where its content is looked at once more."""
    for seed in FORMATS[name]().seeds:
        path = tmp_path / "image"
        path.write_bytes(seed)
        expected = content(path)
        with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
            assert cat.stdout is not None
            assert content(f"/proc/self/fd/{cat.stdout.fileno()}") == expected


def test_an_image_from_a_pipe_can_be_verified() -> None:
    data = make_pages("rows", "noise", "rows")
    with memory_file(data) as path:
        stream = stream_of(path, Choice(dedup=True))
    with (
        memory_file(stream) as packed,
        open_stream(packed) as reader,
        piped(data) as path,
        open_image(path) as image,
    ):
        assert verify(reader, image).pages.total == 3


def test_a_mapped_file_that_shrinks() -> None:
    fd = os.memfd_create("shrinks")
    os.write(fd, MAGIC + A + B)
    path = f"/proc/self/fd/{fd}"
    with Turned().open_file(open_file(path), PAGE) as image:
        os.truncate(fd, 0)
        with pytest.raises(ImageError, match="became shorter"):
            image.read(0, 1)
    os.close(fd)


class CountedBlocks(tuple[Block, ...]):
    """Counts how often they are gone through."""

    walks = 0

    def __iter__(self) -> Iterator[Block]:
        CountedBlocks.walks += 1
        return super().__iter__()


@pytest.mark.parametrize("format", ["raw", "lime"])
def test_finding_a_block_does_not_walk_through_all(format: str) -> None:
    """As many blocks as regions are allowed would take minutes."""
    page = make_pages("rows")
    layout = [Block(f"{n}", PAGE, 2 * n * PAGE) for n in range(50)]
    data = lime([(block.guest_address, page) for block in layout])
    options = {"layout": layout} if format == "raw" else {}
    with (
        memory_file(page * 50 if format == "raw" else data) as path,
        open_image(path, format=format, **options) as image,  # type: ignore[arg-type]
    ):
        image.blocks = CountedBlocks(image.blocks)  # type: ignore[misc]
        CountedBlocks.walks = 0
        runs = [run for number in range(50) for run in image.runs(number)]
        assert image.pages == len(runs) == 50
        assert [run.first_page for run in runs] == list(range(50))
    assert CountedBlocks.walks <= 1


def test_a_format_that_the_file_is_not_of() -> None:
    with memory_file(A + B) as path:
        for format in formats():
            if format == "raw":
                continue
            with pytest.raises(ImageError, match=f"begin as {format} does; leave out"):
                open_image(path, format=format)
