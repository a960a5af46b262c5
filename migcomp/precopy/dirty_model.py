# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that writes by a few numbers, drawn by lot but the same every time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, compress
from random import Random

from migcomp.errors import ImageError
from migcomp.precopy.dirty import DirtySource
from migcomp.precopy.memory import GuestMemory
from migcomp.units import format_size

_NS = 10**9
_DRAWN_AT_ONCE = 1 << 16
#: Of ranks from here on, several have one weight, whose number grows by GROWTH.
_SINGLE_RANKS = 64
_GROWTH = 1.1
_WRITES_MAX = 1e9
#: Of a guest, in a second: each is drawn, which takes about a microsecond.
_DRAWN_MAX = 20_000_000


@dataclass(frozen=True)
class DirtyModel:
    """``dirty_rate``: pages that are written within a second, counted once each: what
    QEMU's calc-dirty-rate measures with a calc-time of 1 s.

    Every write is to a page of the working set: to that of rank *k* with a
    probability proportional to 1 / k ** ``skew`` (Zipf; 0: all alike).  It changes
    ``bytes_changed`` bytes, always the same ones of a page; a share ``fake`` of the
    writes changes nothing.
    """

    dirty_rate: float
    working_set: int
    skew: float = 0.0
    bytes_changed: int = 64
    fake: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.dirty_rate < self.working_set:
            raise ImageError(
                f"{self.dirty_rate:,.1f} pages cannot be written in a second by a "
                f"guest with a working set of {self.working_set:,} pages; the rate "
                "must be more than 0 and less than the working set"
            )
        if self.skew < 0 or not 0 <= self.fake <= 1 or self.bytes_changed < 1:
            raise ValueError("skew >= 0, 0 <= fake <= 1, bytes_changed >= 1")


class Ranks:
    """The probabilities of a working set's pages, the first being the likeliest."""

    def __init__(self, pages: int, skew: float) -> None:
        weights: list[tuple[int, float]] = []
        start = 0
        while start < pages:
            if start < _SINGLE_RANKS:
                end, weight = start + 1, (start + 1) ** -skew
            else:
                end = min(math.ceil(start * _GROWTH), pages)
                weight = _integral(start + 0.5, end + 0.5, skew)
            weights.append((end - start, weight))
            start = end
        total = sum(weight for _, weight in weights)
        #: (pages, probability of each): neighbours share their mean.
        self.groups = [(count, w / count / total) for count, w in weights]

    def distinct(self, writes: float) -> float:
        """How many pages that many writes are expected to hit."""
        return sum(hit(p, writes) * pages for pages, p in self.groups)

    def writes_for(self, pages: float) -> float:
        """The inverse of ``distinct``, at most _WRITES_MAX."""
        low, high = 0.0, pages
        while self.distinct(high) < pages and high < _WRITES_MAX:
            low, high = high, 2 * high
        for _ in range(50):
            middle = (low + high) / 2
            if self.distinct(middle) < pages:
                low = middle
            else:
                high = middle
        return high


def usual_working_set(dirty_rate: float, pages: int) -> int:
    """Pages, of a guest that has so many and of which nothing but its rate, pages a
    second, is known."""
    return min(int(4 * dirty_rate) + 1, pages)


def hit(probability: float, writes: float) -> float:
    """That at least one of the writes is to a page of that probability."""
    if probability == 1:
        return min(writes, 1.0)
    return -math.expm1(math.log1p(-probability) * writes)


def _integral(low: float, high: float, skew: float) -> float:
    """Of x ** -skew: with bounds half a rank out, the sum over the ranks between."""
    power = 1 - skew
    if abs(power) < 1e-9:
        return math.log(high / low)
    return float((high**power - low**power) / power)


class ModelledGuest(DirtySource):
    """Its working set are pages of ``memory`` drawn by lot, those that are not zero
    first.  A write adds 1 to each byte that it changes, so that what was alike stays
    alike, and compresses as before."""

    def __init__(self, model: DirtyModel, memory: GuestMemory) -> None:
        """Raises ImageError."""
        if model.working_set > memory.pages:
            raise ImageError(
                f"{memory.path} has {memory.pages} pages, and no room for a working "
                f"set of {model.working_set}"
            )
        self._model = model
        weights = (rank**-model.skew for rank in range(1, model.working_set + 1))
        self._cumulated = list(accumulate(weights))
        ranks = Ranks(model.working_set, model.skew)
        self._writes_per_second = ranks.writes_for(model.dirty_rate)
        if self._writes_per_second > _DRAWN_MAX:
            raise ImageError(
                f"a dirty rate of {format_size(model.dirty_rate * memory.page_size)} "
                "a second, in a working set of "
                f"{format_size(model.working_set * memory.page_size)} with a skew of "
                f"{model.skew:g}, takes more than {_DRAWN_MAX:,} writes a second; make "
                "the skew or the rate smaller, or the working set larger"
            )
        if model.bytes_changed > memory.page_size:
            raise ImageError(
                f"{memory.path} has pages of {memory.page_size} bytes, of which "
                f"{model.bytes_changed} cannot change"
            )
        self._size = model.bytes_changed
        self._pages = _working_set(model, memory)
        places = range(memory.page_size - self._size + 1)
        self._offsets = _lot(model, "offsets").choices(places, k=model.working_set)
        self._targets, self._fakes = _lot(model, "targets"), _lot(model, "fakes")
        self._passed = 0  # nanoseconds
        self._written = 0  # writes so far

    @property
    def description(self) -> str:
        model = self._model
        return (
            f"a model: {model.dirty_rate:,.0f} pages/s dirty, working set "
            f"{model.working_set:,} pages, skew {model.skew:g}, "
            f"{format_size(self._size)} changed, {model.fake:.0%} fake"
        )

    def run(self, memory: GuestMemory, seconds: float) -> Sequence[int]:
        self._passed += round(seconds * _NS)
        due = int(self._passed * self._writes_per_second / _NS)
        written: set[int] = set()
        changes: Counter[int] = Counter()
        while self._written < due:
            count = min(due - self._written, _DRAWN_AT_ONCE)
            self._written += count
            targets = self._targets.choices(
                range(len(self._pages)), cum_weights=self._cumulated, k=count
            )
            written.update(targets)
            changes.update(self._without_fakes(targets))
        for rank, times in changes.items():
            self._change(memory, rank, times)
        return sorted(self._pages[rank] for rank in written)

    def _without_fakes(self, targets: list[int]) -> Sequence[int]:
        fake = self._model.fake
        if not fake:
            return targets
        draw = self._fakes.random
        return [*compress(targets, [draw() >= fake for _ in targets])]

    def _change(self, memory: GuestMemory, rank: int, times: int) -> None:
        start = self._pages[rank] * memory.page_size + self._offsets[rank]
        place = slice(start, start + self._size)
        memory.buffer[place] = memory.buffer[place].translate(_adding(times % 256))


def _lot(model: DirtyModel, purpose: str) -> Random:
    return Random(f"{model.seed} {purpose}")


def _working_set(model: DirtyModel, memory: GuestMemory) -> list[int]:
    lot, zero = _lot(model, "working set"), bytes(memory.page_size)
    full = [page for page in range(memory.pages) if memory.read(page) != zero]
    if len(full) >= model.working_set:
        return lot.sample(full, model.working_set)
    known = set(full)
    empty = [page for page in range(memory.pages) if page not in known]
    lot.shuffle(full)
    return full + lot.sample(empty, model.working_set - len(full))


@cache
def _adding(times: int) -> bytes:
    """The table by which bytes.translate adds ``times``."""
    return bytes((byte + times) % 256 for byte in range(256))
