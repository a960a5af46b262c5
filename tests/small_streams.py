# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stream of few pages, of every class, in two blocks."""

from __future__ import annotations

from functools import cache

from migcomp.choice import Choice
from migcomp.results import Block
from tests.conftest import PAGE, compressed, make_pages

PACKET = 2
DATA = make_pages("spot", "zero", ("spot", 1), "same", *["zero"] * 4, "spot", "same")
DATA += make_pages(("spot", 2), ("spot", 3), ("spot", 1), "zero", ("spot", 4))
COUNT = len(DATA) // PAGE
LAYOUT = (Block("low", 7 * PAGE, 0), Block("high", (COUNT - 7) * PAGE, 1 << 32))


@cache
def sound(grouping: str = "packet", dedup: bool = False) -> bytes:
    choice = Choice(
        grouping=grouping, packet_pages=PACKET, channels=2, dedup=dedup, threads=1
    )
    return compressed(DATA, choice, layout=LAYOUT)[0]
