# SPDX-License-Identifier: LGPL-2.1-or-later
"""Statistics of repeated measurements.

The median says what to expect and the median absolute deviation (MAD) how
far a round strays from it; neither minds a disturbed round.  Ratios are taken
round by round, so that a machine that is slow for a minute is slow for both
sides, and then summed up the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

#: What a contender measured in one round, by quantity.
Sample = Mapping[str, float]

#: Relative differences below this say nothing.
NOISE = 0.03


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


def values_of(samples: Sequence[Sample], quantity: str) -> list[float]:
    return [sample[quantity] for sample in samples if quantity in sample]


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Round by round; a single value stands for all rounds.

    Raises ValueError when the rounds do not match.
    """
    rounds = max(len(numerators), len(denominators))
    if min(len(numerators), len(denominators)) == 1:
        numerators = list(numerators) * (rounds // len(numerators))
        denominators = list(denominators) * (rounds // len(denominators))
    return [a / b for a, b in zip(numerators, denominators, strict=True)]
