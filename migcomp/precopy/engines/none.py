# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's engine without any capability: the migration thread sends pages."""

from __future__ import annotations

from collections.abc import Sequence

from migcomp.codecs import open_codec
from migcomp.precopy import framing
from migcomp.precopy.clock import Clock
from migcomp.precopy.costs import Costs
from migcomp.precopy.courier import Courier, cut
from migcomp.precopy.engine import Sent
from migcomp.precopy.memory import GuestMemory


class PlainEngine:
    """Pages as they are, and zero pages as such."""

    name = "none"
    description = "no compression"
    packet_pages = missing_pages = 1

    def __init__(self, clock: Clock, costs: Costs, memory: GuestMemory) -> None:
        self._clock = clock
        self._costs = costs
        self.names = framing.BlockNames(memory.blocks, memory.page_size)
        self._together = framing.packet_pages(memory.page_size)
        self._courier = Courier(
            open_codec("none"), "page", memory.page_size, self._together
        )
        self.page_bytes = framing.RECORD_HEADER + memory.page_size

    def send(
        self,
        source: GuestMemory,
        destination: GuestMemory,
        pages: Sequence[int],
        sync_count: int,
        last: bool,
    ) -> Sent:
        groups = ((group, 0) for group in cut(pages, self._together))
        carried = self._courier.carry(source, destination, groups)
        duplicate = sum(group.zero for group in carried)
        normal = len(pages) - duplicate
        size = (
            self.names.bytes_for(pages)
            + normal * self.page_bytes
            + duplicate * framing.ZERO_PAGE
        )
        self._clock.work(normal * self._costs.send_ns + duplicate * self._costs.zero_ns)
        self._clock.write(size)
        return Sent(
            normal=normal, duplicate=duplicate, main_bytes=size, wire_bytes=size
        )

    def end_section(self) -> Sent:
        return Sent()

    def end_round(self) -> Sent:
        return Sent()

    def close(self) -> None:
        self._courier.close()
