# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's RAM that can be written: the source's and the destination's."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

from migcomp import _core
from migcomp.errors import ImageError
from migcomp.images.decode import readable_again
from migcomp.images.file import no_room_for_copy
from migcomp.images.image import Image
from migcomp.results import Block

_COPY_BYTES = 4 << 20
#: A simulation has two memories, and this machine other things to do.
_AMPLE = 3


def _available_memory() -> int:
    """Bytes, as the kernel estimates them; 0 where it does not."""
    with suppress(OSError), Path("/proc/meminfo").open(encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0


def check_whole(image: Image) -> None:
    """Raises ImageError for one that ends within a page, which no guest's does."""
    size = image.page_size
    for block in image.blocks:
        if block.length % size:
            raise ImageError(
                f"{image.path}: its last page is cut off after "
                f"{block.length % size} of {size} bytes, and a guest's is not; "
                "capture it again, or give another --page-size"
            )


def runs(pages: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Consecutive pages: (the first, how many)."""
    if pages and pages[-1] - pages[0] == len(pages) - 1:
        yield pages[0], len(pages)
        return
    for _, run in groupby(enumerate(pages), key=lambda pair: pair[1] - pair[0]):
        numbers = [page for _, page in run]
        yield numbers[0], len(numbers)


class GuestMemory:
    """``pages`` pages of ``page_size`` bytes; page *i* lies at ``i * page_size``.

    Kept in memory where there is ample, and pages never written take none; else in an
    unnamed file in ``$TMPDIR``, as large as the guest, so that one larger than this
    machine can be simulated.  Pages are numbered through the blocks, as in an
    :class:`~migcomp.images.image.Image`.
    """

    def __init__(self, path: str, blocks: Sequence[Block], page_size: int) -> None:
        """All zero.  ``path`` names it in messages.  Raises ImageError."""
        self.path = path
        self.blocks = tuple(blocks)
        self.page_size = page_size
        size = sum(block.length for block in blocks)
        self.pages = size // page_size
        if size * _AMPLE <= _available_memory():
            self.buffer = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            return
        with tempfile.TemporaryFile(buffering=0) as file:
            try:
                # Stored to, a page that the disk has no room for would be a SIGBUS.
                os.posix_fallocate(file.fileno(), 0, size)
                self.buffer = mmap.mmap(file.fileno(), size)
            except OSError as error:
                raise no_room_for_copy(path, error) from error

    @classmethod
    def copy_of(
        cls, image: Image, copied: Callable[[int], None] = lambda pages: None
    ) -> Self:
        """``copied`` is told how many pages were: of an image whose pages are
        encoded, twice.  Raises ImageError."""
        again = readable_again(image, copied)
        try:
            check_whole(again)
            memory = cls(image.path, again.blocks, image.page_size)
            memory._fill(again, copied)
        finally:
            if again is not image:
                again.__exit__(None, None, None)
        return memory

    def _fill(self, image: Image, copied: Callable[[int], None]) -> None:
        step = _COPY_BYTES // self.page_size
        for block in range(len(image.blocks)):
            for run in image.runs(block):
                end = run.first_page if run.hole else run.first_page + run.pages
                for first in range(run.first_page, end, step):
                    self.write(first, image.read(first, min(step, end - first)))
                    copied(first)

    def read(self, first_page: int, pages: int = 1) -> bytes:
        at = first_page * self.page_size
        return self.buffer[at : at + pages * self.page_size]

    def write(self, first_page: int, data: bytes | memoryview) -> None:
        at = first_page * self.page_size
        self.buffer[at : at + len(data)] = data

    def first_difference(self, other: GuestMemory) -> int | None:
        """The number of the first page that differs, of memories of one size."""
        step = _COPY_BYTES // self.page_size
        for first in range(0, self.pages, step):
            if self.read(first, step) != other.read(first, step):
                for page in range(first, self.pages):
                    if self.read(page) != other.read(page):
                        return page
        return None

    def page_map(self, pages: Sequence[int]) -> _core.PageMap:
        """The pages with the given numbers, ascending, one after the other.

        What is written to them later is seen through the map.
        """
        extents = []
        first = 0
        for page, number in runs(pages):
            extents.append((first, number, page * self.page_size))
            first += number
        return _core.PageMap(
            self.buffer, extents, self.page_size, True, pages=len(pages)
        )

    def close(self) -> None:
        self.buffer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
