# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's capability ``compress``: threads that compress a page each.

Source: QEMU 8.2, ``migration/ram-compress.c`` and ``ram.c``
(``save_compress_page``); 9.1 has it no more.
"""

from __future__ import annotations

from collections.abc import Sequence

from migcomp.codecs import Codec
from migcomp.precopy import framing
from migcomp.precopy.clock import Clock, Threads
from migcomp.precopy.costs import Costs, Work
from migcomp.precopy.courier import Carried, Courier, cut
from migcomp.precopy.engine import Sent
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.window import Window

#: Bytes that wait for the link: with more, there is no bandwidth left.
_QUEUED = 256 << 10


class CompressEngine:
    """The migration thread hands pages over, zero pages too, and sends on what has
    been done.  The first record of a RAM block goes without the threads, after
    they have finished."""

    name = "compress"
    packet_pages = missing_pages = 1

    def __init__(
        self,
        codec: Codec,
        parameters: Parameters,
        clock: Clock,
        window: Window,
        costs: Costs,
        memory: GuestMemory,
    ) -> None:
        self._clock = clock
        self._window = window
        self._costs = costs
        self._wait = parameters.compress_wait_thread
        self._names = framing.BlockNames(memory.blocks, memory.page_size)
        self._together = framing.packet_pages(memory.page_size)
        self._courier = Courier(codec, "page", memory.page_size, self._together)
        self._threads = Threads(clock, parameters.compress_threads, 1)
        self._work = Work(codec.name, codec.level, "page")
        self._page_size = memory.page_size
        self.page_bytes = framing.RECORD_HEADER + memory.page_size
        other = "" if codec.name == "zlib" else " (QEMU has zlib only)"
        self.description = (
            f"compress-threads: {parameters.compress_threads}, {codec.name} level "
            f"{codec.level}{other}, compress-wait-thread {self._wait}"
        )

    def send(
        self,
        source: GuestMemory,
        destination: GuestMemory,
        pages: Sequence[int],
        sync_count: int,
        last: bool,
    ) -> Sent:
        sent = Sent()
        groups = ((group, 0) for group in cut(pages, self._together))
        for carried in self._courier.carry(source, destination, groups):
            self._send_group(carried, sent)
        sent.wire_bytes = sent.main_bytes
        return sent

    def _send_group(self, carried: Carried, sent: Sent) -> None:
        costs, work = self._costs, self._work
        spent = costs.of(
            work, carried.zero, carried.compressed, carried.normal, carried.cpu_ns
        )
        spent -= carried.zero * costs.zero_ns
        page_ns = max(spent, 0) // max(carried.content, 1)
        for page, size in zip(carried.pages, carried.sizes, strict=True):
            name = self._names.change(page)
            if name:
                self._threads.finish()
            if name or self._refused(sent):
                self._send_itself(size, name, sent)
                continue
            wire = framing.COMPRESSED_HEADER + size if size else framing.ZERO_PAGE
            self._clock.work(costs.submit_ns)
            self._threads.hand_over(
                page_ns if size else costs.zero_ns, wire, costs.handover_ns
            )
            sent.main_bytes += wire
            if size:
                sent.compressed += 1
                sent.compressed_size += wire - framing.RECORD_HEADER
            else:
                sent.duplicate += 1

    def _refused(self, sent: Sent) -> bool:
        """No thread is free, and the page is not to wait for one: adaptively, as
        long as there is bandwidth left (a proposal of December 2018)."""
        if self._wait == "on" or not self._threads.full:
            return False
        if self._wait == "adaptive" and (
            self._clock.backlog() > _QUEUED
            or self._window.ahead(self._clock.now, sent.main_bytes)
        ):
            return False
        sent.busy += 1
        return True

    def _send_itself(self, size: int, name: int, sent: Sent) -> None:
        wire = name + (self.page_bytes if size else framing.ZERO_PAGE)
        self._clock.work(self._costs.send_ns if size else self._costs.zero_ns)
        self._clock.write(wire)
        sent.main_bytes += wire
        if size:
            sent.normal += 1
        else:
            sent.duplicate += 1

    def end_section(self) -> Sent:
        return Sent()

    def end_round(self) -> Sent:
        self._threads.finish()
        return Sent()

    def close(self) -> None:
        self._courier.close()
