# SPDX-License-Identifier: LGPL-2.1-or-later
"""Samples of contenders, and their ratios.

Ratios are taken round by round, so that a machine that is slow for a minute is
slow for both sides, and then summed up like everything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: What a contender measured in one round, by quantity.
Sample = Mapping[str, float]

#: Relative differences below this say nothing.
NOISE = 0.03


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
