# SPDX-License-Identifier: LGPL-2.1-or-later
"""Collecting a run's measurements in memory that does not grow with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from migcomp.results import Machine, PageCounts, Region, RequestTimes
from migcomp.stream.layout import COMPRESSED, detail_size
from migcomp.workqueue import usable_cpus

REGIONS_MAX = 4096


class RegionMap:
    """Counts by stretches of equal size, which double when there are too many."""

    def __init__(self, pages_per_region: int) -> None:
        self._size = pages_per_region
        self._regions: list[Region] = []

    def add(
        self, first_page: int, counts: tuple[int, int, int, int, int], bytes_out: int
    ) -> None:
        """Pages that lie within one stretch of the smallest size."""
        region = self._at(first_page)
        region.pages.add(*counts)
        region.bytes_out += bytes_out

    def add_zeros(self, first_page: int, pages: int, bytes_out: int) -> None:
        end = first_page + pages
        self._at(end - 1)
        while first_page < end:
            here = min(end, (first_page // self._size + 1) * self._size)
            self._at(first_page).pages.zero += here - first_page
            first_page = here
        self._at(end - 1).bytes_out += bytes_out

    def regions(self) -> tuple[Region, ...]:
        return tuple(region for region in self._regions if region.pages.total)

    def _at(self, page: int) -> Region:
        while page // self._size >= REGIONS_MAX:
            self._double()
        for number in range(len(self._regions), page // self._size + 1):
            self._regions.append(Region(number * self._size, PageCounts(), 0))
        return self._regions[page // self._size]

    def _double(self) -> None:
        halves, self._regions = self._regions, []
        self._size *= 2
        for half in halves:
            region = self._at(half.first_page)
            region.bytes_out += half.bytes_out
            region.pages.add(**vars(half.pages))


class TimeHistogram:
    """Times in nanoseconds, in buckets 1/64 of their size apart."""

    _BITS = 6

    def __init__(self) -> None:
        self._buckets: dict[tuple[int, int], int] = {}
        self._count = 0
        self._most = 0

    def add(self, nanoseconds: int) -> None:
        shift = max(nanoseconds.bit_length() - self._BITS - 1, 0)
        bucket = (shift, nanoseconds >> shift)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self._count += 1
        self._most = max(self._most, nanoseconds)

    def percentile(self, share: float) -> int:
        """The upper end of the bucket at ``share`` (0 to 1) of all times."""
        wanted = share * self._count
        passed = 0
        for shift, head in sorted(self._buckets):
            passed += self._buckets[shift, head]
            if passed >= wanted:
                return min(((head + 1) << shift) - 1, self._most)
        return 0

    def summary(self) -> RequestTimes:
        return RequestTimes(
            self.percentile(0.5),
            self._all_but(10),
            self._all_but(100),
            self._all_but(1000),
            self._most,
        )

    def _all_but(self, one_of: int) -> int | None:
        """What all but one of ``one_of`` times stay below; None of fewer times."""
        return self.percentile(1 - 1 / one_of) if self._count >= one_of else None


class PageSizes:
    """Counts compressed pages by ``steps`` equal parts of a page."""

    def __init__(self, page_size: int, steps: int) -> None:
        self._step = page_size // steps
        self._counts = [0] * steps

    def add(self, classes: bytes, details: bytes) -> None:
        """Those of one request in grouping ``page``, as PageRequest gives them."""
        at = 0
        for kind in classes:
            if kind == COMPRESSED:
                size = int.from_bytes(details[at : at + 2], "little")
                self._counts[(size - 1) // self._step] += 1
            at += detail_size(kind, "page")

    def counts(self) -> tuple[int, ...]:
        """Pages of at most 1, 2, ... parts."""
        return tuple(self._counts)


def coarser(regions: tuple[Region, ...], most: int) -> tuple[Region, ...]:
    """Neighbours put together until there are at most ``most``."""
    together = -(-len(regions) // most)
    if together <= 1:
        return regions
    return tuple(
        _joined(regions[i : i + together]) for i in range(0, len(regions), together)
    )


def _joined(regions: tuple[Region, ...]) -> Region:
    names = vars(regions[0].pages)
    return Region(
        regions[0].first_page,
        PageCounts(**{n: sum(getattr(r.pages, n) for r in regions) for n in names}),
        sum(region.bytes_out for region in regions),
    )


def machine() -> Machine:
    """The machine this process runs on."""
    # platform would take longer to import than all of this takes.
    system = os.uname()
    return Machine(
        cpu=_cpu_model(),
        usable_cpus=usable_cpus(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=f"{system.sysname} {system.release}",
        python=".".join(map(str, sys.version_info[:3])),
        load_average=os.getloadavg()[0],
    )


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model", "cpu model"):
                return value.strip()
    except OSError:
        pass
    return os.uname().machine
