# SPDX-License-Identifier: LGPL-2.1-or-later
"""Statistics of repeated measurements.

The median says what to expect and the median absolute deviation (MAD) how
far a round strays from it; neither minds a disturbed round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

#: The MAD of a normal distribution, in standard deviations.
_Z_OF_MAD = 0.6745
_Z_MOST = 3.5


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


def outliers(values: Sequence[float]) -> list[int]:
    """Numbers of the values whose modified Z-score, 0.6745 times their distance
    from the median over the MAD, is more than 3.5 (Iglewicz and Hoaglin, How to
    Detect and Handle Outliers, 1993).  None where the MAD is 0."""
    summary = summarize(values)
    if not summary.mad:
        return []
    return [
        i
        for i, value in enumerate(values)
        if _Z_OF_MAD * abs(value - summary.median) / summary.mad > _Z_MOST
    ]
