# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a simulated migration gave: plain data, shown by reports.

Times are nanoseconds of virtual time where a name says ``ns``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from migcomp.precopy.engine import Sent
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.statistics import MigrationStatistics
from migcomp.results import Block, Machine

#: As ``costs``.
MEASURED = "measured as it was spent"


@dataclass
class Round:
    """What lay between two syncs of the dirty bitmap.

    ``iteration``: QMP's dirty-sync-count meanwhile, as guestperf counts.
    ``dirty_pages`` were to be sent at its start, ``unchanged_pages`` of those that
    were sent had on the other side the content that they had already (fake dirty
    pages).  ``stopped``: the guest was, which is the last round.  ``waiting_bytes``
    had been written before it began, and were not on the link yet; of
    ``threshold_bytes`` QEMU thought that they can be sent in the downtime limit.
    """

    iteration: int
    start_ns: int
    dirty_pages: int
    stopped: bool = False
    end_ns: int = 0
    sent: Sent = field(default_factory=Sent)
    unchanged_pages: int = 0
    cpu_ns: int = 0
    throttle_percentage: int | None = None
    waiting_bytes: int = 0
    threshold_bytes: int = 0

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def bytes_per_second(self) -> float:
        return self.sent.wire_bytes / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class SimulationResult:
    """``what_if``: no QEMU has that engine, or not with that codec.  ``reason`` says
    why a migration was cancelled, and is empty otherwise."""

    images: tuple[str, ...]
    blocks: tuple[Block, ...]
    page_size: int
    guest: str
    engine: str
    engine_description: str
    what_if: bool
    link: Link
    parameters: Parameters
    statistics: MigrationStatistics
    reason: str
    rounds: tuple[Round, ...]
    wire_bytes: int
    cpu_seconds: float
    real_seconds: float
    costs: str
    machine: Machine

    @property
    def converged(self) -> bool:
        return self.statistics.status == "completed"

    @property
    def measured(self) -> bool:
        """CPU times are this machine's, of this run; they are not from a file."""
        return self.costs == MEASURED

    @property
    def memory_bytes(self) -> int:
        return sum(block.length for block in self.blocks)
