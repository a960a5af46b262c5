# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an evacuation came to.  Times are seconds, sizes bytes."""

from __future__ import annotations

from dataclasses import dataclass

from migcomp.fleet.fleet import Fleet
from migcomp.plan.candidates import Candidate

MEASURED = "measured just now"


@dataclass(frozen=True)
class Migrated:
    """A guest.  ``began``: since the evacuation's start; ``converged``: else it was
    stopped and moved as it was, because it wrote as fast as its pages were sent;
    ``downtime_limit`` in seconds, as the other times."""

    name: str
    memory: int
    source: str
    destination: str
    began: float
    seconds: float
    downtime: float
    downtime_limit: float
    wire_bytes: float
    cpu_seconds: float
    rounds: int
    converged: bool


@dataclass(frozen=True)
class LinkUse:
    """``most`` and ``mean``, over the evacuation, of its capacity."""

    name: str
    bytes_per_second: float
    wire_bytes: float
    most: float
    mean: float


@dataclass(frozen=True)
class HostUse:
    """``wanted``: CPU seconds that its guests would have used until the last had
    left; ``taken``: what they did not get of these because of migrations, and
    ``crowded`` because there are more of them than CPUs anyway."""

    name: str
    guests: int
    seconds: float
    cpu_seconds: float
    wanted: float
    taken: float
    crowded: float


@dataclass(frozen=True)
class Evacuation:
    """In one ``way``.  ``guests`` in the order of the file."""

    way: Candidate
    seconds: float
    guests: tuple[Migrated, ...]
    links: tuple[LinkUse, ...]
    hosts: tuple[HostUse, ...]

    @property
    def wire_bytes(self) -> float:
        return sum(guest.wire_bytes for guest in self.guests)

    @property
    def cpu_seconds(self) -> float:
        return sum(guest.cpu_seconds for guest in self.guests)

    @property
    def forced(self) -> list[Migrated]:
        """Those that did not converge."""
        return [guest for guest in self.guests if not guest.converged]

    @property
    def worst(self) -> Migrated:
        """That which was stopped for the longest time; of several the first."""
        return max(self.guests, key=lambda guest: round(guest.downtime, 6))

    @property
    def taken_share(self) -> float:
        """Of the CPU time that guests wanted, what migrations took."""
        wanted = sum(host.wanted for host in self.hosts)
        return sum(host.taken for host in self.hosts) / wanted if wanted else 0.0


@dataclass(frozen=True)
class FleetResult:
    """``evacuations``: without compression first; ``costs``: where they are from."""

    fleet: Fleet
    page_size: int
    evacuations: tuple[Evacuation, ...]
    costs: str
    writing: int

    @property
    def measured(self) -> bool:
        """Costs were, for this evacuation, and are not from a file."""
        return self.costs == MEASURED

    @property
    def plain(self) -> Evacuation:
        return self.evacuations[0]

    @property
    def asked(self) -> Evacuation:
        return self.evacuations[-1]
