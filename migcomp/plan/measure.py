# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a sample's pages come to: bytes, and CPU time of the threads that compress."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import pairwise

from migcomp import _core
from migcomp.codecs import open_codec
from migcomp.confidence import quantile
from migcomp.plan.sample import Sample
from migcomp.precopy.costs import Costs, Work
from migcomp.precopy.courier import Courier
from migcomp.precopy.framing import packet_pages

_CHANNELS = 2  # multifd's default


@dataclass(frozen=True)
class Part:
    """A cluster: of its ``pages`` so many are ``zero``; the others came to ``size``
    bytes, without any framing, in ``ns`` of CPU time."""

    pages: int
    zero: int
    size: int
    ns: int

    @property
    def content(self) -> int:
        return self.pages - self.zero

    @property
    def page_bytes(self) -> float:
        """Of a page that is not zero."""
        return self.size / max(self.content, 1)

    @property
    def page_ns(self) -> float:
        return self.ns / max(self.content, 1)


@dataclass(frozen=True)
class Measurement:
    """``sampled``: the share of the whole that the parts are."""

    parts: tuple[Part, ...]
    sampled: float

    @cached_property
    def whole(self) -> Part:
        """All parts as one."""
        return Part(
            *(sum(amounts) for amounts in zip(*map(astuple, self.parts), strict=True))
        )

    def as_one(self) -> Measurement:
        """Without where what is."""
        return Measurement((self.whole,), self.sampled)

    @property
    def zero_share(self) -> float:
        return self.whole.zero / self.whole.pages

    @property
    def page_bytes(self) -> float:
        """Of a page that is not zero."""
        return self.whole.page_bytes

    @property
    def page_ns(self) -> float:
        return self.whole.page_ns

    def uncertainty(self, values: Iterable[float]) -> float | None:
        """Half of the 95 % confidence interval of the sum of ``values``, of which
        each part has one, as a share of it; None if one part is all there is to tell
        from.

        Each part comes from a stratum of its own, so the variance is estimated from
        the differences of neighbours (Wolter, Introduction to Variance Estimation,
        chapter 8).
        """
        drawn = [*values]
        number, mean = len(drawn), sum(drawn) / len(drawn)
        rest = 1 - self.sampled
        if not mean or rest <= 0:
            return 0.0
        if number < 2:
            return None
        squares = sum((b - a) ** 2 for a, b in pairwise(drawn))
        variance = squares / (2 * (number - 1))
        deviation = math.sqrt(variance / number * rest)
        return quantile(number - 1) * deviation / mean


class Measurer:
    """Tries codecs on one sample."""

    def __init__(self, sample: Sample, costs: Costs) -> None:
        self._memory, self._costs = sample.memory, costs
        self._sampled = sample.share
        zero = bytes(self._memory.page_size)
        self._contents = [
            [page for page in cluster if self._memory.read(page) != zero]
            for cluster in sample.clusters
        ]
        self._zeros = [
            len(cluster) - len(content)
            for cluster, content in zip(sample.clusters, self._contents, strict=True)
        ]

    def as_they_are(self) -> Measurement:
        size = self._memory.page_size
        return self._measurement((len(c) * size, 0) for c in self._contents)

    def compressed(self, work: Work) -> Measurement:
        """Raises CodecUnavailable and WorkerError."""
        # QEMU has libz; that it keeps a history is how it is told from others.
        codec = open_codec(work.codec, level=work.level, grouping="stream")
        size = self._memory.page_size
        together = packet_pages(size)
        sums = [[0, 0] for _ in self._contents]
        owners: list[int] = []

        def groups() -> Iterator[tuple[Sequence[int], int]]:
            for number, content in enumerate(self._contents):
                for at in range(0, len(content), together):
                    owners.append(number)
                    # Packets take turns, whose histories are of others between them.
                    yield content[at : at + together], len(owners) % _CHANNELS

        with Courier(codec, work.grouping, size, together, _CHANNELS) as courier:
            carried_groups = courier.carry(self._memory, None, groups())
            for index, carried in enumerate(carried_groups):
                kinds = carried.zero, carried.compressed, carried.normal
                part = sums[owners[index]]
                part[0] += carried.size
                part[1] += self._costs.of(work, *kinds, carried.cpu_ns)
        return self._measurement(tuple(part) for part in sums)

    def _measurement(self, sums: Iterable[Sequence[int]]) -> Measurement:
        parts = (
            Part(len(content) + zero, zero, *amounts)
            for content, zero, amounts in zip(
                self._contents, self._zeros, sums, strict=True
            )
        )
        return Measurement(tuple(parts), self._sampled)


def measure(
    sample: Sample,
    works: Iterable[Work | None],
    costs: Costs,
    watch: Callable[[str], None] = lambda doing: None,
) -> dict[Work | None, Measurement]:
    """By work, of which None leaves pages as they are; each is tried once.  ``watch``
    is told what is being done.  Raises CodecUnavailable and WorkerError."""
    measurer = Measurer(sample, costs)
    found: dict[Work | None, Measurement] = {}
    for work in dict.fromkeys(works):
        watch(f"measuring {work or 'pages as they are'}")
        found[work] = measurer.compressed(work) if work else measurer.as_they_are()
    return found


@dataclass(frozen=True)
class Deltas:
    """What XBZRLE makes of pages that the guest changed.

    ``hit_bytes``: of a page whose older content is in the cache, headers included;
    ``hit_ns`` and ``miss_ns``: CPU time of the migration thread.
    """

    hit_bytes: float
    hit_ns: float
    miss_ns: float


def measure_deltas(before: Sample, after: Sample, header: int) -> Deltas:
    """Page *i* of ``before`` became page *i* of ``after``.  ``header``: bytes before
    a delta, and before a page that is sent as it is those of a record are less."""
    memory, later = before.memory, after.memory
    size, pages = memory.page_size, memory.pages
    numbers = struct.pack(f"={pages}Q", *range(pages))
    room = 1 << max(pages * size * 2 - 1, size).bit_length()
    cache = _core.XbzrleCache(room, size)
    *_, miss_ns = cache.save(memory.buffer, numbers, 1, False)
    classes, sizes, _, hit_ns = cache.save(later.buffer, numbers, 2, False)
    total = sum(array("I", sizes)) + header * (
        pages - classes.count(_core.XBZRLE_UNCHANGED)
    )
    return Deltas(total / pages, hit_ns / pages, miss_ns / pages)
