# SPDX-License-Identifier: LGPL-2.1-or-later
"""Spoiling good images, and reading them.

The mutations depend on the seed alone, so that what fails can be had again.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest

from migcomp.errors import ImageError, LayoutError
from migcomp.images.decode import decode
from migcomp.images.image import Image, Run
from migcomp.images.open import open_image
from tests.fuzz.formats import Format

#: Spoilt files of each format; CI asks for more.
RUNS = int(os.environ.get("MIGCOMP_FUZZ_RUNS", "1000"))
#: CPU time that reading one of these small files may take at most.
SECONDS = 20

_NUMBERS = (
    *(0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 4096, 1 << 20),
    *((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63, (1 << 64) - 1),
)
_WIDTHS = ("B", "H", "I", "Q")
_HEAD = 512  # where most of what is parsed lies
_PAGES_READ = 1024  # what a format says of its size may be absurd


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


def survive(format: Format, folder: Path, runs: int = RUNS) -> Tally:
    """Opens and reads spoilt copies, one after the other, in ``folder``.

    Whatever is raised but ImageError fails, with the file's number.
    """
    tally = Tally()
    for number, data in enumerate(islice(mutations(format.seeds, seed=1), runs)):
        try:
            with _within(SECONDS):
                read_spoilt(format, data, folder, tally)
        except Exception as error:
            pytest.fail(f"spoilt file {number}: {type(error).__name__}: {error}")
    return tally


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it takes more than {seconds} s of CPU time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def read_spoilt(format: Format, data: bytes, folder: Path, tally: Tally) -> None:
    """Opens and reads one file, which must end in pages or in an ImageError that
    names a file."""
    path, options = format.lay(folder, data)
    try:
        image = _open(path, options)
    except ImageError as error:
        _must_name(folder, error)
        tally.refused += 1
        return
    with image:
        try:
            _read_pages(image)
            tally.read += 1
        except ImageError as error:
            _must_name(folder, error)
            tally.spoilt += 1


def _open(path: Path, options: Mapping[str, Any]) -> Image:
    return open_image(str(path), **options)


def _must_name(folder: Path, error: ImageError) -> None:
    sentence = str(error)
    named = str(folder) in sentence or isinstance(error, LayoutError)  # no file's fault
    if not named or "\n" in sentence:
        raise AssertionError(f"no sentence that names a file: {sentence!r}")


def _read_pages(image: Image) -> None:
    """All that are not zero, up to a bound."""
    assert image.blocks
    assert all(block.length > 0 for block in image.blocks)
    assert all(block.name.isprintable() for block in image.blocks)
    repr(image.facts)
    runs = list(_some_runs(image))
    if image.page_map is not None and image.page_map.encoded:
        decode(image, runs, lambda request: None, threads=1)
        return
    for run in runs:
        data = image.read(run.first_page, run.pages)
        assert len(data) == run.pages * image.page_size


def _some_runs(image: Image) -> Iterator[Run]:
    left = _PAGES_READ
    for block in range(len(image.blocks)):
        for run in image.runs(block):
            pages = 0 if run.hole else min(run.pages, left)
            if pages:
                yield Run(run.first_page, pages, hole=False)
            left -= max(pages, 1)
            if left <= 0:
                return
