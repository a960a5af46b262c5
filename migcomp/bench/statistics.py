# SPDX-License-Identifier: LGPL-2.1-or-later
"""Statistics of repeated measurements.

The median says what to expect and the median absolute deviation (MAD) how
far a round strays from it; neither minds a disturbed round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Summary:
    """``mad`` is absolute, in the unit of the values."""

    median: float
    mad: float
    least: float
    most: float
    rounds: int

    @property
    def relative_mad(self) -> float:
        return self.mad / abs(self.median) if self.median else 0.0


def summarize(values: Sequence[float]) -> Summary:
    """Raises ValueError without values."""
    if not values:
        raise ValueError("there is nothing to summarize")
    middle = median(values)
    return Summary(
        middle,
        median(abs(value - middle) for value in values),
        min(values),
        max(values),
        len(values),
    )
