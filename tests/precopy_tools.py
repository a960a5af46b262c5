# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of simulated migrations share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from random import Random

from migcomp.precopy.costs import Costs, Work
from migcomp.precopy.dirty import DirtySource
from migcomp.precopy.memory import GuestMemory
from migcomp.results import Block
from tests.conftest import PAGE, make_page

KINDS = ("zero", "rows", "noise", "text")


class AnyCost(dict[tuple[Work, str], int]):
    """1 us for a page of whatever codec."""

    def __missing__(self, key: tuple[Work, str]) -> int:
        return 1000


def fixed_costs(handover_ns: int = 0) -> Costs:
    return Costs(
        page_size=PAGE,
        zero_ns=100,
        send_ns=500,
        hash_ns=200,
        submit_ns=0,
        handover_ns=handover_ns,
        source="a test",
        stored=AnyCost(),
    )


#: Making one takes longer than all else; from here on they repeat themselves.
_DIFFERENT = 256

_page = cache(make_page)


@contextmanager
def guest_memory(pages: int, *, blocks: int = 1) -> Iterator[GuestMemory]:
    """Of all kinds of pages."""
    each = pages // blocks * PAGE
    layout = [Block(f"ram{i}", each, i * each) for i in range(blocks)]
    with GuestMemory("a guest", layout, PAGE) as memory:
        for page in range(memory.pages):
            kind = KINDS[page // 8 % len(KINDS)]
            memory.write(page, _page(kind, page % _DIFFERENT))
        yield memory


@contextmanager
def empty_memory(like: GuestMemory) -> Iterator[GuestMemory]:
    with GuestMemory("the other side", like.blocks, like.page_size) as memory:
        yield memory


class Writer(DirtySource):
    """Writes ``pages_per_second``, one after the other, for ``seconds``."""

    def __init__(self, pages_per_second: float, seconds: float = 1e9) -> None:
        self._rate = pages_per_second
        self._left = seconds
        self._due = 0.0
        self._random = Random(1)

    @property
    def description(self) -> str:
        return "a writer"

    def run(self, memory: GuestMemory, seconds: float) -> Sequence[int]:
        self._due += min(seconds, self._left) * self._rate
        self._left = max(self._left - seconds, 0)
        count, self._due = int(self._due), self._due % 1
        pages = sorted({self._random.randrange(memory.pages) for _ in range(count)})
        for page in pages:
            memory.write(page, self._random.randbytes(8) * (PAGE // 8))
        return pages
