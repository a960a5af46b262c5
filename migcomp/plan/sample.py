# SPDX-License-Identifier: LGPL-2.1-or-later
"""Part of an image that stands for all of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from random import Random

from migcomp.errors import ImageError
from migcomp.images.image import Image
from migcomp.precopy.memory import GuestMemory, check_whole
from migcomp.results import Block

#: Pages that are taken from one place, and pages that are looked at together: about
#: two packets of multifd, for whose compression it matters how many there are.
RUN_PAGES, CLUSTER_PAGES = 32, 256


@dataclass(frozen=True)
class Sample:
    """``clusters`` are ranges of ``memory``'s pages; of ``image_pages`` pages there
    are in the image.  The caller closes ``memory``."""

    memory: GuestMemory
    clusters: tuple[range, ...]
    image_pages: int

    @property
    def pages(self) -> int:
        return self.memory.pages

    @property
    def share(self) -> float:
        return self.pages / self.image_pages

    @property
    def content_pages(self) -> int:
        """Those of the sample that are not zero."""
        zero = bytes(self.memory.page_size)
        return sum(self.memory.read(page) != zero for page in range(self.pages))

    @property
    def complete(self) -> bool:
        return self.pages == self.image_pages


#: Of a larger image at least two runs are taken.
PAGES_LEAST = 2 * RUN_PAGES


def take_sample(image: Image, pages_most: int, seed: int) -> Sample:
    """About ``pages_most`` pages, PAGES_LEAST or more, of an image that can be read at
    any time.

    It is cut into strata of equal size, and of each a run of pages is taken, at a
    place drawn by lot; those of neighbouring strata make up a cluster.  A small image
    is taken whole.  Raises ImageError.
    """
    pages = image.pages
    if not pages:
        raise ImageError(f"{image.path}: is empty; there is nothing to migrate")
    check_whole(image)
    length = CLUSTER_PAGES
    starts: Sequence[int] = range(0, pages, length)
    if pages > pages_most:
        length = RUN_PAGES
        starts = _drawn(pages, pages_most // length, seed)
    lengths = [min(length, pages - start) for start in starts]
    runs = (image.read(*run) for run in zip(starts, lengths, strict=True))
    together = CLUSTER_PAGES // length
    return sample_of(
        image.path,
        image.page_size,
        sum(lengths),
        (b"".join(several) for several in _batched(runs, together)),
        pages,
    )


def _drawn(pages: int, number: int, seed: int) -> list[int]:
    """Where runs start."""
    lot, bounds = Random(seed), [pages * i // number for i in range(number + 1)]
    return [
        lot.randrange(low, max(high - RUN_PAGES, low) + 1)
        for low, high in pairwise(bounds)
    ]


def sample_of(
    path: str,
    page_size: int,
    pages: int,
    contents: Iterable[bytes],
    image_pages: int,
) -> Sample:
    """Clusters with that content, of so many ``pages`` together.  ``path`` names it
    in messages.  Raises ImageError."""
    memory = GuestMemory(path, (Block("sample", pages * page_size, 0),), page_size)
    clusters, first = [], 0
    try:
        for content in contents:
            memory.write(first, content)
            clusters.append(range(first, first + len(content) // page_size))
            first = clusters[-1].stop
    except BaseException:
        memory.close()
        raise
    return Sample(memory, tuple(clusters), image_pages)


def _batched(runs: Iterator[bytes], together: int) -> Iterator[list[bytes]]:
    while several := [*islice(runs, together)]:
        yield several
