# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an engine gives: pages turned into bytes for the link, at a cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from migcomp.precopy.memory import GuestMemory


@dataclass
class Sent:
    """Pages that were sent, and what went over the link for them.

    By QMP's definitions: ``normal`` pages went as they are (or through multifd),
    ``duplicate`` are zero, ``compressed`` went through compress-threads and took
    ``compressed_size`` bytes, headers of 8 bytes not counted.  ``skipped`` pages were
    found unchanged, and nothing was sent for them.  ``deltas`` went as what differs
    from the page sent before, ``deduplicated`` ones as the number of an equal page.
    ``xbzrle_pages`` are hits in XBZRLE's cache: deltas, unchanged pages, and
    overflows, which went normal.

    ``main_bytes`` and ``multifd_bytes`` are as QEMU counts them, and limits their
    rate; ``framing_bytes`` are those of the main stream that belong to no page, of
    which QEMU counts the ends of sections only; ``wire_bytes`` is what went over the
    link.
    """

    normal: int = 0
    duplicate: int = 0
    compressed: int = 0
    compressed_size: int = 0
    busy: int = 0
    deltas: int = 0
    deduplicated: int = 0
    xbzrle_pages: int = 0
    xbzrle_bytes: int = 0
    xbzrle_cache_miss: int = 0
    xbzrle_overflow: int = 0
    skipped: int = 0
    main_bytes: int = 0
    framing_bytes: int = 0
    multifd_bytes: int = 0
    wire_bytes: int = 0

    @property
    def counted_bytes(self) -> int:
        return self.main_bytes + self.multifd_bytes

    @property
    def ram_bytes(self) -> int:
        """What QEMU divides into precopy-bytes and downtime-bytes."""
        return self.main_bytes - self.framing_bytes

    @property
    def handled(self) -> int:
        """Pages of all kinds."""
        return (
            self.normal
            + self.duplicate
            + self.compressed
            + self.deltas
            + self.deduplicated
            + self.skipped
        )

    def add(self, other: Sent) -> None:
        for name in _NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_NAMES = tuple(field.name for field in fields(Sent))


class Engine(Protocol):
    """Sends pages of the source's memory to the destination's, and lets the time
    pass on the :class:`~migcomp.precopy.clock.Clock` that it was made with.

    ``page_bytes``: what a page takes on the link at most; ``packet_pages``: pages
    that it sends at a time.
    """

    name: str
    page_bytes: int
    packet_pages: int

    @property
    def missing_pages(self) -> int:
        """So many more make a packet, which is sent and counted then."""

    @property
    def description(self) -> str:
        """For reports; of what it has done so far where that is its choice."""

    def send(
        self,
        source: GuestMemory,
        destination: GuestMemory,
        pages: Sequence[int],
        sync_count: int,
        last: bool,
    ) -> Sent:
        """``pages`` ascend.  Their content is decoded into ``destination`` from what
        was sent.  ``sync_count``: QMP's dirty-sync-count; ``last``: the guest is
        stopped.  Raises WorkerError.
        """

    def end_section(self) -> Sent:
        """What a section of the stream ends with, besides its end mark."""

    def end_round(self) -> Sent:
        """All pages were looked at once: nothing older may arrive after what
        follows."""

    def close(self) -> None: ...
