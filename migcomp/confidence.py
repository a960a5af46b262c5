# SPDX-License-Identifier: LGPL-2.1-or-later
"""How far from an estimate the true value may lie."""

from __future__ import annotations

from math import cos, exp, lgamma, pi, pow, sqrt, tan

_HELD = 0.95
_PARTS = 64  # an even number, as Simpson's rule needs


def quantile(freedom: float) -> float:
    """Standard deviations to either side that hold the true value 19 times of 20, where
    the deviation itself was estimated with so many degrees of ``freedom``, 1 or more.

    Of Student's distribution, to 5 digits: t is sqrt(freedom) * tan(a), where the
    angle a has a density that goes with cos(a) ** (freedom - 1) (its integral is in
    Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4).
    """
    power = freedom - 1
    whole = sqrt(pi) / 2 * exp(lgamma(freedom / 2) - lgamma(freedom / 2 + 0.5))
    angle, step = 0.0, _HELD * whole
    # Newton's method: the density falls, so that no step goes too far.
    while step > 1e-12 * angle:
        angle += step
        step = (_HELD * whole - _below(angle, power)) / pow(cos(angle), power)
    return sqrt(freedom) * tan(angle)


def _below(angle: float, power: float) -> float:
    """The integral of cos(a) ** power from 0 to ``angle``, by Simpson's rule."""
    width = angle / _PARTS
    values = [pow(cos(width * part), power) for part in range(_PARTS + 1)]
    inner = 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2])
    return width / 3 * (values[0] + inner + values[-1])
