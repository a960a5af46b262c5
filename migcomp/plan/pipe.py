# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migration thread, multifd's channels and link, as average pages pass them.

What ``migcomp.precopy.clock`` is for pages one by one: the same rules, in seconds, and
many packets at a time where they only follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from migcomp.plan.flows import PageFlow
from migcomp.precopy.link import Link

#: Packets for each channel that are followed one by one, behind those that are not.
_FOLLOWED = 3


@dataclass
class Sum:
    """Of pages: bytes on the link and as QEMU counts them, CPU time, and the seconds
    that all takes a link and threads that do nothing else."""

    wire: float = 0.0
    counted: float = 0.0
    cpu_ns: float = 0.0
    alone: float = 0.0

    def add(self, other: Sum) -> None:
        self.wire += other.wire
        self.counted += other.counted
        self.cpu_ns += other.cpu_ns
        self.alone += other.alone


class Pipe:
    """``now``: the migration thread's time.  ``slower``: so many times than a link
    that the migration has for itself."""

    def __init__(self, link: Link, channels: int) -> None:
        self._rate = link.bytes_per_second
        self._buffer_bytes = link.buffer
        self._free = [0.0] * channels
        self._next = 0
        self._link_free = 0.0
        self._packet = Sum()
        self.filled = 0.0  # of that packet
        self._thread = 0.0  # seconds of it
        self.now = 0.0
        self.slower = 1.0

    @property
    def byte(self) -> float:
        """Seconds that the link needs for one."""
        return self.slower / self._rate

    @property
    def empty_at(self) -> float:
        """When all that was given to the link has left it."""
        return max(self.now, self._link_free)

    def page_seconds(self, flow: PageFlow) -> float:
        return max(flow.wire * self.byte, flow.busy_seconds)

    def wait_until(self, time: float) -> None:
        self.now = max(self.now, time)

    def delay(self, seconds: float, since: float) -> None:
        """All that happened after ``since`` took so much longer."""
        self.now = max(self.now + seconds, since)
        self._link_free = max(self._link_free + seconds, since)
        self._free = [max(free + seconds, since) for free in self._free]

    def put(self, flow: PageFlow, pages: float) -> Sum:
        """As soon as the migration thread can.  What has left it, in whole packets."""
        done = Sum()
        if not flow.packet:
            self._flow(flow, pages)
            return self._sum(flow, pages)
        each = 1 / flow.packet
        followed = (_FOLLOWED * len(self._free) + 1) * each
        if pages > 2 * followed:
            many = pages - followed
            self._flow(flow, many)
            done.add(self._sum(flow, many))
            pages = followed
        while pages > 0:
            part = min((1 - self.filled) * each, pages)
            pages -= part
            self.now += part * flow.serial_ns / 1e9
            self._thread += part * flow.thread_ns / 1e9
            self._packet.add(self._sum(flow, part))
            self.filled += part * flow.packet
            if self.filled > 1 - 1e-9:
                self._hand_over(done)
        return done

    def finish(self) -> Sum:
        """Channels wait for each other, and the migration thread for them."""
        done = Sum()
        if self.filled:
            self._hand_over(done)
        self.now = max(self.now, *self._free) if self._free else self.now
        return done

    def _hand_over(self, done: Sum) -> None:
        packet = self._packet
        self.wait_until(self._free[self._next])
        ready = self.now + self._thread
        self._link_free = max(ready, self._link_free) + packet.wire * self.byte
        self._free[self._next] = max(ready, self._link_free - self._buffer)
        self._next = (self._next + 1) % len(self._free)
        done.add(packet)
        self._packet, self.filled, self._thread = Sum(), 0.0, 0.0

    def _sum(self, flow: PageFlow, pages: float) -> Sum:
        return Sum(
            pages * flow.wire,
            pages * flow.counted,
            pages * flow.cpu_ns,
            pages * flow.seconds(self._rate),
        )

    @property
    def _buffer(self) -> float:
        return self._buffer_bytes * self.byte

    def _flow(self, flow: PageFlow, pages: float) -> None:
        """Without an end to it."""
        busy, wire = flow.busy_seconds, flow.wire * self.byte
        link = max(self.now, self._link_free) + pages * wire
        self._link_free = max(link, self.now + pages * busy)
        if not flow.packet:
            self.now = max(self.now + pages * busy, self._link_free - self._buffer)
            return
        # What the channels have is ahead of the link.
        step = max(busy, wire) / flow.packet
        ahead = len(self._free) * step
        if wire > busy:
            ahead += self._buffer
        self.wait_until(self._link_free - ahead)
        self._free = [
            min(self.now + number * step, self._link_free)
            for number in range(len(self._free))
        ]
