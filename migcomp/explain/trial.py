# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tries something on the pages of a sample, through the workqueue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from migcomp import _core
from migcomp.codecs import GROUPINGS
from migcomp.explain.layout import Packet
from migcomp.explain.sample import Pages
from migcomp.workqueue import ThreadedWorkqueue

ROUNDS = 3  # whose median counts


@dataclass(frozen=True)
class Trial:
    """``bytes_out`` of each packet, and the threads' CPU time for all of them."""

    bytes_out: dict[Packet, int]
    cpu_seconds: float


def attempt(
    page_map: _core.PageMap,
    page_size: int,
    pages: Sequence[Pages],
    library: _core.Library,
    level: int,
    grouping: str,
    *,
    stage: int = 0,
    previous: _core.PageMap | None = None,
    threads: int | None = None,
) -> Trial:
    """Takes ``pages`` to a stage of a PageRequest, against what they were in
    ``previous``.  Raises PageError, and CodecUnavailable where the library has no
    deltas.

    Nothing is counted but what compression makes of the pages: no record, and
    no class of a page.
    """
    handler = _core.compressor(
        library,
        level=level,
        grouping=GROUPINGS.index(grouping),
        page_size=page_size,
        pages_max=max((len(each.wanted) for each in pages), default=1),
        deltas=previous is not None,
    )
    bytes_out: dict[Packet, int] = {}
    seconds = []
    with ThreadedWorkqueue("explain", threads, handler=handler) as queue:
        before = 0.0
        for _ in range(ROUNDS):
            _one_round(queue, page_map, pages, stage, previous, bytes_out)
            now = sum(thread["cpu_ns"] for thread in queue.stats()["threads"]) / 1e9
            seconds.append(now - before)
            before = now
    return Trial(bytes_out, median(seconds))


def fewer(than: Trial, trial: Trial) -> dict[Packet, int]:
    """Bytes fewer that come out of each packet of ``than``; what the other has not
    tried has come to nothing there."""
    return {
        packet: size - trial.bytes_out.get(packet, 0)
        for packet, size in than.bytes_out.items()
    }


def _one_round(
    queue: ThreadedWorkqueue,
    page_map: _core.PageMap,
    pages: Sequence[Pages],
    stage: int,
    previous: _core.PageMap | None,
    bytes_out: dict[Packet, int],
) -> None:
    packets = iter(pages)

    def collect() -> bool:
        request = queue.collect_request()
        if request is None:
            return False
        bytes_out[next(packets).packet] = request.data_size
        queue.release_request(request)
        return True

    for each in pages:
        while (request := queue.get_request()) is None:
            collect()
        holes = bytes(not wanted for wanted in each.wanted)
        first, count = each.packet.first_page, each.packet.pages
        request.load(page_map, first, count, stage, 0, holes, previous)
        queue.submit_request(request)
    while collect():
        pass
