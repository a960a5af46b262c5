# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks at every page of an image: its class, its entropy, and what it equals."""

from __future__ import annotations

import array
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from migcomp import _core
from migcomp.errors import PageError
from migcomp.explain.layout import Cutter, Packet, Tallies, stretches
from migcomp.explain.results import ENTROPY_STEPS, Stretch, Tally
from migcomp.images.decode import page_error
from migcomp.images.image import Image
from migcomp.measure import RegionMap
from migcomp.results import Region
from migcomp.workqueue import ThreadedWorkqueue

ZERO, SAME, DUPLICATE, CONTENT = range(4)  # classes of a codec that shrinks nothing
CLASSIFY, COMPRESS = 1, 2  # stages

_DETAIL = 8  # bytes that a same-filled page and a duplicate have each


@dataclass
class Scan:
    """``classes``: of the pages of each packet, by the packets that were read;
    ``mean_entropy``: of the content pages of each, 0 where there are none."""

    cutter: Cutter
    stretches: list[Stretch]
    total: Tally = field(default_factory=Tally)
    map: tuple[Region, ...] = ()
    entropies: Counter[int] = field(default_factory=Counter)
    distances: Counter[int] = field(default_factory=Counter)
    classes: dict[Packet, bytearray] = field(default_factory=dict)
    mean_entropy: dict[Packet, float] = field(default_factory=dict)
    resolve_seconds: float = 0.0


def scan(image: Image, *, threads: int | None, progress: Callable[[int], None]) -> Scan:
    """``image`` can be read again; ``progress`` is told the pages that are done.

    Takes a byte of memory for each page that is not in a hole.  Raises ImageError.
    """
    return _Scanner(image, progress).run(threads)


class _Scanner:
    def __init__(self, image: Image, progress: Callable[[int], None]) -> None:
        assert image.page_map is not None
        self._image = image
        self._page_map = image.page_map
        self._progress = progress
        cutter = Cutter(image)
        self._scan = Scan(cutter, stretches(image, cutter))
        self._tallies = Tallies(self._scan.stretches)
        self._map = RegionMap(cutter.packet_pages)
        self._dedup = _core.DedupTable()
        self._entropy: dict[Packet, float] = {}  # sums

    def run(self, threads: int | None) -> Scan:
        image, result = self._image, self._scan
        handler = _core.compressor(
            _core.bind("built in", ""),
            page_size=image.page_size,
            pages_max=result.cutter.packet_pages,
        )
        try:
            with ThreadedWorkqueue("explain", threads, handler=handler) as queue:
                for block in range(len(image.blocks)):
                    for run in image.runs(block):
                        if run.hole:
                            self._map.add_zeros(run.first_page, run.pages, 0)
                            continue
                        for _, page, pages in result.cutter.pieces(
                            run.first_page, run.pages
                        ):
                            self._submit(queue, page, pages)
                while (request := queue.collect_request()) is not None:
                    self._collect(queue, request)
        except PageError as error:
            raise page_error(image, error) from error.__cause__
        self._tallies.fill_up()
        for stretch in result.stretches:
            result.total.add(stretch.tally)
        result.map = self._map.regions()
        for packet, entropy in self._entropy.items():
            contents = result.classes[packet].count(CONTENT)
            result.mean_entropy[packet] = entropy / max(contents, 1)
        return result

    def _submit(self, queue: ThreadedWorkqueue, page: int, pages: int) -> None:
        while (request := queue.get_request()) is None:
            self._collect(queue, queue.collect_request())
        request.load(self._page_map, page, pages, CLASSIFY, 0)
        queue.submit_request(request)

    def _collect(self, queue: ThreadedWorkqueue, request: _core.PageRequest) -> None:
        """Takes the oldest request, which is handled, one step further."""
        if request.stage == CLASSIFY:
            before = time.thread_time()
            self._dedup.resolve(request, self._page_map)
            self._scan.resolve_seconds += time.thread_time() - before
            request.stage = COMPRESS  # copies, and tells what each page equals
            queue.submit_request(request)
            return
        self._take(request)
        self._progress(request.first_page)
        queue.release_request(request)

    def _take(self, request: _core.PageRequest) -> None:
        result = self._scan
        first, classes = request.first_page, request.classes
        zero, same, duplicate, content, _ = request.counts
        packet, *_ = next(result.cutter.pieces(first, request.pages))
        seen = result.classes.setdefault(packet, bytearray(packet.pages))
        at = first - packet.first_page
        seen[at : at + len(classes)] = classes
        if duplicate:
            result.distances.update(_distances(first, classes, request.details))
        entropy = 0.0
        if content:
            entropies = array.array("H", request.entropies())
            entropy = sum(entropies) / 1000
            result.entropies.update(_steps(entropies, classes))
        tally = Tally(zero, same, duplicate, content, entropy)
        self._tallies.add(first, tally)
        self._entropy[packet] = self._entropy.get(packet, 0.0) + entropy
        ideal = round(entropy * self._image.page_size / 8)
        self._map.add(first, request.counts, ideal)


def _distances(first_page: int, classes: bytes, details: bytes) -> Iterator[int]:
    """Of the duplicates, as powers of two."""
    at = 0
    for number, kind in enumerate(classes):
        if kind == DUPLICATE:
            equal = int.from_bytes(details[at : at + _DETAIL], "little")
            yield (first_page + number - equal).bit_length() - 1
        at += _DETAIL * (kind in (SAME, DUPLICATE))


def _steps(entropies: array.array[int], classes: bytes) -> Iterator[int]:
    """Of the content pages; those of 8 bits belong to the last step."""
    for entropy, kind in zip(entropies, classes, strict=True):
        if kind == CONTENT:
            yield min(entropy * ENTROPY_STEPS // 1000, 8 * ENTROPY_STEPS - 1)
