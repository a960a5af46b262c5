# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the pages of a sample image lie: runs, regions and copies.

The lengths of runs in real guests have a long tail: half of them are a few pages, one
holds a third of the memory. The twentiles below are the body, measured in stopped
guests; the tail shares out what the body left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

Item = TypeVar("Item")

# Pages of a run at p2.5, p7.5 ... p92.5.
ZERO_RUNS = (1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 4, 5, 7, 12, 20, 34, 48)
NONZERO_RUNS = (1, 1, 1, 1, 2, 2, 2, 3, 3, 5, 6, 6, 7, 9, 12, 17, 26, 64, 152)
# The longest run takes this part of what the body leaves, the next one of the rest, ...
ZERO_TAIL = 2  # a half
NONZERO_TAIL = 10  # a tenth
# Pages of one region in a row.
STRETCHES = (1, 1, 2, 2, 3, 4, 5, 8, 8, 16, 24, 48, 96, 192, 384, 768)


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive non-zero pages of one region."""

    page: int  # index of the first page in its zone
    pages: int
    region: str
    ordinal: int  # of the first page in its region; equal ordinals are equal pages
    copy: bool  # whether these pages repeat other spans' pages


def apportion(total: int, shares: Sequence[int]) -> list[int]:
    """Split `total` pages in proportion to `shares`, by largest remainders."""
    # Whole numbers only: since Python 3.12 the sum of floats is another than before.
    whole = sum(shares)
    parts = [total * share // whole for share in shares]
    by_remainder = sorted(
        range(len(shares)), key=lambda part: (-(total * shares[part] % whole), part)
    )
    for part in by_remainder[: total - sum(parts)]:
        parts[part] += 1
    return parts


def _run_lengths(
    rng: Random, runs: int, pages: int, body: Sequence[int], tail: int
) -> list[int]:
    """Lengths of `runs` runs, at least a page each, which sum to `pages`."""
    longest = max(1, runs // 20)
    lengths = [
        body[place * len(body) // (runs - longest)] for place in range(runs - longest)
    ]
    weights = []
    left = 1 << 40
    for _ in range(longest):
        weights.append(left // tail)
        left -= left // tail
    lengths += [1 + part for part in apportion(pages - sum(lengths) - longest, weights)]
    return shuffled(rng, lengths)


def shuffled(rng: Random, items: Sequence[Item]) -> list[Item]:
    """`random.shuffle`, but with one result on every Python version."""
    keys = [rng.getrandbits(64) for _ in items]
    return [items[place] for place in sorted(range(len(items)), key=keys.__getitem__)]


def _stretches(rng: Random, pages: int) -> Iterator[int]:
    while pages > 0:
        length = min(pages, STRETCHES[rng.getrandbits(16) % len(STRETCHES)])
        yield length
        pages -= length


def _run_count(most: int, zero: int, nonzero: int) -> int:
    """How many runs of each sort fit when the body takes at most half of the pages."""
    room = (
        min(
            zero * len(ZERO_RUNS) // sum(ZERO_RUNS),
            nonzero * len(NONZERO_RUNS) // sum(NONZERO_RUNS),
        )
        // 2
    )
    return max(1, min(most, room, zero, nonzero))


def lay_out(
    rng: Random,
    pages: int,
    zero: int,
    runs: int,
    unique: Mapping[str, int],
    copies: Mapping[str, int],
) -> list[Span]:
    """Spans of a zone of `pages` pages, ascending, with `zero` zero pages between them.

    `unique` and `copies` give pages per region and together make up the zone's rest.
    """
    stretches = [
        (region, copy, length)
        for copy, regions in ((False, unique), (True, copies))
        for region, total in regions.items()
        for length in _stretches(rng, total)
    ]
    nonzero = pages - zero
    if not nonzero:
        return []
    count = _run_count(runs, zero, nonzero)
    filled = _run_lengths(rng, count, nonzero, NONZERO_RUNS, NONZERO_TAIL)
    gaps = _run_lengths(rng, count, zero, ZERO_RUNS, ZERO_TAIL) if zero else [0] * count

    spans: list[Span] = []
    used: dict[tuple[str, bool], int] = {}
    todo = shuffled(rng, stretches)[::-1]
    page = 0
    for room, gap in zip(filled, gaps, strict=True):
        while room:
            region, copy, length = todo.pop()
            if length > room:
                todo.append((region, copy, length - room))
                length = room
            ordinal = used.get((region, copy), 0)
            used[region, copy] = ordinal + length
            spans.append(Span(page, length, region, ordinal, copy))
            page += length
            room -= length
        page += gap
    return spans
