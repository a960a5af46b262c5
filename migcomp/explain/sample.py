# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which packets are measured, and what they say about the others.

Packets lie in strata by the mean entropy of their pages, which tells best how they
compress, and by address where that is equal; a stratum gives the share of the sample
that it has of the packets, drawn at random.  What all packets compress to is
estimated by the combined ratio estimator, and how sure that is by its variance
(William G. Cochran, "Sampling Techniques", 3rd edition 1977, sections 6.11-6.12).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from random import Random
from statistics import variance

from migcomp.confidence import quantile
from migcomp.explain.layout import Packet
from migcomp.explain.results import FEWEST, Estimate

STRATA_MOST = 16
_PER_STRATUM = 4  # packets that a stratum gives at least, of those it has


@dataclass(frozen=True)
class Pages:
    """Pages of one packet: those whose byte in ``wanted`` is not 0."""

    packet: Packet
    wanted: bytes

    @property
    def count(self) -> int:
        return len(self.wanted) - self.wanted.count(0)


@dataclass(frozen=True)
class Stratum:
    """Of ``packets`` in all, these were ``drawn``."""

    packets: int
    drawn: tuple[Packet, ...]


def draw(
    entropies: Mapping[Packet, float],
    sizes: Mapping[Packet, int],
    pages_wanted: int,
    random: Random,
) -> list[Stratum]:
    """Packets that have about ``pages_wanted`` pages together, but FEWEST at least.

    ``sizes``: how many of its pages count, for each packet; those without any are
    left out.  ``entropies`` are means over a packet's pages.
    """
    packets = sorted(
        (packet for packet, pages in sizes.items() if pages),
        key=lambda p: (entropies[p], p.first_page),
    )
    pages = sum(sizes[packet] for packet in packets)
    share = 0.0
    if packets:
        share = min(1.0, max(pages_wanted / pages, FEWEST / len(packets)))
    count = min(STRATA_MOST, max(1, int(len(packets) * share) // _PER_STRATUM))
    strata = []
    for number in range(count):
        start = number * len(packets) // count
        end = (number + 1) * len(packets) // count
        here = packets[start:end]
        few = min(_PER_STRATUM, len(here))
        drawn = random.sample(here, max(few, math.ceil(share * len(here))))
        strata.append(Stratum(len(here), tuple(sorted(drawn))))
    return strata


def without(strata: Sequence[Stratum], packets: Set[Packet]) -> list[Stratum]:
    """The rest of a sample; a stratum that keeps less than two packets, which tell no
    spread, is joined with the next."""
    rest: list[Stratum] = []
    waiting = Stratum(0, ())
    for stratum in strata:
        drawn = tuple(packet for packet in stratum.drawn if packet not in packets)
        waiting = Stratum(waiting.packets + stratum.packets, waiting.drawn + drawn)
        if len(waiting.drawn) > 1:
            rest.append(waiting)
            waiting = Stratum(0, ())
    if waiting.packets:
        last = rest.pop() if rest else Stratum(0, ())
        rest.append(Stratum(last.packets + waiting.packets, last.drawn + waiting.drawn))
    return rest


def estimate(
    strata: Sequence[Stratum],
    sizes: Mapping[Packet, int],
    results: Mapping[Packet, int],
    total: int,
) -> Estimate:
    """What all packets together come to, whose ``sizes`` are ``total``.

    ``results``: of the drawn packets; those that were not tried come to nothing.
    """
    weighted_size = weighted_result = 0.0
    for stratum in strata:
        weight = stratum.packets / len(stratum.drawn) if stratum.drawn else 0.0
        weighted_size += weight * sum(sizes[p] for p in stratum.drawn)
        weighted_result += weight * sum(results.get(p, 0) for p in stratum.drawn)
    if not weighted_size:
        return Estimate(0.0)
    ratio = weighted_result / weighted_size
    spread = unsure = 0.0
    for stratum in strata:
        drawn = len(stratum.drawn)
        if drawn < stratum.packets and drawn > 1:
            rest = 1 - drawn / stratum.packets
            off = [results.get(p, 0) - ratio * sizes[p] for p in stratum.drawn]
            part = stratum.packets**2 * rest * variance(off) / drawn
            spread += part
            unsure += part**2 / (drawn - 1)
    if not unsure:
        return Estimate(ratio * total)
    # Satterthwaite's, for strata of unequal variance (Cochran, section 5.4).
    freedom = max(1.0, spread**2 / unsure)
    deviation = math.sqrt(spread) * total / weighted_size
    return Estimate(ratio * total, quantile(freedom) * deviation)
