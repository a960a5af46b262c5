# SPDX-License-Identifier: LGPL-2.1-or-later
"""What each way to send less would bring and cost, tried on a sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from random import Random

from migcomp import _core
from migcomp.codecs import Codec
from migcomp.errors import PageError, WorkerError
from migcomp.explain import dictionary
from migcomp.explain.layout import Packet
from migcomp.explain.previous import Earlier
from migcomp.explain.results import Dictionary, Estimate, Previous, Sample, Technique
from migcomp.explain.sample import Pages, Stratum, draw, estimate, without
from migcomp.explain.scan import CLASSIFY, CONTENT, DUPLICATE, SAME, ZERO, Scan
from migcomp.explain.trial import Trial, attempt, fewer
from migcomp.images.decode import page_error
from migcomp.images.image import Image

_REFERENCE = 8  # bytes that stand for a same-filled page, or for a duplicate
_TRAINED_PART = 4  # of the sample's packets one in so many trains the dictionary
_LOOK_PACKETS = 128  # to time how long it takes to tell a page's class
_GIB = 1 << 30


class Techniques:
    """Tries them one after the other; ``found`` has those that were.

    ``sample_bytes`` of content and duplicates are compressed, at least.  Raises
    ImageError and WorkerError.
    """

    def __init__(
        self,
        image: Image,
        scan: Scan,
        codec: Codec,
        *,
        sample_bytes: int,
        seed: int,
        threads: int | None,
    ) -> None:
        self.found: list[Technique] = []
        self._image = image
        self._image_bytes = sum(block.length for block in image.blocks)
        self._scan = scan
        self._codec = codec
        self._threads = threads
        self._random = Random(seed)
        self._sample_pages = sample_bytes // image.page_size
        self._contents = self._counts(CONTENT)
        both = self._counts(CONTENT, DUPLICATE)
        self._strata = self._draw(both)
        drawn = _drawn(self._strata)
        self.sample = Sample(
            seed=seed,
            packet_pages=scan.cutter.packet_pages,
            packets=len(drawn),
            packets_of=sum(stratum.packets for stratum in self._strata),
            pages=sum(both[packet] for packet in drawn),
            pages_of=sum(both.values()),
            strata=len(self._strata),
        )

    # --- What they have in common -----------------------------------------------

    def _counts(self, *classes: int) -> dict[Packet, int]:
        """How many pages of these classes each packet has."""
        return {
            packet: sum(kinds.count(kind) for kind in classes)
            for packet, kinds in self._scan.classes.items()
        }

    def _pages(self, packets: Iterable[Packet], *classes: int) -> list[Pages]:
        """Those of these classes, of packets that have any."""
        marks = bytes(kind in classes for kind in range(256))
        chosen = (
            Pages(packet, bytes(self._scan.classes[packet].translate(marks)))
            for packet in packets
        )
        return [pages for pages in chosen if pages.count]

    def _draw(self, sizes: Mapping[Packet, int]) -> list[Stratum]:
        return draw(self._scan.entropy_of, sizes, self._sample_pages, self._random)

    def _attempt(
        self,
        pages: list[Pages],
        library: _core.Library,
        grouping: str,
        *,
        stage: int = 0,
        page_map: _core.PageMap | None = None,
    ) -> Trial:
        assert self._image.page_map is not None
        try:
            return attempt(
                page_map or self._image.page_map,
                self._image.page_size,
                pages,
                library,
                self._codec.level,
                grouping,
                stage=stage,
                threads=self._threads,
            )
        except PageError as error:
            if error.of_input:
                raise page_error(self._image, error) from error.__cause__
            raise WorkerError(f"{self._image.path}: {error}") from error.__cause__

    def _add(
        self,
        key: str,
        pages: int,
        sent: Estimate,
        cpu_seconds: float,
        gain: Estimate | None = None,
    ) -> None:
        """``cpu_seconds``: for all of the pages."""
        size = pages * self._image.page_size
        cost = cpu_seconds * _GIB / self._image_bytes
        self.found.append(Technique(key, pages, size, sent, cost, gain))

    def _add_trial(
        self,
        key: str,
        strata: list[Stratum],
        sizes: Mapping[Packet, int],
        trial: Trial,
        *,
        beside: Trial | None = None,
        once_bytes: int = 0,
        once_seconds: float = 0.0,
    ) -> None:
        """``beside``: what the gain is over.  ``once``: what comes on top of what the
        pages take."""
        total = sum(sizes.values())
        sent = estimate(strata, sizes, trial.bytes_out, total)
        seen = sum(sizes[packet] for packet in trial.bytes_out)
        seconds = trial.cpu_seconds * total / seen if seen else 0.0
        gain = None
        if beside is not None:
            less = fewer(beside, trial)
            gain = estimate(strata, sizes, less, total).minus(once_bytes)
        sent = sent.minus(-once_bytes)
        self._add(key, total, sent, seconds + once_seconds, gain)

    # --- One by one -------------------------------------------------------------

    def look(self) -> None:
        """Zero and same-filled pages: counted, and timed on some packets."""
        zero, same = self._scan.total.zero, self._scan.total.same_filled
        self._add("zero", zero, Estimate(0), self._look_seconds(ZERO))
        self._add(
            "same-filled", same, Estimate(same * _REFERENCE), self._look_seconds(SAME)
        )

    def compress(self) -> Trial:
        """Deduplication, and what compression makes of the rest; page by page that
        is the result."""
        library = self._codec.library
        contents = self._pages(_drawn(self._strata), CONTENT)
        everything = self._pages(_drawn(self._strata), CONTENT, DUPLICATE)
        by_page = self._attempt(contents, library, "page")
        packets = self._attempt(contents, library, "packet")
        before = self._attempt(everything, library, "packet")
        duplicate = self._scan.total.duplicate
        less = fewer(before, packets)
        gain = estimate(self._strata, self._counts(DUPLICATE), less, duplicate)
        self._add(
            "deduplication",
            duplicate,
            Estimate(duplicate * _REFERENCE),
            self._look_seconds(DUPLICATE, CONTENT) + self._scan.resolve_seconds,
            gain.minus(duplicate * _REFERENCE) if any(less.values()) else None,
        )
        self._add_trial("page", self._strata, self._contents, by_page)
        self._add_trial("packet", self._strata, self._contents, packets, beside=by_page)
        return by_page

    def _look_seconds(self, *classes: int) -> float:
        """For telling the class of all these pages, and hashing those that are
        neither zero nor in a hole."""
        counts = self._counts(*classes)
        packets = [packet for packet, count in counts.items() if count]
        drawn = self._random.sample(packets, min(len(packets), _LOOK_PACKETS))
        seen = sum(counts[packet] for packet in drawn)
        if not seen:
            return 0.0
        pages = self._pages(drawn, *classes)
        trial = self._attempt(pages, self._codec.library, "page", stage=CLASSIFY)
        return trial.cpu_seconds * sum(counts.values()) / seen

    def train(self, by_page: Trial) -> Dictionary | None:
        """Some packets train a dictionary, which is tried on the others, and beside
        ``by_page``; None when they are too few for that."""
        image = self._image
        drawn = _drawn(self._strata)
        room = dictionary.TRAINING_BYTES // image.page_size
        training: set[Packet] = set()
        for packet in self._random.sample(drawn, len(drawn) // _TRAINED_PART):
            if self._contents[packet] <= room:
                room -= self._contents[packet]
                training.add(packet)
        pages = [
            image.read(each.packet.first_page + number, 1)
            for each in self._pages(sorted(training), CONTENT)
            for number, wanted in enumerate(each.wanted)
            if wanted
        ]
        trained = dictionary.train(pages, self._codec.level)
        if trained is None:
            return None
        strata = without(self._strata, training)
        others = self._pages(_drawn(strata), CONTENT)
        self._add_trial(
            "dictionary",
            strata,
            self._contents,
            self._attempt(others, trained.library, "page"),
            beside=by_page,
            once_bytes=trained.size,
            once_seconds=trained.training_seconds,
        )
        return Dictionary(trained.size, len(pages), trained.training_seconds)

    def delta(self, earlier: Earlier, progress: Callable[[int], None]) -> Previous:
        """Pages that are as they were, and what changed in the others.

        ``progress`` is told the pages that were compared.
        """
        size = self._image.page_size
        sendable = self._pages(self._scan.classes, CONTENT, DUPLICATE)
        marked = {each.packet: each.wanted for each in sendable}
        compared = earlier.compare(marked, progress)
        same = sum(_both(compared.same.get(p), marks) for p, marks in marked.items())
        changed = {
            packet: _both(compared.changed.get(packet), marks)
            for packet, marks in marked.items()
        }
        self._add("unchanged", same, Estimate(0), compared.seconds)
        strata = self._draw(changed)
        drawn = sorted(_drawn(strata))
        pages = [
            Pages(packet, bytes(map(min, marked[packet], compared.changed[packet])))
            for packet in drawn
        ]
        started = time.thread_time()
        deltas = [earlier.delta(packet) for packet in drawn]
        seconds = time.thread_time() - started
        seen = sum(changed[packet] for packet in drawn)
        total = sum(changed.values())
        places = [
            (packet.first_page, packet.pages, number * size)
            for packet, number in zip(drawn, _starts(drawn), strict=True)
        ]
        packed = self._attempt(pages, self._codec.library, "packet")
        mixed = _core.PageMap(b"".join(deltas), places, size, False)
        self._add_trial(
            "delta",
            strata,
            changed,
            self._attempt(pages, self._codec.library, "packet", page_map=mixed),
            beside=packed,
            once_seconds=seconds * total / seen if seen else 0.0,
        )
        new = self._scan.total.content + self._scan.total.duplicate - same - total
        return Previous(earlier.path, same, total, new)


def _drawn(strata: Iterable[Stratum]) -> list[Packet]:
    return [packet for stratum in strata for packet in stratum.drawn]


def _both(some: bytearray | None, others: bytes) -> int:
    """Pages that two marks agree on."""
    return sum(map(min, some, others)) if some else 0


def _starts(packets: Iterable[Packet]) -> list[int]:
    """Pages before each of the packets."""
    starts, at = [], 0
    for packet in packets:
        starts.append(at)
        at += packet.pages
    return starts
