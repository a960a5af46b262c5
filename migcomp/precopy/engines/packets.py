# SPDX-License-Identifier: LGPL-2.1-or-later
"""What QEMU has not: independent packets that any thread compresses, deltas of all
pages sent before, and deduplication."""

from __future__ import annotations

from collections.abc import Sequence

from migcomp._core import xxh64
from migcomp.codecs import Codec
from migcomp.precopy import framing
from migcomp.precopy.clock import Clock, Threads
from migcomp.precopy.costs import Costs, Work
from migcomp.precopy.courier import Carried, Courier, cut
from migcomp.precopy.engine import Sent
from migcomp.precopy.memory import GuestMemory
from migcomp.workqueue import DEFAULT_REQUESTS

#: Of a packet: magic, flags, number of pages and size; the address of each page.
PACKET_HEADER = 32
PAGE_HEADER = 8
#: Address, and the address of the page that it equals.
_DEDUPLICATED = 2 * PAGE_HEADER


class Packets:
    """Sends packets of one codec at one level, and counts them.

    ``deltas``: of pages that the other side has, against what it has.
    """

    def __init__(
        self,
        codec: Codec,
        grouping: str,
        memory: GuestMemory,
        costs: Costs,
        threads: Threads,
        *,
        deltas: bool = False,
    ) -> None:
        self.pages = framing.packet_pages(memory.page_size)
        self._work = Work(codec.name, codec.level, "delta" if deltas else grouping)
        self._costs = costs
        self._threads = threads
        self._page_size = memory.page_size
        self._pagewise = grouping == "page"
        self._deltas = deltas
        self._courier = Courier(
            codec, grouping, memory.page_size, self.pages, deltas=deltas
        )

    def send(
        self,
        source: GuestMemory,
        destination: GuestMemory,
        pages: Sequence[int],
    ) -> Sent:
        sent = Sent()
        groups = ((group, 0) for group in cut(pages, self.pages))
        for carried in self._courier.carry(source, destination, groups):
            self._send_packet(carried, sent)
        return sent

    def attempt(self, source: GuestMemory, pages: Sequence[int]) -> tuple[float, float]:
        """Compresses a packet for nothing: the share of its bytes that is saved, and
        the CPU time of a page that is not zero.  One of them is not."""
        (carried,) = self._courier.carry(source, None, [(pages, 0)])
        cpu_ns = self._cpu_ns(carried)
        self._threads.hand_over(cpu_ns, 0)
        saved = 1 - self._size(carried) / (carried.content * self._page_size)
        cpu_ns -= carried.zero * self._costs.zero_ns
        return saved, cpu_ns / carried.content

    def measure(self, source: GuestMemory, pages: Sequence[int]) -> None:
        """Compresses a packet only to know what that costs; no thread is the busier."""
        (carried,) = self._courier.carry(source, None, [(pages, 0)])
        self._cpu_ns(carried)

    def _send_packet(self, carried: Carried, sent: Sent) -> None:
        listed = len(carried.pages) - carried.unchanged
        wire = self._size(carried)
        if listed:
            wire += PACKET_HEADER + listed * PAGE_HEADER
        self._threads.hand_over(self._cpu_ns(carried), wire)
        part = Sent(
            duplicate=carried.zero,
            skipped=carried.unchanged,
            multifd_bytes=wire,
            wire_bytes=wire,
        )
        if self._deltas:
            part.deltas = carried.content
        else:
            part.normal = carried.content
        sent.add(part)

    def _size(self, carried: Carried) -> int:
        """What does not shrink goes as it is."""
        if self._pagewise:
            return sum(min(size, self._page_size) for size in carried.sizes)
        return min(carried.size, carried.content * self._page_size)

    def _cpu_ns(self, carried: Carried) -> int:
        costs = self._costs
        spent = costs.of(
            self._work,
            carried.zero,
            carried.compressed + carried.unchanged,
            carried.normal,
            carried.cpu_ns,
        )
        return spent + costs.send_ns * self._size(carried) // self._page_size

    def close(self) -> None:
        self._courier.close()


class PacketEngine:
    """``name``: what is done besides compressing packets: ``packets`` nothing more,
    ``delta`` compresses a page that was sent before by itself, against what the other
    side has of it, ``dedup`` sends a page that equals one sent before as its address.

    The sender of deltas would have to keep a copy of all that it sent.
    """

    def __init__(
        self,
        name: str,
        codec: Codec,
        threads: int,
        clock: Clock,
        costs: Costs,
        memory: GuestMemory,
    ) -> None:
        self.name = name
        self._clock = clock
        self._threads = Threads(clock, threads, DEFAULT_REQUESTS)
        self._known = bytearray(memory.pages if name == "delta" else 0)
        self._deltas = (
            Packets(codec, "page", memory, costs, self._threads, deltas=True)
            if name == "delta"
            else None
        )
        self._duplicates = Duplicates(costs, clock) if name == "dedup" else None
        self._packets = Packets(codec, "packet", memory, costs, self._threads)
        self.packet_pages = self.missing_pages = self._packets.pages
        self.page_bytes = memory.page_size + PAGE_HEADER + PACKET_HEADER
        self.description = (
            f"{name}: {threads} threads, {codec.name} level {codec.level}"
        )

    def send(
        self,
        source: GuestMemory,
        destination: GuestMemory,
        pages: Sequence[int],
        sync_count: int,
        last: bool,
    ) -> Sent:
        if self._deltas is not None:
            known = [page for page in pages if self._known[page]]
            fresh = [page for page in pages if not self._known[page]]
            for page in fresh:
                self._known[page] = 1
            sent = self._deltas.send(source, destination, known)
            sent.add(self._packets.send(source, destination, fresh))
            return sent
        if self._duplicates is None:
            return self._packets.send(source, destination, pages)
        unique, equal = self._duplicates.split(source, pages)
        sent = self._packets.send(source, destination, unique)
        for page, model in equal:
            destination.write(page, destination.read(model))
        size = len(equal) * _DEDUPLICATED
        self._clock.write(size)
        sent.add(Sent(deduplicated=len(equal), multifd_bytes=size, wire_bytes=size))
        return sent

    def end_section(self) -> Sent:
        return Sent()

    def end_round(self) -> Sent:
        self._threads.finish()
        return Sent()

    def close(self) -> None:
        self._packets.close()
        if self._deltas is not None:
            self._deltas.close()


class Duplicates:
    """Which pages equal one that the other side has, by XXH64 of what was sent.

    A program that migrates guests would take a hash that nobody can forge; that
    none of these misleads, the comparison at the end shows.
    """

    def __init__(self, costs: Costs, clock: Clock) -> None:
        self._costs = costs
        self._clock = clock
        self._models: dict[int, int] = {}  # hash: page
        self._hashes: dict[int, int] = {}  # page: hash

    def split(
        self, source: GuestMemory, pages: Sequence[int]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Those to be sent; and those that equal another, with its number."""
        unique: list[int] = []
        equal: list[tuple[int, int]] = []
        zero = xxh64(bytes(source.page_size))
        for page in pages:
            self._forget(page)
        for page in pages:
            content = xxh64(source.read(page))
            model = self._models.get(content)
            if content != zero and model is not None:
                equal.append((page, model))
                continue
            unique.append(page)
            if content != zero:
                self._models[content] = page
                self._hashes[page] = content
        self._clock.work(len(pages) * self._costs.hash_ns)
        return unique, equal

    def _forget(self, page: int) -> None:
        """Its content is about to be replaced."""
        content = self._hashes.pop(page, None)
        if content is not None:
            del self._models[content]
