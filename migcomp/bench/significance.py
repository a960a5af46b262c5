# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether two sets of times differ, or only scatter.

By the U test of Mann and Whitney (Annals of Mathematical Statistics 18, 1947), which
asks of times nothing but an order: they are not normally distributed, and one
disturbed round must not make a difference where there is none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

#: Five rounds against five can reach 2/252 = 0.008, where all of one set are faster.
ALPHA = 0.01

#: Of both sets together; for more, the normal approximation is as good.
_EXACT_MOST = 40


def p_value(one: Sequence[float], other: Sequence[float]) -> float:
    """How likely sets that do not differ look at least as different, two-sided.

    Exact for small sets, ties included: of all ways to deal the ranks.  Raises
    ValueError without values.
    """
    if not one or not other:
        raise ValueError("there is nothing to compare")
    ranks = _doubled_ranks([*one, *other])
    observed = sum(ranks[: len(one)])
    if len(ranks) <= _EXACT_MOST:
        return _exact(ranks, len(one), observed)
    return _approximate(ranks, len(one), observed)


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Twice the rank of each value, so that those of ties are whole numbers."""
    counts = Counter(values)
    doubled, before = {}, 0
    for value in sorted(counts):
        doubled[value] = 2 * before + counts[value] + 1
        before += counts[value]
    return [doubled[value] for value in values]


def _exact(ranks: Sequence[int], chosen: int, observed: int) -> float:
    # ways[n][s]: how many sets of n ranks have the sum s.
    ways: list[dict[int, int]] = [{0: 1}, *({} for _ in range(chosen))]
    for rank in ranks:
        for n in range(chosen, 0, -1):
            for total, count in ways[n - 1].items():
                ways[n][total + rank] = ways[n].get(total + rank, 0) + count
    middle = sum(ranks) * chosen / len(ranks)
    distance = abs(observed - middle)
    # Half a rank is far more than what rounding makes of the middle.
    far = sum(n for s, n in ways[chosen].items() if abs(s - middle) > distance - 0.5)
    return far / math.comb(len(ranks), chosen)


def _approximate(ranks: Sequence[int], chosen: int, observed: int) -> float:
    """With the correction for ties, and for continuity."""
    total = len(ranks)
    others = total - chosen
    middle = sum(ranks) * chosen / total
    ties = sum(count**3 - count for count in Counter(ranks).values())
    variance = chosen * others / 12 * (total + 1 - ties / (total * (total - 1)))
    if not variance:
        return 1.0
    distance = max(0.0, abs(observed - middle) / 2 - 0.5)
    return math.erfc(distance / math.sqrt(2 * variance))
