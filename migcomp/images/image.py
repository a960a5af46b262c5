# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every reader of memory images gives: RAM blocks of pages, in order.

Pages are numbered through the whole image: those of the second block follow
those of the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import TracebackType
from typing import Protocol, Self

from migcomp import _core
from migcomp.results import Block

#: Length of a block whose end only its reading will show.
UNKNOWN_LENGTH = -1

PAGE_SIZES = tuple(4096 << shift for shift in range(5))


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive pages of one block; ``hole``: they are zero, unread."""

    first_page: int
    pages: int
    hole: bool


class Image(Protocol):
    """An opened image.

    ``page_map`` is where its pages lie in memory; it is None for a raw image
    that is read once from ``fd``, front to back, ``taken`` being what was read
    of it already.  ``pages`` is None and the last block's length UNKNOWN_LENGTH
    while that is not known.  ``pad``: a last page that is not whole is allowed,
    and filled up with zeros.  ``facts`` are what the format tells besides the
    pages, for people: name -> text, number, or list of mappings.
    """

    @property
    def path(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def facts(self) -> Mapping[str, object]: ...
    @property
    def page_size(self) -> int: ...
    @property
    def blocks(self) -> tuple[Block, ...]: ...
    @property
    def pages(self) -> int | None: ...
    @property
    def page_map(self) -> _core.PageMap | None: ...
    @property
    def fd(self) -> int: ...
    @property
    def taken(self) -> bytes: ...
    @property
    def pad(self) -> bool: ...

    def runs(self, block: int) -> Iterator[Run]:
        """The pages of a block of known length, in order."""

    def read(self, first_page: int, pages: int) -> bytes:
        """Whole pages of an image that is no pipe.  Raises ImageError."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def pages_in(length: int, page_size: int) -> int:
    """Pages that ``length`` bytes take, a last one that is cut off included."""
    return -(-length // page_size)


def first_pages(blocks: Iterable[Block], page_size: int) -> list[int]:
    """The number of each block's first page, and behind them that of all pages."""
    return list(accumulate((pages_in(b.length, page_size) for b in blocks), initial=0))
