# SPDX-License-Identifier: LGPL-2.1-or-later
"""Takes pages from one memory to another: compressed, and decompressed again, on the
threads of a workqueue."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from migcomp import _core
from migcomp.codecs import GROUPINGS, Codec
from migcomp.errors import PageError, WorkerError
from migcomp.precopy.memory import GuestMemory, runs
from migcomp.workqueue import ThreadedWorkqueue, usable_cpus

if TYPE_CHECKING:
    from migcomp._core import PageRequest

_ZERO, _NORMAL, _COMPRESSED = 0, 3, 4
_MOST_REAL_THREADS = 16


@dataclass(frozen=True, slots=True)
class Carried:
    """Pages that went together.

    ``sizes``: bytes of each page's block, 0 for zero pages and for all but the first
    of the pages that share one.  ``cpu_ns``: what the sender spent.
    """

    pages: Sequence[int]
    sizes: array[int]
    zero: int
    normal: int
    compressed: int
    unchanged: int
    cpu_ns: int
    channel: int

    @property
    def size(self) -> int:
        return sum(self.sizes)

    @property
    def content(self) -> int:
        """Pages that take a place in a block."""
        return self.normal + self.compressed


class Courier:
    """Has real threads; how many is of no account for what it gives."""

    def __init__(
        self,
        codec: Codec,
        grouping: str,
        page_size: int,
        pages: int,
        channels: int = 0,
        *,
        deltas: bool = False,
    ) -> None:
        """``pages``: how many go together at most; ``deltas``: pages are sent against
        what the destination has.  Raises CodecUnavailable where there are to be deltas,
        and the codec has none."""
        self._codec = codec
        self._deltas = deltas
        self._pages = pages
        self._threads = min(usable_cpus(), _MOST_REAL_THREADS)
        self._streams = grouping == "stream"
        self._queue = ThreadedWorkqueue(
            "transfer",
            self._threads,
            handler=_core.transfer(
                codec.library,
                level=codec.level,
                grouping=GROUPINGS.index(grouping),
                page_size=page_size,
                pages_max=pages,
                channels=channels if self._streams else 0,
                deltas=deltas,
            ),
        )

    def carry(
        self,
        source: GuestMemory,
        destination: GuestMemory | None,
        groups: Iterable[tuple[Sequence[int], int]],
    ) -> Iterator[Carried]:
        """``groups``: pages that go together, and their channel; what they come to
        is in the same order.  Nowhere without a destination.  Of deltas no page may be
        in two groups.

        To be exhausted.  Raises WorkerError.
        """
        waiting: deque[tuple[Sequence[int], int]] = deque()
        queue = self._queue
        bases = destination if self._deltas else None
        try:
            for pages, channel in groups:
                thread = channel % self._threads if self._streams else None
                while (request := queue.get_request(thread=thread)) is None:
                    done = queue.collect_request()
                    yield self._collect(done, destination, *waiting.popleft())
                request.load(
                    source.page_map(pages),
                    0,
                    len(pages),
                    0,
                    channel if self._streams else 0,
                    None,
                    bases.page_map(pages) if bases else None,
                )
                queue.submit_request(request)
                waiting.append((pages, channel))
            while (done := queue.collect_request()) is not None:
                yield self._collect(done, destination, *waiting.popleft())
        except PageError as error:
            raise WorkerError(
                f"{self._codec.name} level {self._codec.level} failed on a page of "
                f"{source.path}: {error.reason}"
            ) from error

    def _collect(
        self,
        request: PageRequest,
        destination: GuestMemory | None,
        pages: Sequence[int],
        channel: int,
    ) -> Carried:
        zero, _, _, normal, compressed = request.counts
        unchanged = len(pages) - zero - normal - compressed
        if destination is not None:
            with memoryview(request) as arrived:
                _put(destination, pages, arrived, all_zero=zero == len(pages))
        sizes = array("I", request.details)
        if sys.byteorder == "big":
            sizes.byteswap()
        carried = Carried(
            pages,
            sizes,
            zero,
            normal,
            compressed,
            unchanged,
            request.elapsed_ns,
            channel,
        )
        self._queue.release_request(request)
        return carried

    def close(self) -> None:
        self._queue.destroy(drain=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def cut(pages: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    for at in range(0, len(pages), most):
        yield pages[at : at + most]


def _put(
    memory: GuestMemory, pages: Sequence[int], content: memoryview, *, all_zero: bool
) -> None:
    at, size = 0, memory.page_size
    for first, number in runs(pages):
        part = content[at : at + number * size]
        at += number * size
        # Memory that nobody wrote to yet is zero, and takes no room as long as
        # that is so.
        if not (all_zero and memory.read(first, number) == bytes(number * size)):
            memory.write(first, part)
