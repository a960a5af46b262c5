# SPDX-License-Identifier: LGPL-2.1-or-later
"""Spoiling good images, and reading them.

A format's test gives a few small good files to :func:`survive`.  The mutations
depend on the seed alone, so that what fails can be had again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

import pytest

from migcomp.errors import ImageError
from migcomp.images.decode import decode
from migcomp.images.image import Image, Run
from migcomp.images.open import open_image
from tests.conftest import memory_file

#: Spoilt files for each format in every CI run.
COUNT = 10_000

_NUMBERS = (
    *(0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 4096, 1 << 20),
    *((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63, (1 << 64) - 1),
)
_WIDTHS = ("B", "H", "I", "Q")
_HEAD = 512  # where most of what is parsed lies
_PAGES_READ = 16


@dataclass
class Tally:
    refused: int = 0  # when opened
    spoilt: int = 0  # when pages were read
    read: int = 0


def mutations(seeds: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Endlessly many spoilt copies."""
    rng = Random(seed)
    while True:
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            _spoil(data, rng, seeds)
        yield bytes(data)


def _spoil(data: bytearray, rng: Random, seeds: Sequence[bytes]) -> None:
    if not data:
        return
    end = len(data) if rng.random() < 0.5 else min(len(data), _HEAD)
    at = rng.randrange(end)
    size = min(rng.choice((1, 2, 4, 8, 16, 100, 1000, 5000)), len(data) - at)
    match rng.randrange(9):
        case 0:
            data[at] ^= 1 << rng.randrange(8)
        case 1:
            data[at] = rng.randrange(256)
        case 2 | 3 | 4:
            width = rng.choice(_WIDTHS)
            number = rng.choice((*_NUMBERS, len(data), len(data) - at))
            number &= (1 << 8 * struct.calcsize(f"<{width}")) - 1
            packed = struct.pack(rng.choice("<>") + width, number)
            data[at : at + len(packed)] = packed
        case 5:
            del data[at : at + size]
        case 6:
            to = rng.randrange(len(data))
            data[to:to] = data[at : at + size]
        case 7:
            del data[at:]
        case 8:
            other = rng.choice(seeds)
            data[at:] = other[rng.randrange(len(other)) :]


def survive(seeds: Sequence[bytes], count: int = COUNT, **options: object) -> Tally:
    """Opens and reads ``count`` spoilt copies; ``options`` are open_image's.

    Whatever is raised but ImageError fails, with the file's number.  So does a
    mutation that spoils nothing, or everything.
    """
    tally = Tally()
    for number, data in enumerate(islice(mutations(seeds, seed=1), count)):
        try:
            _read(data, tally, options)
        except Exception as error:
            pytest.fail(f"spoilt file {number}: {type(error).__name__}: {error}")
    assert tally.refused
    assert tally.read
    return tally


def _read(data: bytes, tally: Tally, options: dict[str, object]) -> None:
    with memory_file(data) as path:
        try:
            image = open_image(path, **options)  # type: ignore[arg-type]
        except ImageError as error:
            _must_name(path, error)
            tally.refused += 1
            return
        with image:
            try:
                _read_pages(image)
                tally.read += 1
            except ImageError as error:
                _must_name(path, error)
                tally.spoilt += 1


def _must_name(path: str, error: ImageError) -> None:
    if path not in str(error):
        raise AssertionError(f"{error} does not name the file")


def _read_pages(image: Image) -> None:
    """A few: what a format says of its size may be absurd."""
    assert image.blocks
    assert all(block.length > 0 for block in image.blocks)
    repr(image.facts)
    runs = [
        Run(run.first_page, min(run.pages, _PAGES_READ), run.hole)
        for run in islice(image.runs(0), _PAGES_READ)
    ]
    if image.page_map is not None and image.page_map.encoded:
        decode(image, runs, lambda request: None, threads=1)
        return
    for run in runs:
        assert len(image.read(run.first_page, run.pages)) == (
            run.pages * image.page_size
        )
