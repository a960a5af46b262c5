# SPDX-License-Identifier: LGPL-2.1-or-later
"""An engine that picks codec and level for each packet from what it measures.

A page takes a codec so much time of the threads, and what is left of it so much of
the link; the longer of the two counts, and how long the link would have nothing to
do meanwhile.  The engine reckons which codec, or which two in turn, make that
shortest: where one would leave the threads idle and the other the link, both together
are faster than either.  Of two it takes the one that the shorter queue is for: the
lighter while the threads are behind, the heavier while the link is.

It begins with what is thought of each codec, and with the rate that the network
interface tells, and learns from each packet when a thread is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from migcomp.codecs import open_codec
from migcomp.errors import CodecUnavailable
from migcomp.precopy.clock import Clock, Threads
from migcomp.precopy.costs import Costs
from migcomp.precopy.engine import Sent
from migcomp.precopy.engines.packets import PACKET_HEADER, PAGE_HEADER, Packets
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.window import Window

#: Codec and level from light to heavy; and what is thought of each before it was
#: tried: the CPU time of a page, none's being 1, and the bytes that it saves, those
#: of zstd 1 being 1.
CANDIDATES = (
    ("none", 0, 1.0, 0.0),
    ("lz4", 1, 6.0, 0.85),
    ("zstd", 1, 9.0, 1.0),
    ("zstd", 3, 13.0, 1.02),
    ("zstd", 9, 55.0, 1.05),
)
_SAVED = 0.6  # of a page by zstd 1, until it is known
#: Packets of a thread: the fewer are on the way, the sooner is known what they tell.
_DEPTH = 1
_WEIGHT = 0.25  # of a new packet in an average
_SAVED_WEIGHT = 0.1  # in that of what packets save, which differ much
_TRY_EVERY = 32  # packets
_UNSURE = 1.5  # times faster than is thought at first a codec may be
_ENOUGH = 4  # times as long as it takes to try a codec must be left, to try it then
_WORTH = 0.1  # Pages that save less are soon done with, and tell nothing of others.
_AS_GOOD = 1.02  # Then the lighter one.
_BETTER = 1.12  # Two are not taken for less: they hinder each other.
_MEASURED_BYTES = 4096  # Fewer tell little of a link.


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


@dataclass(frozen=True)
class _Lesson:
    """``learn`` when a thread is ``done``, which was ``expected`` to be at another
    time; both are in nanoseconds on the clock."""

    done: int
    expected: float
    learn: Callable[[], None]


@dataclass(frozen=True)
class _Packet:
    """``saved``: the share of its pages' bytes; ``page_ns``: CPU time of a page that
    is not zero; ``done``: when a thread is."""

    candidate: _Candidate
    pages: int
    wire_bytes: int
    saved: float
    page_ns: float
    done: int


class _LinkMeter:
    """``ns_per_byte``: what the link takes; until it was measured, what the network
    interface tells (``/sys/class/net/NAME/speed``)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._gone = self._busy = 0
        self._measured = False
        self.ns_per_byte = clock.link_time(1)

    def look(self) -> None:
        gone, busy = self._clock.link_use()
        moved = gone - self._gone
        if moved < _MEASURED_BYTES:
            return
        weight = _WEIGHT if self._measured else 1.0
        self.ns_per_byte += weight * ((busy - self._busy) / moved - self.ns_per_byte)
        self._measured = True
        self._gone, self._busy = gone, busy


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
        self._threads = Threads(clock, self._threads_nr, _DEPTH)
        self._limit_ns = (
            1e9 / parameters.max_bandwidth if parameters.max_bandwidth else 0.0
        )
        self._page_size = memory.page_size
        self._candidates = self._open(memory, costs)
        self._link = _LinkMeter(clock)
        self._zero_ns = costs.zero_ns
        self._measures = costs.stored is None
        self._saved = _SAVED  # by strength 1, of the pages that come now
        self._packet_size = 0.0  # of those that were sent, on average
        self._unsent = memory.pages  # of the first round
        self._packets = self._trials = 0
        self._lessons: list[_Lesson] = []
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
        for at in range(0, len(pages), self.packet_pages):
            group = pages[at : at + self.packet_pages]
            self._threads.make_room()
            self._link.look()
            self._learn()
            left = max(self._unsent, len(pages) - at)
            self._unsent -= len(group)
            candidate = self._pick(left, sent.counted_bytes)
            cpu_ns = self._clock.cpu_ns
            part = candidate.packets.send(source, destination, group)
            if part.normal:
                packet = self._packet(candidate, part, self._clock.cpu_ns - cpu_ns)
                self._try_another(packet, source, group, sent.counted_bytes)
                if self._measures and self._packets % _TRY_EVERY == 1:
                    self._measure_others(candidate, source, group)
            sent.add(part)
        return sent

    # --- Choosing ---------------------------------------------------------------

    def _pick(self, left: int, counted_bytes: int) -> _Candidate:
        threads, link = self._queues(counted_bytes)
        light, heavy = self._best_pair(left, max(link - threads, 0))
        return heavy if link > threads else light

    def _best_pair(self, left: int, covered: float) -> tuple[_Candidate, _Candidate]:
        """The two whose mixture takes least time for a page, the lighter first; twice
        the same where one alone is as good.

        ``covered``: nanoseconds for which the link has more to do than the threads,
        ``left``: pages.
        """
        pages = min(self.packet_pages, left)
        threads = min(self._threads_nr, -(-left // self.packet_pages))

        def whole(page_ns: float, slowest: _Candidate) -> float:
            """With the wait of a link that has nothing until packets are there, which
            as many as there are threads have in common."""
            return page_ns + max(slowest.cpu_ns - covered / pages, 0) / threads

        times = [whole(max(self._times(each)), each) for each in self._candidates]
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
                    both = whole(part * less_cpu + (1 - part) * cpu, heavy)
                    if both < least:
                        pair, least = (light, heavy), both
        return pair

    def _times(self, candidate: _Candidate) -> tuple[float, float]:
        """Nanoseconds of the threads and of the link for a page."""
        size = self._page_size * (1 - self._share_saved(candidate))
        ns_per_byte = max(self._link.ns_per_byte, self._limit_ns)
        return candidate.cpu_ns / self._threads_nr, size * ns_per_byte

    def _queues(self, counted_bytes: int) -> tuple[float, float]:
        """Nanoseconds until the threads and the link are done with what they have, as
        far as can be told before they are."""
        now = self._clock.now
        work = sum(max(each.expected - now, 0) for each in self._lessons)
        queued = self._clock.backlog() + self._threads.jobs * self._packet_size
        ahead = self._window.ahead(now, counted_bytes)
        return work / self._threads_nr, max(
            queued * self._link.ns_per_byte, ahead * self._limit_ns
        )

    def _share_saved(self, candidate: _Candidate) -> float:
        return min(self._saved * candidate.strength, 1.0)

    # --- Learning ---------------------------------------------------------------

    def _learn(self) -> None:
        """From what the threads are done with."""
        lessons, self._lessons = self._lessons, []
        for lesson in lessons:
            if lesson.done <= self._clock.now:
                lesson.learn()
            else:
                self._lessons.append(lesson)

    def _packet(self, candidate: _Candidate, part: Sent, cpu_ns: int) -> _Packet:
        """The one that was handed over last."""
        self._packets += 1
        candidate.chosen += 1
        listed = part.normal + part.duplicate
        size = part.wire_bytes - PACKET_HEADER - listed * PAGE_HEADER
        packet = _Packet(
            candidate,
            part.normal,
            part.wire_bytes,
            1 - size / (part.normal * self._page_size),
            (cpu_ns - part.duplicate * self._zero_ns) / part.normal,
            self._threads.done,
        )
        self._later(
            candidate, part.normal, packet.done, partial(self._sent_one, packet)
        )
        return packet

    def _sent_one(self, packet: _Packet) -> None:
        candidate = packet.candidate
        self._packet_size += _WEIGHT * (packet.wire_bytes - self._packet_size)
        if not candidate.strength:
            candidate.spent(packet.page_ns)
            return
        if packet.saved > _WORTH:
            self._spent(candidate, packet.page_ns)
        self._saw(packet.saved / candidate.strength)

    def _spent(self, candidate: _Candidate, page_ns: float) -> None:
        """The first that is known tells how fast the host is with all of them."""
        if not self._host_is_known:
            factor = page_ns / candidate.cpu_ns
            for each in self._candidates:
                if each.strength:
                    each.cpu_ns *= factor
        candidate.spent(page_ns)

    @property
    def _host_is_known(self) -> bool:
        return any(each.tried for each in self._candidates if each.strength)

    def _saw(self, saved: float) -> None:
        self._saved += _SAVED_WEIGHT * (saved - self._saved)

    def _try_another(
        self,
        packet: _Packet,
        source: GuestMemory,
        pages: Sequence[int],
        counted_bytes: int,
    ) -> None:
        """Now and then, what another would make of the same pages; only where the
        threads have time for it."""
        if self._packets % _TRY_EVERY:
            return
        others = [
            each
            for each in self._candidates
            if each.strength
            and each is not packet.candidate
            and self._may_be_best(each)
        ]
        if not others:
            return
        other = others[self._trials % len(others)]
        self._trials += 1
        threads, link = self._queues(counted_bytes)
        if threads + other.cpu_ns * len(pages) / self._threads_nr > link:
            return
        saved, page_ns = other.packets.attempt(source, pages)
        done = max(packet.done, self._threads.done)
        lesson = partial(self._tried, other, saved, page_ns, packet)
        self._later(other, packet.pages, done, lesson)

    def _measure_others(
        self, candidate: _Candidate, source: GuestMemory, pages: Sequence[int]
    ) -> None:
        """For costs that are kept: on another link it will choose otherwise."""
        for each in self._candidates:
            if each is not candidate:
                each.packets.measure(source, pages)

    def _later(
        self, candidate: _Candidate, pages: int, done: int, learn: Callable[[], None]
    ) -> None:
        expected = self._clock.now + pages * candidate.cpu_ns
        self._lessons.append(_Lesson(done, expected, learn))

    def _may_be_best(self, candidate: _Candidate) -> bool:
        """Not if it takes the threads longer than the best takes in all.  Before it is
        known how fast the host is it may be faster than is thought, which is worth a
        packet where enough is left."""
        most = min(max(self._times(each)) for each in self._candidates)
        packet_ns = candidate.cpu_ns * self.packet_pages
        if not self._host_is_known and self._unsent * most > _ENOUGH * packet_ns:
            most *= _UNSURE
        return self._times(candidate)[0] <= most

    def _tried(
        self, other: _Candidate, saved: float, page_ns: float, packet: _Packet
    ) -> None:
        """On the pages of ``packet``."""
        strength = packet.candidate.strength
        if saved > _WORTH:
            self._spent(other, page_ns)
        if strength and packet.saved > 0:
            ratio = strength * saved / packet.saved
            other.strength += _WEIGHT * (ratio - other.strength)
        else:
            self._saw(saved / other.strength)

    def end_section(self) -> Sent:
        return Sent()

    def end_round(self) -> Sent:
        self._threads.finish()
        return Sent()

    def close(self) -> None:
        for candidate in self._candidates:
            candidate.packets.close()
