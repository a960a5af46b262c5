# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an engine gives: pages turned into bytes for the link, at a cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from migcomp.precopy.memory import GuestMemory


@dataclass
class Sent:
    """Pages that were sent, and what went over the link for them.

    By QMP's definitions: ``normal`` pages went as they are (or through multifd),
    ``duplicate`` are zero, ``compressed`` went through compress-threads and took
    ``compressed_size`` bytes, headers of 8 bytes not counted.  ``skipped`` pages were
    found unchanged, and nothing was sent for them.
    """

    normal: int = 0
    duplicate: int = 0
    compressed: int = 0
    compressed_size: int = 0
    busy: int = 0
    xbzrle_pages: int = 0
    xbzrle_bytes: int = 0
    xbzrle_cache_miss: int = 0
    xbzrle_overflow: int = 0
    skipped: int = 0
    main_bytes: int = 0
    multifd_bytes: int = 0

    @property
    def wire_bytes(self) -> int:
        return self.main_bytes + self.multifd_bytes


@dataclass(frozen=True, slots=True)
class Job:
    """A unit of work in the order of the stream: ``cpu_ns`` of one thread, and then
    ``wire_bytes`` on the link.  ``channel`` is that of multifd, or -1: any thread."""

    pages: int
    cpu_ns: int
    wire_bytes: int
    channel: int = -1


@dataclass
class Batch:
    sent: Sent
    jobs: list[Job] = field(default_factory=list)


class Engine(Protocol):
    """Sends pages of the source's memory to the destination's.

    ``threads``: how many jobs go on at once; ``serial_ns``: what each page costs the
    migration thread besides.
    """

    name: str
    threads: int
    serial_ns: float

    def send(
        self,
        source: GuestMemory,
        destination: GuestMemory,
        pages: Sequence[int],
        sync_count: int,
        last: bool,
    ) -> Batch:
        """``pages`` ascend.  Their content is decoded into ``destination`` from what
        was sent.  ``sync_count``: QMP's dirty-sync-count; ``last``: the guest is
        stopped.  Raises WorkerError.
        """
