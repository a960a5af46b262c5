# SPDX-License-Identifier: LGPL-2.1-or-later
"""The model of a guest's writes that explains best what was seen of them.

What was seen are intervals, and the pages that were written in each.  By the model
a page of probability *p* is among those of an interval of *n* writes with
1 - (1 - p) ** n, whatever happened in the others; how many pages are to be
seen in one, two or more of the intervals follows, and is taken as the mean of a Poisson
distribution.  Size and skew of the working set are those that make the numbers that
were seen likeliest, of a grid that is made finer around the best; writes a second
are always such that as many pages are expected in all intervals together as there
were.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from migcomp.errors import ImageError
from migcomp.images.image import Image
from migcomp.images.open import open_image
from migcomp.images.qemu_recording import Recording
from migcomp.precopy.dirty_model import DirtyModel, Ranks, hit
from migcomp.precopy.replay import Replay
from migcomp.precopy.snapshots import changed_pages, readable

_SIZES, _SKEWS = 12, 9
_SKEW_MAX = 2.0
_REFINEMENTS = 3
#: So much likelier a skew must be than none: about what chance makes of it.
_EVIDENCE = 2.0
_SECONDS_MIN = 0.001
_ROUNDS_LEAST = 4  # which are two intervals
_TOO_LITTLE = (
    "what the guest writes cannot be modelled by fewer than three snapshots, "
    "or four rounds of a recording, or if nothing changed between them"
)


@dataclass(frozen=True)
class Interval:
    """``pages``: those written in it.  ``bytes_changed``: of all of them together;
    ``unchanged``: how many were written, and are what they were."""

    seconds: float
    pages: Sequence[int]
    bytes_changed: int
    unchanged: int = 0


def intervals_of_snapshots(
    paths: Sequence[str],
    seconds: Sequence[float],
    open_one: Callable[[str], Image] = open_image,
    compared: Callable[[int], None] = lambda _pages: None,
) -> Iterator[Interval]:
    """``seconds``: from each to the next; ``compared`` is told how many pages of two
    of them were read.  Raises ImageError."""
    for (old_path, new_path), length in zip(pairwise(paths), seconds, strict=True):
        with (
            readable(open_one, old_path, compared) as old,
            readable(open_one, new_path, compared) as new,
        ):
            pages, size = array("Q"), 0
            for page, before, after in changed_pages(old, new, compared):
                pages.append(page)
                size += _difference(before, after)
        yield Interval(length, pages, size)


def intervals_of_recording(path: str, bandwidth: float) -> list[Interval]:
    """What was sent in a round was written in the one before; that took as long as
    its bytes take at ``bandwidth`` (bytes a second).

    The last round also has what was written earlier and not yet sent: it is put
    together with the one before it.  Raises ImageError, also for fewer rounds than
    four.
    """
    with Recording(path) as recording:
        if recording.rounds < _ROUNDS_LEAST:
            raise ImageError(_TOO_LITTLE)
        lengths = [
            sum(record.size for record in recording.records(number)) / bandwidth
            for number in range(1, recording.rounds)
        ]
    with Replay(path) as replay, replay.memory() as memory:
        found = [_interval(length, replay.changes(memory)) for length in lengths]
    return [*found[:-2], _together(found[-2:])]


def _together(parts: Sequence[Interval]) -> Interval:
    return Interval(
        sum(each.seconds for each in parts),
        sorted({page for each in parts for page in each.pages}),
        sum(each.bytes_changed for each in parts),
        sum(each.unchanged for each in parts),
    )


def _interval(seconds: float, changes: Iterable[tuple[int, bytes, bytes]]) -> Interval:
    """``changes``: of each page its number, and its content before and after."""
    pages, size, unchanged = array("Q"), 0, 0
    for page, before, after in changes:
        pages.append(page)
        changed = _difference(before, after)
        size += changed
        unchanged += not changed
    return Interval(seconds, pages, size, unchanged)


def _difference(one: bytes, other: bytes) -> int:
    """Bytes in which they differ."""
    if one == other:
        return 0
    difference = int.from_bytes(one) ^ int.from_bytes(other)
    return len(one) - difference.to_bytes(len(one)).count(0)


def fit(intervals: Iterable[Interval], pages: int, seed: int = 0) -> DirtyModel:
    """``pages``: of the whole memory.

    Of one interval only, the working set's size cannot be told, and of two not its
    skew.  Snapshots do not show fake dirty pages; recordings do.  Bytes changed are
    the mean.  Raises ImageError for fewer than two intervals, or if nothing changed.
    """
    seen = [each for each in intervals if each.seconds >= _SECONDS_MIN]
    written = sum(len(each.pages) for each in seen)
    if len(seen) < 2 or not written:
        raise ImageError(_TOO_LITTLE)
    times = Counter(page for each in seen for page in each.pages)
    counts = Counter(times.values())
    evidence = _Evidence(
        [each.seconds for each in seen],
        written,
        [counts[n + 1] for n in range(len(seen))],
    )
    size, skew = _likeliest(evidence, len(times), pages)
    ranks = Ranks(size, skew)
    rate = ranks.distinct(evidence.writes(ranks))
    fake = sum(each.unchanged for each in seen)
    changed = written - fake
    mean = sum(each.bytes_changed for each in seen) / max(changed, 1)
    return DirtyModel(
        min(rate, size * 0.999), size, skew, max(round(mean), 1), fake / written, seed
    )


@dataclass(frozen=True)
class _Evidence:
    """``counts[n - 1]``: pages seen in n intervals."""

    seconds: list[float]
    written: int
    counts: list[int]

    def writes(self, ranks: Ranks) -> float:
        """A second, for as many pages as were written."""
        low, high = 0.0, 1.0
        while self._pages(ranks, high) < self.written and high < 1e9:
            low, high = high, 2 * high
        for _ in range(40):
            middle = (low + high) / 2
            if self._pages(ranks, middle) < self.written:
                low = middle
            else:
                high = middle
        return high

    def _pages(self, ranks: Ranks, writes: float) -> float:
        return sum(
            number * ranks.distinct(writes * seconds)
            for seconds, number in Counter(self.seconds).items()
        )

    def likelihood(self, ranks: Ranks) -> float:
        """Its logarithm, but for what does not depend on the ranks."""
        writes = self.writes(ranks)
        expected = [0.0] * (len(self.seconds) + 1)
        for pages, p in ranks.groups:
            # The probability of each number of intervals, one interval after another.
            numbers = [1.0]
            for seconds in self.seconds:
                chance = hit(p, writes * seconds)
                numbers = [
                    miss * (1 - chance) + before * chance
                    for miss, before in zip(
                        [*numbers, 0.0], [0.0, *numbers], strict=True
                    )
                ]
            for number, probability in enumerate(numbers):
                expected[number] += pages * probability
        return sum(
            seen * math.log(max(mean, 1e-300)) - mean
            for seen, mean in zip(self.counts, expected[1:], strict=True)
        )


def _likeliest(evidence: _Evidence, least: int, most: int) -> tuple[int, float]:
    """Size and skew of the working set, which has from ``least`` to ``most`` pages."""
    sizes = min(least + 1, most), most
    best = _on_grid(evidence, sizes, (0.0, 0.0))
    if len(evidence.seconds) > 2:
        skewed = _on_grid(evidence, sizes, (0.0, _SKEW_MAX))
        if skewed[0] > best[0] + _EVIDENCE:
            best = skewed
    return best[1], best[2]


def _on_grid(
    evidence: _Evidence, sizes: tuple[float, float], skews: tuple[float, float]
) -> tuple[float, int, float]:
    best = (-math.inf, 0, 0.0)
    low, high = sizes
    least, most = skews
    steps = _SKEWS if most else 1
    for _ in range(_REFINEMENTS):
        ratio = (high / low) ** (1 / (_SIZES - 1))
        stride = (most - least) / max(steps - 1, 1)
        for i in range(_SIZES):
            for j in range(steps):
                size, skew = round(low * ratio**i), least + stride * j
                likelihood = evidence.likelihood(Ranks(size, skew))
                best = max(best, (likelihood, size, skew))
        low = max(best[1] / ratio, sizes[0])
        high = min(best[1] * ratio, sizes[1])
        least = max(best[2] - stride, skews[0])
        most = min(best[2] + stride, skews[1])
    return best
