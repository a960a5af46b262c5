# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual time: the migration thread's, the link's, and that of threads at work.

Nothing here looks at a real clock: given the same costs, the same calls give the
same times to the nanosecond.
"""

from __future__ import annotations

import heapq

from migcomp.precopy.link import Link

MS = 1_000_000


class Clock:
    """``now``: nanoseconds since the migration began, on the migration thread.

    ``sent``: bytes given to the link; ``cpu_ns``: CPU time of all threads.
    """

    def __init__(self, link: Link) -> None:
        self._ns_per_byte = 1e9 / link.bytes_per_second
        self._buffer_ns = round(link.buffer * self._ns_per_byte)
        self._latency_ns = round(link.latency * 1e9)
        self._link_free = self._link_ns = 0
        self.now = 0
        self.sent = 0
        self.cpu_ns = 0

    def work(self, ns: int) -> None:
        """The migration thread works."""
        self.now += ns
        self.cpu_ns += ns

    def wait_until(self, time: int) -> None:
        self.now = max(self.now, time)

    def backlog(self) -> int:
        """Bytes that were written and are not on the link yet, as the ioctl SIOCOUTQ
        tells of a socket."""
        return round(max(self._link_free - self.now, 0) / self._ns_per_byte)

    def link_use(self) -> tuple[int, int]:
        """Bytes that have left, and the nanoseconds in which there were some to
        leave: tcpi_bytes_acked and tcpi_busy_time of Linux' TCP_INFO."""
        left = max(self._link_free - self.now, 0)
        return self.sent - self.backlog(), self._link_ns - left

    def link_time(self, size: int) -> float:
        """Nanoseconds that ``size`` bytes take."""
        return size * self._ns_per_byte

    def transmit(self, size: int, ready: int) -> int:
        """Puts ``size`` bytes that are there at ``ready`` on the link.

        The time by which the writer is rid of them.
        """
        start = max(ready, self._link_free)
        took = round(self.link_time(size))
        self._link_free = start + took
        self._link_ns += took
        self.sent += size
        return max(ready, self._link_free - self._buffer_ns)

    def write(self, size: int) -> None:
        """The migration thread writes to the link itself."""
        if size:
            self.wait_until(self.transmit(size, self.now))

    def arrive(self) -> None:
        """Waits until the other side has everything, and has said so."""
        self.wait_until(self._link_free)
        self.now += 2 * self._latency_ns


class Threads:
    """Threads that take jobs from the migration thread, ``depth`` at most at a time
    for each of them, and whose results the migration thread sends on.

    ``done``: when the job that was handed over last is, in nanoseconds on the clock.
    """

    def __init__(self, clock: Clock, threads: int, depth: int) -> None:
        self._clock = clock
        self._room = threads * depth
        self._free_at = [0] * threads
        self.done = 0
        self._running: list[tuple[int, int]] = []  # (done, bytes)

    @property
    def full(self) -> bool:
        """All are busy, and no result can be taken."""
        return len(self._running) == self._room and (
            self._running[0][0] > self._clock.now
        )

    def make_room(self) -> None:
        """Waits for a thread where all are busy."""
        if len(self._running) == self._room:
            self._collect()

    def hand_over(self, cpu_ns: int, size: int, delay_ns: int = 0) -> None:
        """A job that costs ``cpu_ns``, from ``delay_ns`` after a thread is told, and
        gives ``size`` bytes for the link; waits for a thread where all are busy."""
        clock = self._clock
        self.make_room()
        done = max(clock.now, heapq.heappop(self._free_at)) + delay_ns + cpu_ns
        self.done = done
        heapq.heappush(self._free_at, done)
        heapq.heappush(self._running, (done, size))
        clock.cpu_ns += cpu_ns
        while self._running and self._running[0][0] <= clock.now:
            self._collect()

    def _collect(self) -> None:
        done, size = heapq.heappop(self._running)
        self._clock.wait_until(done)
        self._clock.write(size)

    @property
    def jobs(self) -> int:
        """How many are with the threads, done or not."""
        return len(self._running)

    def finish(self) -> None:
        """Until every result is sent."""
        while self._running:
            self._collect()


class Channels:
    """Threads that send what they make themselves, each in its turn, as multifd's."""

    def __init__(self, clock: Clock, channels: int) -> None:
        self._clock = clock
        self._free_at = [0] * channels

    def hand_over(self, channel: int, cpu_ns: int, size: int) -> None:
        """Waits until the channel is rid of what it had before."""
        clock = self._clock
        clock.wait_until(self._free_at[channel])
        clock.cpu_ns += cpu_ns
        self._free_at[channel] = clock.transmit(size, clock.now + cpu_ns)

    def finish(self) -> None:
        self._clock.wait_until(max(self._free_at))
