# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our own streams wherever an image is wanted."""

from __future__ import annotations

import pytest

from migcomp.choice import Choice
from migcomp.errors import ImageError
from migcomp.images.open import open_image
from migcomp.restore import verify
from migcomp.results import Block
from migcomp.stream.reader import open_stream
from tests.conftest import (
    PAGE,
    compressed,
    make_pages,
    memory_file,
    piped,
    restored,
)

DATA = make_pages("rows", "zero", "noise", "rows", "zero", "text")
LAYOUT = [Block("low", 2 * PAGE, 0), Block("high", 4 * PAGE, 1 << 32)]
STREAM, _ = compressed(DATA, Choice(dedup=True), layout=LAYOUT)


def test_a_stream_is_an_image() -> None:
    with memory_file(STREAM) as path, open_image(path) as image:
        assert (image.format, image.blocks) == ("migcomp", tuple(LAYOUT))
        assert image.read(0, 6) == DATA
        assert image.facts["grouping"] == "packet"
    with piped(STREAM) as path, open_image(path) as image:
        assert image.read(0, 6) == DATA


@pytest.mark.parametrize("dedup", [False, True])
@pytest.mark.parametrize("tail", [0, 1, PAGE - 1])
def test_a_stream_of_a_stream(dedup: bool, tail: int) -> None:
    data = DATA[: len(DATA) - tail]
    stream, _ = compressed(data, Choice(codec="lz4"), pad=True)
    again, result = compressed(stream, Choice(codec="zlib", dedup=dedup))
    assert restored(again) == data
    assert result.image_bytes == len(data)
    with (
        memory_file(again) as path,
        memory_file(stream) as other,
        open_stream(path) as reader,
        open_image(other) as image,
    ):
        verify(reader, image)


def test_the_stream_tells_its_page_size() -> None:
    stream, _ = compressed(DATA[: 4 * PAGE], Choice(), page_size=4 * PAGE)
    with memory_file(stream) as path, open_image(path) as image:
        assert (image.page_size, image.pages) == (4 * PAGE, 1)


def test_damaged_streams() -> None:
    for spoilt in (STREAM[:-30], STREAM[:300] + b"?" + STREAM[301:], STREAM[:9]):
        with memory_file(spoilt) as path, pytest.raises(ImageError, match=path):
            open_image(path)
