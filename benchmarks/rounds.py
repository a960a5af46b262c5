# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measuring many contenders in turns."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.samples import Sample

#: Fewer are for developing the benchmarks, not for drawing conclusions.
ROUNDS = 10

#: Of the order within the rounds: fixed, so that a run can be repeated.
_SEED = 20181105
_READ_BYTES = 16 << 20


def select(contenders: Sequence[Contender], only: str) -> list[Contender]:
    """Those whose name matches one of the patterns in ``only``; all without any.

    Raises ValueError when a pattern matches nothing.
    """
    patterns = [pattern.strip() for pattern in only.split(",") if pattern.strip()]
    for pattern in patterns:
        if not any(fnmatch(c.name, pattern) for c in contenders):
            names = ", ".join(c.name for c in contenders)
            raise ValueError(f"no contender matches {pattern!r}; there are {names}")
    return [
        c
        for c in contenders
        if not patterns or any(fnmatch(c.name, p) for p in patterns)
    ]


def measure(
    contenders: Sequence[Contender], rounds: int, watch: Callable[[int, str], None]
) -> dict[str, list[Sample]]:
    """Each contender's samples: one for each round, in which all take part.

    The order within a round is shuffled, lest one always follow the same.
    """
    for contender in contenders:
        contender.prepare()
    order = random.Random(_SEED)
    measured: dict[str, list[Sample]] = {c.name: [] for c in contenders}
    for number in range(rounds):
        for contender in order.sample(contenders, len(contenders)):
            watch(number, contender.name)
            measured[contender.name].append(contender.measure())
    return measured


def warm(image: Path) -> None:
    """Brings the image into the page cache."""
    with image.open("rb", buffering=0) as file:
        while file.read(_READ_BYTES):
            pass
