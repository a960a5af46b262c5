# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fleets for tests, and what their guests' pages cost: the same on any machine."""

from __future__ import annotations

from typing import Any

from migcomp.fleet.costs import FleetCosts, GuestCosts
from migcomp.fleet.fleet import Fleet, Guests, Host, MemorySource, Policy, Uplink
from migcomp.plan.candidates import Candidate
from migcomp.plan.measure import Measurement, Part
from migcomp.precopy.costs import Costs, Work

PAGE = 4096
GIB = 1 << 30
PLAIN = Candidate("none")
ZSTD = Candidate("multifd", "zstd", 1, 2)
K2 = Policy("k-at-a-time", 2)
ALL = Policy("all-at-once", None)
SMALLEST = Policy("smallest-first", 1)
HEAP = MemorySource("profile heap", profile="heap")


def measured(content: float, page_bytes: int, page_ns: int) -> Measurement:
    pages = 10_000
    number = round(pages * content)
    part = Part(pages, pages - number, number * page_bytes, number * page_ns)
    return Measurement((part,), 1.0)


def costs(
    content: float = 0.5, zstd_bytes: int = 1000, zstd_ns: int = 10_000
) -> FleetCosts:
    """``content``: the share of pages that are not zero."""
    known: dict[Work | None, Measurement] = {
        None: measured(content, PAGE, 0),
        ZSTD.work: measured(content, zstd_bytes, zstd_ns),
    }
    base = Costs(PAGE, 80, 700, 0, 3000, 5000, "made up")
    return FleetCosts(base, {HEAP.name: GuestCosts(100, known, {}, None)}, "made up")


def guests(name: str = "vm", **changes: Any) -> Guests:
    told: dict[str, Any] = {
        "count": 1,
        "host": "a",
        "memory": HEAP,
        "size": GIB,
        "vcpus": 1,
        "cpu": 0.0,
        "dirty_rate": None,
        "working_set": None,
        "skew": 0.0,
        "downtime_limit": 300,
    }
    return Guests(name, **(told | changes))


def fleet(
    *groups: Guests,
    link: float = 10e9,
    cpus: int = 64,
    to: int = 1,
    policy: Policy = K2,
    way: Candidate = PLAIN,
    sources: tuple[str, ...] = ("a",),
    uplinks: tuple[Uplink, ...] = (),
    **changes: Any,
) -> Fleet:
    """From host a (and others) to z1, z2, ..."""
    hosts = [Host(name, cpus, link, None, True) for name in sources]
    hosts += [Host(f"z{n}", cpus, link, None, False) for n in range(1, to + 1)]
    told: dict[str, Any] = {"qemu_version": (8, 2), "max_bandwidth": 0}
    return Fleet(
        "made.toml", tuple(hosts), uplinks, groups, way=way, policy=policy,
        **(told | changes),
    )  # fmt: skip
