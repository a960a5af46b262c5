# SPDX-License-Identifier: LGPL-2.1-or-later
"""An engine that picks codec and level for each packet from what it measures.

A page takes a codec so much time of the threads, and what is left of it so much of
the link; the longer of the two counts.  The engine reckons which codec, or which two
in turn, make that shortest: where one would leave the threads idle and the other the
link, both together are faster than either.  Of two it takes the one that the shorter
queue is for: the lighter while the threads are behind, the heavier while the link is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from migcomp.codecs import open_codec
from migcomp.errors import CodecUnavailable
from migcomp.precopy.clock import Clock, Threads
from migcomp.precopy.costs import Costs
from migcomp.precopy.courier import cut
from migcomp.precopy.engine import Sent
from migcomp.precopy.engines.packets import PACKET_HEADER, PAGE_HEADER, Packets
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.window import Window
from migcomp.workqueue import DEFAULT_REQUESTS

#: Codec and level from light to heavy; and what is thought of each before it was
#: tried: the CPU time of a page, none's being 1, and the bytes that it saves, those
#: of zstd 1 being 1.
CANDIDATES = (
    ("none", 0, 1.0, 0.0),
    ("lz4", 1, 5.0, 0.85),
    ("zstd", 1, 8.0, 1.0),
    ("zstd", 3, 12.0, 1.02),
    ("zstd", 9, 50.0, 1.05),
)
_SAVED = 0.6  # of a page by zstd 1, until it is known
#: The first packets are small, and all by this one, until the link is known.
_FIRST = 1
_FIRST_PAGES = 32
_WEIGHT = 0.25  # of a new packet in an average
_SAVED_WEIGHT = 0.1  # in that of what packets save, which differ much
_TRY_EVERY = 16  # packets
_WORTH = 0.1  # Pages that save less are soon done with, and tell nothing of others.
_HOPELESS = 2.0  # What takes the threads as many times the best's time is not tried.
_AS_GOOD = 1.04  # Then the lighter one.
_BETTER = 1.12  # Two are not taken for less: they hinder each other.
_MEASURED_BYTES = 4096  # fewer tell little that is new of a link,
_TOLD_BYTES = 1000  # and fewer than these nothing
_MOMENT = 100_000  # ns


@dataclass
class _Candidate:
    """``cpu_ns``: of a page that is not zero, on average; ``strength``: what it saves
    of the same pages, compared with others."""

    name: str
    packets: Packets
    cpu_ns: float
    strength: float
    tried: bool = False
    chosen: int = 0

    def spent(self, ns: float) -> None:
        self.cpu_ns += (_WEIGHT if self.tried else 1.0) * (ns - self.cpu_ns)
        self.tried = True


class _LinkMeter:
    """``ns_per_byte``: what the link takes; 0 as long as nothing went over it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._gone = self._busy = 0
        self.ns_per_byte = 0.0

    def look(self) -> None:
        gone, busy = self._clock.link_use()
        moved = gone - self._gone
        if moved < (_MEASURED_BYTES if self.ns_per_byte else _TOLD_BYTES):
            return
        measured = (busy - self._busy) / moved
        if self.ns_per_byte:
            measured = self.ns_per_byte + _WEIGHT * (measured - self.ns_per_byte)
        self.ns_per_byte = measured
        self._gone, self._busy = gone, busy

    def wait(self) -> None:
        """Until it is known, as long as there is something on the way."""
        self.look()
        while not self.ns_per_byte and self._clock.backlog():
            self._clock.wait_until(self._clock.now + _MOMENT)
            self.look()


class AdaptiveEngine:
    """Independent packets, each by the codec that seems best when it is its turn."""

    name = "adaptive"

    def __init__(
        self,
        parameters: Parameters,
        clock: Clock,
        window: Window,
        costs: Costs,
        memory: GuestMemory,
    ) -> None:
        self._clock = clock
        self._window = window
        self._threads_nr = parameters.compress_threads
        self._threads = Threads(clock, self._threads_nr, DEFAULT_REQUESTS)
        self._limit_ns = (
            1e9 / parameters.max_bandwidth if parameters.max_bandwidth else 0.0
        )
        self._page_size = memory.page_size
        self._candidates = self._open(memory, costs)
        self._link = _LinkMeter(clock)
        self._zero_ns = costs.zero_ns
        self._saved = _SAVED  # by strength 1, of the pages that come now
        self._last_saved = 0.0
        self._packet_size = 0.0  # of those that were sent, on average
        self._packets = self._trials = 0
        self.packet_pages = self.missing_pages = self._candidates[0].packets.pages
        self.page_bytes = memory.page_size + PAGE_HEADER + PACKET_HEADER

    def _open(self, memory: GuestMemory, costs: Costs) -> list[_Candidate]:
        opened = []
        for codec, level, cpu, strength in CANDIDATES:
            try:
                library = open_codec(codec, level=level, grouping="packet")
            except CodecUnavailable:
                continue  # one choice less
            packets = Packets(library, "packet", memory, costs, self._threads)
            name = codec if codec == "none" else f"{codec} {level}"
            opened.append(_Candidate(name, packets, costs.send_ns * cpu, strength))
        return opened

    @property
    def description(self) -> str:
        total = sum(candidate.chosen for candidate in self._candidates)
        chosen = ", ".join(
            f"{candidate.name} {100 * candidate.chosen / total:.0f} %"
            for candidate in self._candidates
            if candidate.chosen >= 0.005 * total > 0
        )
        return f"adaptive: {self._threads_nr} threads; packets by {chosen or 'nothing'}"

    def send(
        self,
        source: GuestMemory,
        destination: GuestMemory,
        pages: Sequence[int],
        sync_count: int,
        last: bool,
    ) -> Sent:
        sent = Sent()
        for group in self._cut(pages):
            self._link.look()
            candidate = self._pick(len(group), sent.counted_bytes)
            cpu_ns = self._clock.cpu_ns
            part = candidate.packets.send(source, destination, group)
            if part.normal:
                self._learn(candidate, part, self._clock.cpu_ns - cpu_ns, len(group))
                self._try_another(candidate, source, group, sent.counted_bytes)
            sent.add(part)
        return sent

    def _cut(self, pages: Sequence[int]) -> Iterator[Sequence[int]]:
        at = 0
        while at < len(pages) and self._packets < self._threads_nr:
            yield pages[at : at + _FIRST_PAGES]
            at += _FIRST_PAGES
            if self._packets == self._threads_nr:
                self._threads.finish()
                self._link.wait()
        yield from cut(pages[at:], self.packet_pages)

    # --- Choosing ---------------------------------------------------------------

    def _pick(self, pages: int, counted_bytes: int) -> _Candidate:
        if self._packets < self._threads_nr:
            return self._candidates[min(_FIRST, len(self._candidates) - 1)]
        light, heavy = self._best_pair()
        threads, link = self._queues(counted_bytes)
        return heavy if link > threads else light

    def _best_pair(self) -> tuple[_Candidate, _Candidate]:
        """The two whose mixture takes least time for a page, the lighter first; twice
        the same where one alone is as good."""
        times = [max(self._times(candidate)) for candidate in self._candidates]
        least = min(times)
        best = next(
            candidate
            for candidate, time in zip(self._candidates, times, strict=True)
            if time <= least * _AS_GOOD
        )
        pair, least = (best, best), least / _BETTER
        for heavy in self._candidates:
            cpu, link = self._times(heavy)
            for light in self._candidates:
                less_cpu, more_link = self._times(light)
                # The threads are what heavy, and the link what light waits for.
                if cpu > link and more_link > less_cpu:
                    part = (cpu - link) / (cpu - link + more_link - less_cpu)
                    both = part * less_cpu + (1 - part) * cpu
                    if both < least:
                        pair, least = (light, heavy), both
        return pair

    def _times(self, candidate: _Candidate) -> tuple[float, float]:
        """Nanoseconds of the threads and of the link for a page."""
        size = self._page_size * (1 - self._share_saved(candidate))
        ns_per_byte = max(self._link.ns_per_byte, self._limit_ns)
        return candidate.cpu_ns / self._threads_nr, size * ns_per_byte

    def _queues(self, counted_bytes: int) -> tuple[float, float]:
        """Nanoseconds until the threads and the link are done with what they have."""
        busy, jobs = self._threads.ahead()
        queued = self._clock.backlog() + jobs * self._packet_size
        ahead = self._window.ahead(self._clock.now, counted_bytes)
        return busy, max(queued * self._link.ns_per_byte, ahead * self._limit_ns)

    def _share_saved(self, candidate: _Candidate) -> float:
        return min(self._saved * candidate.strength, 1.0)

    # --- Learning ---------------------------------------------------------------

    def _learn(
        self, candidate: _Candidate, part: Sent, cpu_ns: int, listed: int
    ) -> None:
        self._packets += 1
        cpu_ns -= part.duplicate * self._zero_ns
        candidate.chosen += 1
        self._packet_size += _WEIGHT * (part.wire_bytes - self._packet_size)
        if not candidate.strength:
            candidate.spent(cpu_ns / part.normal)
        else:
            size = part.wire_bytes - PACKET_HEADER - listed * PAGE_HEADER
            saved = 1 - size / (part.normal * self._page_size)
            if saved > _WORTH:
                candidate.spent(cpu_ns / part.normal)
            self._saved += _SAVED_WEIGHT * (saved / candidate.strength - self._saved)
            self._last_saved = saved

    def _try_another(
        self,
        candidate: _Candidate,
        source: GuestMemory,
        pages: Sequence[int],
        counted_bytes: int,
    ) -> None:
        """Now and then, what another would make of the same pages; only where the
        threads have time for it."""
        if self._packets % _TRY_EVERY:
            return
        best = min(max(self._times(each)) for each in self._candidates)
        others = [
            each
            for each in self._candidates
            if each.strength
            and each is not candidate
            and self._times(each)[0] < _HOPELESS * best
        ]
        if not others:
            return
        other = others[self._trials % len(others)]
        self._trials += 1
        threads, link = self._queues(counted_bytes)
        if threads + other.cpu_ns * len(pages) / self._threads_nr > link:
            return
        share, cpu_ns = other.packets.attempt(source, pages)
        if share > _WORTH:
            other.spent(cpu_ns)
        if candidate.strength and self._last_saved > 0:
            ratio = candidate.strength * share / self._last_saved
            other.strength += _WEIGHT * (ratio - other.strength)
        else:
            self._saved += _SAVED_WEIGHT * (share / other.strength - self._saved)

    def end_section(self) -> Sent:
        return Sent()

    def end_round(self) -> Sent:
        self._threads.finish()
        return Sent()

    def close(self) -> None:
        for candidate in self._candidates:
            candidate.packets.close()
