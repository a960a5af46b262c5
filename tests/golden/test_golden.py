# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams of every format version, kept for ever."""

from __future__ import annotations

import pytest

from migcomp.restore import verify
from migcomp.stream.reader import open_stream
from tests.conftest import memory_file, restored, salvaged
from tests.golden.make import FOLDER, GOLDEN, Golden
from tests.stream_anatomy import decode

every = pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)


def test_all_are_there_and_small() -> None:
    paths = sorted(FOLDER.glob("*.migc"))
    assert paths == sorted(golden.path for golden in GOLDEN.values())
    assert all(path.stat().st_size <= 22 << 10 for path in paths)


@every
def test_they_are_read_as_ever(golden: Golden) -> None:
    stream = golden.path.read_bytes()
    assert restored(stream, threads=2) == golden.image()
    assert salvaged(stream) == (golden.image(), set())
    assert decode(stream).image == golden.image()
    with memory_file(stream) as path, open_stream(path) as reader:
        assert verify(reader).image_bytes == len(golden.image())


@every
def test_they_are_written_as_ever(golden: Golden) -> None:
    """To the byte without a codec; with one, as far as its library goes along."""
    stream, now = golden.path.read_bytes(), golden.stream()
    if golden.choice.codec == "none":
        assert now == stream
    else:
        assert decode(now).counts == decode(stream).counts
        assert decode(now).lengths == decode(stream).lengths
