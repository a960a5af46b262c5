# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest writes, for many migrations of guests that are alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

from migcomp.plan.guest import Writes
from migcomp.precopy.dirty_model import DirtyModel

#: Neighbouring times in the table differ by that share; between them pages are taken
#: to be proportional, which is wrong by some millionths.
_STEP = 0.005


@dataclass(frozen=True)
class TabulatedWrites(Writes):
    """As ``Writes``, whose sums over the working set are done once for each time."""

    _table: dict[int, float] = field(default_factory=dict, compare=False, repr=False)

    def pages(self, seconds: float) -> float:
        if seconds <= 0:
            return 0.0
        place = math.log(seconds) / _STEP
        step = math.floor(place)
        low, high = self._at(step), self._at(step + 1)
        return low + (high - low) * (place - step)

    def again(self, seconds: float, earlier: float) -> float:
        """Those written at both times are what both sums have more than the sum over
        the two times together."""
        now = self.pages(seconds)
        if not now or earlier <= 0:
            return 0.0
        both = now + self.pages(earlier) - self.pages(seconds + earlier)
        return min(max(both / now, 0.0), 1.0)

    def _at(self, step: int) -> float:
        if step not in self._table:
            self._table[step] = super().pages(math.exp(step * _STEP))
        return self._table[step]


@lru_cache(maxsize=1024)
def writes_of(model: DirtyModel) -> TabulatedWrites:
    """One table for all guests that write alike."""
    return TabulatedWrites(model, "by a model")
