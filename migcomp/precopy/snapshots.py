# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that does what a series of snapshots shows that it did."""

from __future__ import annotations

import json
import math
import os
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import FileIO
from itertools import pairwise
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from migcomp.errors import ImageError
from migcomp.images.decode import readable_again
from migcomp.images.file import no_room_for_copy
from migcomp.images.image import Image
from migcomp.images.open import open_image
from migcomp.precopy.dirty import DirtySource
from migcomp.precopy.memory import GuestMemory
from migcomp.small_file import read_small

_NS = 10**9
_SECONDS_MIN = 0.001
#: Compared at once: most parts of two snapshots are equal.
_PIECE_BYTES = 256 << 10

#: As migcomp capture names it.
_NOTES = "capture.json"
_NOTES_MAX = 16 << 20  # bytes
#: What is raised over notes that it did not write.
_MALFORMED = (ValueError, KeyError, TypeError, OverflowError, RecursionError)

_CHANGED = bytes([0]) + bytes([255]) * 255


@dataclass(frozen=True, slots=True)
class _Step:
    """From one snapshot to the next.  The file of changes has from ``start`` on each
    page's old and new content; ``order`` is that in which they are written."""

    start: int
    pages: array[int]
    order: array[int]


class Snapshots(DirtySource):
    """The pages in which two consecutive snapshots differ get the later one's content
    one after the other, evenly in the time between, in an order drawn by lot (the
    seed is the step's number): when a page was written a snapshot does not tell.

    After the last snapshot the steps begin anew with the same pages, in the same
    order, at the same times.  The bytes that a step changed become others then: in
    the n-th repetition every one that is not zero is n more than in the snapshot,
    255 being followed by 1.  So the number of changed bytes stays, and about how
    well they compress.
    """

    def __init__(
        self,
        paths: Sequence[str],
        seconds: Sequence[float],
        open_one: Callable[[str], Image] = open_image,
    ) -> None:
        """``seconds``: from each to the next.  Raises ImageError."""
        if len(paths) < 2 or len(seconds) != len(paths) - 1:
            raise ValueError("two snapshots or more, and the seconds between them")
        if min(seconds) < _SECONDS_MIN:
            raise ImageError(
                f"between two snapshots {min(seconds):g} s passed; to tell what the "
                "guest does, it must be a millisecond or more"
            )
        self._paths = paths
        self._lengths = [round(each * _NS) for each in seconds]
        self._open_one = open_one
        #: Is told how many pages of two snapshots have been read, which takes place
        #: when their time has come.
        self.compared: Callable[[int], None] = lambda _pages: None
        self._steps: list[_Step] = []
        self._image: Image | None = None  # the one that the next new step starts from
        with tempfile.TemporaryFile(buffering=0) as file:
            self._changes = FileIO(os.dup(file.fileno()), "r+b")
        self._number = 0  # of the step, counted through the repetitions
        self._done = 0  # pages of it
        self._passed = 0  # nanoseconds of it

    @property
    def description(self) -> str:
        seconds = sorted({length / _NS for length in self._lengths})
        apart = f"{seconds[0]:.3g}"
        if len(seconds) > 1:
            apart += f" to {seconds[-1]:.3g}"
        return f"{len(self._paths)} snapshots, {apart} s apart"

    def memory(
        self, copied: Callable[[int], None] = lambda _pages: None
    ) -> GuestMemory:
        """The guest's, as the first snapshot has it; to be closed by the caller.
        ``copied`` is told how many pages were.  Raises ImageError."""
        with self._open_one(self._paths[0]) as image:
            return GuestMemory.copy_of(image, copied)

    def run(self, memory: GuestMemory, seconds: float) -> Sequence[int]:
        """Raises ImageError."""
        written: set[int] = set()
        self._passed += round(seconds * _NS)
        while True:
            step, length = self._step(), self._length()
            due = min(self._passed * len(step.pages) // length, len(step.pages))
            for index in step.order[self._done : due]:
                content = self._content(step, index, memory.page_size)
                memory.write(step.pages[index], content)
                written.add(step.pages[index])
            self._done = due
            if self._passed < length:
                return sorted(written)
            self._passed -= length
            self._number += 1
            self._done = 0

    def _length(self) -> int:
        return self._lengths[self._number % len(self._lengths)]

    def _step(self) -> _Step:
        number = self._number % len(self._lengths)
        if number == len(self._steps):
            self._steps.append(self._new_step(number))
        return self._steps[number]

    def _new_step(self, number: int) -> _Step:
        old = self._image or self._readable(number)
        self._image = None
        with old:
            new = self._readable(number + 1)
            try:
                step = self._compare(number, old, new)
            except BaseException:
                new.__exit__(None, None, None)
                raise
        self._image = new
        return step

    def _readable(self, number: int) -> Image:
        return readable(self._open_one, self._paths[number], self.compared)

    def _compare(self, number: int, old: Image, new: Image) -> _Step:
        start, pages = self._changes.seek(0, os.SEEK_END), array("Q")
        for page, before, after in changed_pages(old, new, self.compared):
            pages.append(page)
            try:
                self._changes.write(before + after)
            except OSError as error:
                raise no_room_for_copy(new.path, error) from error
        order = array("Q", range(len(pages)))
        Random(number).shuffle(order)
        return _Step(start, pages, order)

    def _content(self, step: _Step, index: int, size: int) -> bytes:
        start = step.start + 2 * size * index
        data = os.pread(self._changes.fileno(), 2 * size, start)
        return turned(data[:size], data[size:], self._number // len(self._lengths))

    def close(self) -> None:
        if self._image is not None:
            self._image.__exit__(None, None, None)
            self._image = None
        self._changes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def seconds_between(paths: Sequence[str], interval: float | None) -> list[float]:
    """From each to the next: the ``interval`` if it is given, else what was noted, else
    a second.  Raises ImageError for malformed notes."""
    noted = noted_seconds(paths) if interval is None else None
    return noted or [interval or 1.0] * (len(paths) - 1)


def noted_seconds(paths: Sequence[str]) -> list[float] | None:
    """That passed for the guest from each to the next, by what ``migcomp capture``
    notes beside a series of snapshots; None if there are no notes.

    Raises ImageError if they are malformed, do not have these snapshots, or if less
    than a millisecond passed.
    """
    notes = Path(paths[0]).parent / _NOTES
    try:
        text = read_small(str(notes), _NOTES_MAX, ImageError)
    except ImageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    try:
        noted = json.loads(text)
        taken = {Path(each["path"]).name: each for each in noted["images"]}
        known = [taken[Path(path).name] for path in paths]
        seconds = [
            float(after["taken"] - before["taken"])
            - (float(before["seconds"]) if noted["paused"] else 0.0)
            for before, after in pairwise(known)
        ]
        # NaN is in no range.
        if not all(_SECONDS_MIN <= each < math.inf for each in seconds):
            raise ValueError("time must pass")
    except _MALFORMED as error:
        raise ImageError(
            f"{notes} does not tell when the snapshots were taken; remove it, and give "
            "the seconds between them"
        ) from error
    return seconds


def _untold(_pages: int) -> None:
    pass


def readable(
    open_one: Callable[[str], Image],
    path: str,
    copied: Callable[[int], None] = _untold,
) -> Image:
    """The image, so that it can be read at any time.  ``copied`` is told how many
    pages had to be decoded for that.  Raises ImageError."""
    image = open_one(path)
    try:
        again = readable_again(image, copied)
    except BaseException:
        image.__exit__(None, None, None)
        raise
    if again is not image:
        image.__exit__(None, None, None)
    return again


def changed_pages(
    old: Image, new: Image, compared: Callable[[int], None] = _untold
) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, old and new content of the pages that differ, ascending; ``compared`` is
    told how many were looked at.

    Both can be read at any time.  Raises ImageError, also if they are not of the
    same guest.
    """
    size = old.page_size
    lengths = [block.length for block in old.blocks]
    if size != new.page_size or lengths != [block.length for block in new.blocks]:
        raise ImageError(
            f"{new.path} has other RAM blocks than {old.path}, and is no later "
            "snapshot of the same guest"
        )
    pages, step = old.pages or 0, _PIECE_BYTES // size
    for first in range(0, pages, step):
        compared(first)
        count = min(step, pages - first)
        before, after = old.read(first, count), new.read(first, count)
        if before == after:
            continue
        for at in range(0, count * size, size):
            if before[at : at + size] != after[at : at + size]:
                page = first + at // size
                yield page, before[at : at + size], after[at : at + size]


def turned(old: bytes, new: bytes, times: int) -> bytes:
    """``new``, whose bytes that ``old`` has not are turned on if they are not 0."""
    if not times:
        return new
    size = len(new)
    number = int.from_bytes(new)
    mask = (int.from_bytes(old) ^ number).to_bytes(size).translate(_CHANGED)
    changed = int.from_bytes(mask)
    other = int.from_bytes(new.translate(_turning(times % 255)))
    return (other & changed | number & ~changed).to_bytes(size)


@cache
def _turning(times: int) -> bytes:
    """The table by which bytes.translate turns what is not 0."""
    return bytes([0]) + bytes((byte + times) % 255 + 1 for byte in range(255))
