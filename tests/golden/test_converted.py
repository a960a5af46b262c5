# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images in other programs' formats, as convert once wrote them.

``python -m tests.golden.test_converted`` writes those files that are not there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from migcomp.convert.convert import Wish, convert
from migcomp.images.decode import readable_again
from migcomp.images.open import open_image
from migcomp.outputs import OutputFile
from migcomp.results import Block
from tests.conftest import PAGE, make_pages, memory_file

FOLDER = Path(__file__).parent / "converted"
MEMORY = make_pages("text", "zero", ("rows", 1), "same", "zero", ("noise", 2))
LAYOUT = (Block("pc.ram", 4 * PAGE, 0), Block("rom", 2 * PAGE, 0xFFFC0000))
FORMATS = ("seekable-zstd", "lime", "elf", "kdump")
every = pytest.mark.parametrize("to", FORMATS)


def write(to: str, target: Path) -> None:
    kdump = to == "kdump"  # whose bitmaps grow with the addresses
    low = (LAYOUT[0], Block("rom", 2 * PAGE, 0xC0000))
    with (
        memory_file(MEMORY) as path,
        open_image(path, layout=low if kdump else LAYOUT) as image,
        OutputFile(str(target)) as sink,
    ):
        convert(image, sink, to, Wish("none" if kdump else None))


@every
def test_they_are_read_as_ever(to: str) -> None:
    with (
        open_image(str(FOLDER / to)) as image,
        readable_again(image) as copy,
    ):
        assert image.format == to
        assert copy.read(0, 6) == MEMORY


@every
def test_they_are_written_as_ever(to: str, tmp_path: Path) -> None:
    """To the byte without a codec; with one, all but what its library made."""
    write(to, tmp_path / to)
    new, old = (tmp_path / to).read_bytes(), (FOLDER / to).read_bytes()
    if to == "seekable-zstd":
        # The frame's checksum, and of the seek table all but the frame's size.
        assert new[-33:-21] == old[-33:-21]
        assert new[-17:] == old[-17:]
    else:
        assert new == old


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in FORMATS:
        if not (FOLDER / name).exists():
            write(name, FOLDER / name)
