# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's multifd: packets of pages on channels of their own.

Source: QEMU 8.2, ``migration/multifd.c``, ``multifd-zlib.c`` and
``multifd-zstd.c``; 9.0 for zero pages in packets; 7.2 for what differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migcomp.codecs import Codec, open_codec
from migcomp.precopy import framing
from migcomp.precopy.clock import Channels, Clock
from migcomp.precopy.costs import Costs, Work
from migcomp.precopy.courier import Carried, Courier, cut
from migcomp.precopy.engine import Sent
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters

#: Channels find zero pages, which then are in their packets' headers.
_ZERO_PAGES_IN_PACKETS = (9, 0)
#: Bytes of multifd are counted as they are, and channels wait for each other once
#: in a round; before, pages counted whole, and they waited after each section.
_COUNTS_RIGHTLY = (8, 1)


class MultifdEngine:
    """Pages go to a packet until it is full; each channel in turn takes one.

    A channel keeps one compressor for all of its packets.
    """

    name = "multifd"

    def __init__(
        self,
        codec: Codec,
        parameters: Parameters,
        clock: Clock,
        costs: Costs,
        memory: GuestMemory,
    ) -> None:
        channels, version = parameters.multifd_channels, parameters.qemu_version
        size = memory.page_size
        self._clock = clock
        self._costs = costs
        self._codec = codec
        self._plain = codec.name == "none"
        self._page_size = size
        self.packet_pages = framing.packet_pages(size)
        self._header = framing.packet_header(size)
        self._counts_rightly = version >= _COUNTS_RIGHTLY
        self._zero_pages_in_packets = version >= _ZERO_PAGES_IN_PACKETS
        self._names = framing.BlockNames(memory.blocks, size)
        self._packet_names = framing.BlockNames(memory.blocks, size)
        grouping = "packet" if self._plain else "stream"
        self._work = Work(codec.name, codec.level, grouping)
        self._courier = Courier(codec, grouping, size, self.packet_pages, channels)
        self._sieve = (
            None
            if self._zero_pages_in_packets
            else Courier(open_codec("none"), "page", size, self.packet_pages)
        )
        self._channels = Channels(clock, channels)
        self._channels_nr = channels
        self._next = 0
        self._packet: list[int] = []
        # Each channel says who it is; QEMU does not count that.
        clock.write(channels * framing.INITIAL_PACKET)
        self._memories: tuple[GuestMemory, GuestMemory] | None = None
        self.page_bytes = size + -(-self._header // self.packet_pages)
        self.description = f"multifd: {channels} channels, " + (
            "no compression" if self._plain else f"{codec.name} level {codec.level}"
        )

    @property
    def missing_pages(self) -> int:
        return self.packet_pages - len(self._packet)

    def send(
        self,
        source: GuestMemory,
        destination: GuestMemory,
        pages: Sequence[int],
        sync_count: int,
        last: bool,
    ) -> Sent:
        self._memories = source, destination
        sent = Sent()
        if self._sieve is not None:
            pages = self._sift(self._sieve, source, destination, pages, sent)
        self._send_packets(self._fill(pages), sent)
        return sent

    def _sift(
        self,
        sieve: Courier,
        source: GuestMemory,
        destination: GuestMemory,
        pages: Sequence[int],
        sent: Sent,
    ) -> list[int]:
        """The migration thread finds zero pages, and sends them itself."""
        groups = ((group, 0) for group in cut(pages, self.packet_pages))
        content: list[int] = []
        zeros: list[int] = []
        for carried in sieve.carry(source, None, groups):
            for page, size in zip(carried.pages, carried.sizes, strict=True):
                (content if size else zeros).append(page)
        empty = bytes(self._page_size)
        for page in zeros:
            if destination.read(page) != empty:
                destination.write(page, empty)
        wire = self._names.bytes_for(zeros) + len(zeros) * framing.ZERO_PAGE
        self._clock.work(len(pages) * self._costs.zero_ns)
        self._clock.write(wire)
        sent.add(Sent(duplicate=len(zeros), main_bytes=wire, wire_bytes=wire))
        return content

    def _fill(self, pages: Sequence[int]) -> Iterator[tuple[Sequence[int], int]]:
        """Packets that are full, or that a page of another block ends."""
        packet = self._packet
        for page in pages:
            if self._packet_names.change(page) and packet:
                yield self._take_packet()
                packet = self._packet
            packet.append(page)
            if len(packet) == self.packet_pages:
                yield self._take_packet()
                packet = self._packet

    def _take_packet(self) -> tuple[Sequence[int], int]:
        packet, self._packet = self._packet, []
        channel, self._next = self._next, (self._next + 1) % self._channels_nr
        return packet, channel

    def _send_packets(
        self, packets: Iterator[tuple[Sequence[int], int]], sent: Sent
    ) -> None:
        assert self._memories is not None
        for carried in self._courier.carry(*self._memories, packets):
            self._send_packet(carried, sent)

    def _send_packet(self, carried: Carried, sent: Sent) -> None:
        normal = len(carried.pages) - carried.zero
        wire = self._header + carried.size
        self._channels.hand_over(carried.channel, self._cpu_ns(carried), wire)
        counted = wire
        if not self._counts_rightly:
            counted = self._header + len(carried.pages) * self._page_size
        sent.add(
            Sent(
                normal=normal,
                duplicate=carried.zero,
                multifd_bytes=counted,
                wire_bytes=wire,
            )
        )

    def _cpu_ns(self, carried: Carried) -> int:
        costs = self._costs
        size_ns = costs.send_ns * carried.size // self._page_size
        if self._plain:
            return size_ns + carried.zero * costs.zero_ns
        return size_ns + costs.of(
            self._work, carried.zero, carried.compressed, carried.normal, carried.cpu_ns
        )

    def _sync(self, mark: int) -> Sent:
        """Every channel sends a packet without pages, and all wait for it.

        ``mark``: bytes that the main stream has to say.
        """
        sent = Sent()
        if self._packet:
            self._send_packets(iter([self._take_packet()]), sent)
        for channel in range(self._channels_nr):
            self._channels.hand_over(channel, 0, self._header)
        self._channels.finish()
        self._clock.write(mark)
        size = self._channels_nr * self._header
        sent.add(
            Sent(
                main_bytes=mark,
                framing_bytes=mark,
                multifd_bytes=size,
                wire_bytes=size + mark,
            )
        )
        return sent

    def end_section(self) -> Sent:
        return Sent() if self._counts_rightly else self._sync(0)

    def end_round(self) -> Sent:
        return self._sync(framing.MULTIFD_FLUSH) if self._counts_rightly else Sent()

    def close(self) -> None:
        self._courier.close()
        if self._sieve is not None:
            self._sieve.close()
