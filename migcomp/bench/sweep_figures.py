# SPDX-License-Identifier: LGPL-2.1-or-later
"""The figures of a sweep's settings, from their samples.

Times vary and are summed up by their median; what is in the stream does not depend
on timing, so that every sample tells the same of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from migcomp.bench.pareto import Point
from migcomp.bench.statistics import Summary, outliers, summarize
from migcomp.bench.sweep_results import Series, SweepSample
from migcomp.results import RunResult

GIB = 1 << 30


class Figures:
    """Of one setting with one image.

    Speeds are bytes per second.  Those of guest memory count all of it; those that
    are compared with a link count the pages that are not zero, because QEMU sends a
    zero page as a few bytes with or without compression.
    """

    def __init__(self, series: Series) -> None:
        """Raises ValueError for a series without samples."""
        self.series = series
        self.image = series.image
        self.setting = series.setting
        self.wall = self._sum_up(lambda result: result.wall_seconds)
        self.cpu = self._sum_up(lambda result: result.cpu_seconds)
        self.result = series.samples[0].result

    def _sum_up(self, value: Callable[[RunResult], float]) -> Summary:
        return summarize([value(sample.result) for sample in self.series.samples])

    @property
    def rate(self) -> float:
        """Image bytes over stream bytes."""
        return self.result.image_rate

    @property
    def speed(self) -> float:
        """Of guest memory, by the median round."""
        return self._per_second(self.result.image_bytes)

    @property
    def nonzero_rate(self) -> float:
        """Bytes of pages that are not zero over stream bytes."""
        result = self.result
        return result.nonzero_bytes / result.stream_bytes

    @property
    def point(self) -> Point:
        """What is compared with links."""
        speed = self._per_second(self.result.nonzero_bytes)
        return Point(self.nonzero_rate, speed, self.noise)

    @property
    def cpu_seconds_per_gib(self) -> float:
        """Of all threads, for each GiB of guest memory."""
        return self.cpu.median * GIB / self.result.image_bytes

    @property
    def noise(self) -> float:
        """MAD of the time, as a share of its median."""
        return self.wall.relative_mad

    @property
    def busy_share(self) -> float:
        """Requests that found none free, 0 to 1."""
        return self._sum_up(lambda result: result.queue.busy_share).median

    @cached_property
    def outliers(self) -> tuple[SweepSample, ...]:
        """Samples whose time is far from all others'; they are counted all the same."""
        walls = [sample.result.wall_seconds for sample in self.series.samples]
        return tuple(self.series.samples[i] for i in outliers(walls))

    def request_seconds(self, name: str) -> float | None:
        """Median over the rounds of ``p50``, ``p90``, ``p99``, ``p999`` or ``most``;
        None where a round had too few requests to tell."""
        values = [getattr(s.result.request_times, name) for s in self.series.samples]
        return None if None in values else summarize(values).median / 1e9

    def _per_second(self, amount: float) -> float:
        return amount / self.wall.median if self.wall.median else 0.0
