# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hosts, what lies between them, guests, and how these are to be migrated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from migcomp.plan.candidates import Candidate

ALL_AT_ONCE, K_AT_A_TIME, SMALLEST_FIRST = (
    "all-at-once",
    "k-at-a-time",
    "smallest-first",
)
POLICIES = (ALL_AT_ONCE, K_AT_A_TIME, SMALLEST_FIRST)
#: Migrations under way from one host, where neither file nor command line says.
PARALLEL = 2


@dataclass(frozen=True)
class Host:
    """``link``: bits a second in each direction; ``memory``: bytes for guests, None
    where that is no matter; ``evacuate``: its guests are to leave."""

    name: str
    cpus: int
    link: float
    memory: int | None
    evacuate: bool


@dataclass(frozen=True)
class Uplink:
    """Between ``hosts`` and all others; ``bandwidth``: bits a second each way."""

    name: str
    bandwidth: float
    hosts: frozenset[str]


@dataclass(frozen=True)
class MemorySource:
    """What stands for a guest's memory: ``images``, by paths that can be opened,
    several being snapshots of one guest; or a ``profile`` of migcomp sample.
    ``name`` is what costs are kept under."""

    name: str
    images: tuple[str, ...] = ()
    interval: float | None = None
    profile: str = ""


@dataclass(frozen=True)
class Guests:
    """``count`` of them, all alike.

    ``size``: bytes, None for the image's own.  ``cpu``: the share of ``vcpus`` that
    is busy.  ``dirty_rate`` (bytes a second) is None for a guest that writes what its
    snapshots say, or nothing, as one with 0 does.  ``downtime_limit``: milliseconds.
    """

    name: str
    count: int
    host: str
    memory: MemorySource
    size: int | None
    vcpus: int
    cpu: float
    dirty_rate: int | None
    working_set: int | None
    skew: float
    downtime_limit: int

    @property
    def names(self) -> Iterator[str]:
        if self.count == 1:
            yield self.name
            return
        for number in range(1, self.count + 1):
            yield f"{self.name}-{number}"

    @property
    def busy_cpus(self) -> float:
        return self.vcpus * self.cpu


@dataclass(frozen=True)
class Policy:
    """``parallel``: migrations under way from one host, None for all."""

    name: str
    parallel: int | None

    def __str__(self) -> str:
        if self.parallel is None:
            return self.name
        return f"{self.name}, {self.parallel} from a host"


@dataclass(frozen=True)
class Fleet:
    """``way`` is how guests are migrated; ``max_bandwidth`` (bytes a second, 0 for no
    limit) is of each migration."""

    path: str
    hosts: tuple[Host, ...]
    uplinks: tuple[Uplink, ...]
    guests: tuple[Guests, ...]
    way: Candidate
    qemu_version: tuple[int, int]
    max_bandwidth: int
    policy: Policy

    @cached_property
    def host(self) -> dict[str, Host]:
        return {host.name: host for host in self.hosts}

    @property
    def leaving(self) -> list[Guests]:
        return [each for each in self.guests if self.host[each.host].evacuate]

    @property
    def ways(self) -> tuple[Candidate, ...]:
        """The one asked for and, to hold it against, none."""
        plain = Candidate("none")
        return (plain,) if self.way == plain else (plain, self.way)
