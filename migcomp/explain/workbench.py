# SPDX-License-Identifier: LGPL-2.1-or-later
"""What all techniques are tried with: the image, the sample, and the codec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

from migcomp import _core
from migcomp.codecs import Codec
from migcomp.errors import PageError, WorkerError
from migcomp.explain.layout import Packet
from migcomp.explain.results import Estimate, Sample, Technique
from migcomp.explain.sample import Pages, Stratum, draw, estimate
from migcomp.explain.scan import CONTENT, DUPLICATE, Scan
from migcomp.explain.trial import Trial, attempt, fewer
from migcomp.images.decode import page_error
from migcomp.images.image import Image

_TIMED_PACKETS = 128  # to time what is done to all pages of a kind
_GIB = 1 << 30


class Workbench:
    """``found`` has the techniques that were tried.

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
        self.image = image
        self.scan = scan
        self.codec = codec
        self.random = Random(seed)
        self._image_bytes = scan.total.total * image.page_size
        self._threads = threads
        self._sample_pages = sample_bytes // image.page_size
        both = self.counts(CONTENT, DUPLICATE)
        self.strata = self.draw(both)
        drawn = drawn_from(self.strata)
        self.sample = Sample(
            seed=seed,
            packet_pages=scan.cutter.packet_pages,
            packets=len(drawn),
            packets_of=sum(stratum.packets for stratum in self.strata),
            pages=sum(both[packet] for packet in drawn),
            pages_of=sum(both.values()),
            strata=len(self.strata),
            asked_pages=self._sample_pages,
        )

    def counts(self, *classes: int) -> dict[Packet, int]:
        """How many pages of these classes each packet has."""
        return {
            packet: sum(kinds.count(kind) for kind in classes)
            for packet, kinds in self.scan.classes.items()
        }

    def pages(self, packets: Iterable[Packet], *classes: int) -> list[Pages]:
        """Those of these classes, of packets that have any."""
        marks = bytes(kind in classes for kind in range(256))
        chosen = (
            Pages(packet, bytes(self.scan.classes[packet].translate(marks)))
            for packet in packets
        )
        return [pages for pages in chosen if pages.count]

    def draw(self, sizes: Mapping[Packet, int]) -> list[Stratum]:
        """``sizes``: how many of its pages count, for each packet."""
        return draw(self.scan.mean_entropy, sizes, self._sample_pages, self.random)

    def attempt(
        self,
        pages: list[Pages],
        library: _core.Library,
        grouping: str,
        *,
        stage: int = 0,
        previous: _core.PageMap | None = None,
    ) -> Trial:
        """``previous``: what these pages were before; CodecUnavailable if the codec
        has no deltas."""
        assert self.image.page_map is not None
        try:
            return attempt(
                self.image.page_map,
                self.image.page_size,
                pages,
                library,
                self.codec.level,
                grouping,
                stage=stage,
                previous=previous,
                threads=self._threads,
            )
        except PageError as error:
            if error.of_input:
                raise page_error(self.image, error) from error.__cause__
            raise WorkerError(f"{self.image.path}: {error}") from error.__cause__

    def timed(self, counts: Mapping[Packet, int]) -> list[Packet]:
        """Some packets that have any of these pages, to time what is done to all."""
        packets = [packet for packet, count in counts.items() if count]
        count = min(len(packets), _TIMED_PACKETS)
        return sorted(self.random.sample(packets, count))

    def add(
        self,
        key: str,
        pages: int,
        sent: Estimate,
        cpu_seconds: float,
        gain: Estimate | None = None,
    ) -> None:
        """``cpu_seconds``: for all of the pages."""
        size = pages * self.image.page_size
        cost = cpu_seconds * _GIB / self._image_bytes
        self.found.append(Technique(key, pages, size, sent, cost, gain))

    def add_trial(
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
        seconds = scaled(trial, sizes)
        gain = None
        if beside is not None:
            less = fewer(beside, trial)
            gain = estimate(strata, sizes, less, total).minus(once_bytes)
        sent = sent.minus(-once_bytes)
        self.add(key, total, sent, seconds + once_seconds, gain)


def scaled(trial: Trial, sizes: Mapping[Packet, int]) -> float:
    """CPU time of all pages, by that of the packets that were tried."""
    seen = sum(sizes[packet] for packet in trial.bytes_out)
    return trial.cpu_seconds * sum(sizes.values()) / seen if seen else 0.0


def drawn_from(strata: Iterable[Stratum]) -> list[Packet]:
    return [packet for stratum in strata for packet in stratum.drawn]
