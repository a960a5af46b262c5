# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which settings are worth having, and on which links each is the best.

A setting makes of R bytes per second on the link

    min(rate * R, speed)

bytes per second of guest memory: the link limits it, or the compressor.  Sending
the pages as they are is a setting of rate 1 and no limit to its speed, so that
compression helps if and only if min(rate * R, speed) > R, which is below the
break-even link R = speed.  The time to decompress is not in it.

Speeds are measured, so that of two that differ by less than their noise neither is
known to be the faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: The fastest over the slowest of links that are hardly worth telling apart.
_NARROW = 1.05

#: Bytes per second of links with a name.
LINKS = (
    ("100 Mbit/s", 12.5e6),
    ("300 Mbit/s", 37.5e6),
    ("1 Gbit/s", 125e6),
    ("10 Gbit/s", 1250e6),
    ("25 Gbit/s", 3125e6),
    ("40 Gbit/s", 5e9),
    ("100 Gbit/s", 12.5e9),
)


@dataclass(frozen=True)
class Point:
    """Bytes in over bytes out, and bytes in per second.

    ``noise`` is how far the speed strays, as a share of it.
    """

    rate: float
    speed: float
    noise: float = 0.0

    def on_link(self, link: float) -> float:
        """Guest bytes per second over a link of ``link`` bytes per second."""
        return min(self.rate * link, self.speed)

    @property
    def break_even(self) -> float:
        """The link, in bytes per second, below which it helps; 0 if never."""
        return self.speed if self.rate > 1 else 0.0

    def helps(self, link: float) -> bool:
        return self.on_link(link) > link

    def is_faster(self, other: Point) -> bool:
        """By more than the noise of either."""
        return self.speed > other.speed * math.exp(max(self.noise, other.noise))


@dataclass(frozen=True)
class Best:
    """Point number ``index`` is the best between two links, in bytes per second.

    ``slowest`` is 0 for the first; ``fastest`` of the last is its break-even.
    """

    index: int
    slowest: float
    fastest: float

    @property
    def is_narrow(self) -> bool:
        """Whether the point is the best by less than 5 % wherever it is.

        It takes over where its rate times the link is the speed of the one before,
        and the next where the next's rate times the link is its speed: fastest over
        slowest is what it gains over the one's speed times what it gains over the
        other's rate.
        """
        return self.fastest < _NARROW * self.slowest


def front(points: Sequence[Point]) -> list[int]:
    """Numbers of the points worth having, by falling rate and rising speed.

    Each is faster than the one before by more than noise.  Every point that is not
    chosen is beaten by one that is: it has no more rate, and is not faster by more
    than noise.  Of equal points, the first.
    """
    order = sorted(
        range(len(points)), key=lambda i: (-points[i].rate, -points[i].speed, i)
    )
    chosen: list[int] = []
    for i in order:
        if not chosen or points[i].is_faster(points[chosen[-1]]):
            chosen.append(i)
    return chosen


def best_links(points: Sequence[Point]) -> list[Best]:
    """The best setting for every link on which any helps, from slow links to fast.

    Along the front each point takes over from the one before where its rate times
    the link exceeds the other's speed; sending the pages as they are comes last.
    """
    chosen = [i for i in front(points) if points[i].rate > 1 and points[i].speed > 0]
    result: list[Best] = []
    slowest = 0.0
    rates_after = [*(points[i].rate for i in chosen[1:]), 1.0]
    for i, rate_after in zip(chosen, rates_after, strict=False):
        fastest = points[i].speed / rate_after
        result.append(Best(i, slowest, fastest))
        slowest = fastest
    return result
