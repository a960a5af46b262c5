# SPDX-License-Identifier: LGPL-2.1-or-later
"""How QEMU slows a guest down whose memory changes faster than it is sent.

Source: QEMU 8.2, ``migration/ram.c`` (``migration_trigger_throttle``,
``mig_throttle_guest_down``), ``softmmu/cpu-throttle.c`` and
``softmmu/dirtylimit.c``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from migcomp.precopy.parameters import Parameters

_PERCENT_MAX = 99
_TIMES_IN_A_ROW = 2
_TOLERANCE = 25  # MiB/s, within which the dirty limit leaves things as they are
_FAR_OFF = 50  # percent, from which on it steps in proportion
_SMALL_STEPS = 10  # of the ring's time, otherwise


class Throttle(Protocol):
    """Told of the migration's syncs and of the guest's writes."""

    @property
    def guest_share(self) -> float:
        """Of the time that passes, what the guest may run: 0 to 1."""

    def sync(self, dirty_bytes: int, transferred: int) -> None:
        """A sync that ends a period of a second or more, in which ``dirty_bytes``
        became dirty and ``transferred`` bytes were sent."""

    def ran(self, seconds: float, pages: Sequence[int]) -> None:
        """``seconds`` have passed, in which the guest wrote to ``pages``."""


def throttle_for(parameters: Parameters, page_size: int) -> Throttle:
    """QEMU has either of them, or none, never both."""
    if parameters.auto_converge:
        return AutoConverge(parameters)
    if parameters.dirty_limit:
        return DirtyLimit(parameters, page_size)
    return Unthrottled()


class Unthrottled:
    guest_share = 1.0

    def sync(self, _dirty_bytes: int, _transferred: int) -> None: ...

    def ran(self, _seconds: float, _pages: Sequence[int]) -> None: ...


class _Trigger:
    """Every second period in which too much became dirty.

    Periods in which it did not, and lie between two such, do not count.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._percent = parameters.throttle_trigger_threshold
        self._high = 0

    def threshold(self, transferred: int) -> int:
        return transferred * self._percent // 100

    def pulled(self, dirty_bytes: int, transferred: int) -> bool:
        if dirty_bytes <= self.threshold(transferred):
            return False
        self._high = (self._high + 1) % _TIMES_IN_A_ROW
        return not self._high


class AutoConverge:
    """All vCPUs sleep ``percentage`` of the time, more from time to time."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._trigger = _Trigger(parameters)
        self.percentage = 0

    @property
    def guest_share(self) -> float:
        """They run 10 ms, and sleep p / (1 - p) times as long."""
        return 1 - self.percentage / 100

    def sync(self, dirty_bytes: int, transferred: int) -> None:
        if not self._trigger.pulled(dirty_bytes, transferred):
            return
        parameters = self._parameters
        if not self.percentage:
            percentage = parameters.cpu_throttle_initial
        else:
            more = parameters.cpu_throttle_increment
            if parameters.cpu_throttle_tailslow:
                more = min(more, self._missing(dirty_bytes, transferred))
            percentage = min(self.percentage + more, parameters.max_cpu_throttle)
        self.percentage = min(max(percentage, 1), _PERCENT_MAX)

    def _missing(self, dirty_bytes: int, transferred: int) -> int:
        """Percent that would bring the dirty rate down to the threshold."""
        now = 100 - self.percentage
        return now - int(now * (self._trigger.threshold(transferred) / dirty_bytes))

    def ran(self, _seconds: float, _pages: Sequence[int]) -> None: ...


class DirtyLimit:
    """Each vCPU sleeps when its ring of dirty pages is full.

    The vCPUs share what is written evenly.  A page is in a ring once until all are
    collected, which happens here when all are full or a period is over.
    ``sleep_us``, ``ring_full_us``: QMP's dirty-limit-throttle-time-per-round and
    dirty-limit-ring-full-time, None as long as nothing is limited.
    """

    def __init__(
        self,
        parameters: Parameters,
        page_size: int,
        *,
        vcpus: int = 1,
        ring_pages: int = 4096,
    ) -> None:
        self._trigger = _Trigger(parameters)
        self._quota = parameters.vcpu_dirty_limit
        self._period_ms = parameters.x_vcpu_dirty_limit_period
        self._page_size = page_size
        self._vcpus = vcpus
        self._ring_pages = ring_pages
        self._ring: set[int] = set()
        self._logged = 0
        self._passed = self._guest_ran = 0.0
        self._highest_rate = 0  # MiB/s of a vCPU
        self.sleep_us: int | None = None
        self.ring_full_us: int | None = None
        self.guest_share = 1.0

    def sync(self, dirty_bytes: int, transferred: int) -> None:
        pulled = self._trigger.pulled(dirty_bytes, transferred)
        if pulled and self.sleep_us is None:
            self.sleep_us = self.ring_full_us = 0

    def ran(self, seconds: float, pages: Sequence[int]) -> None:
        if self.sleep_us is None:
            return
        self._passed += seconds
        self._guest_ran += seconds * self.guest_share
        self._ring.update(pages)
        if len(self._ring) >= self._ring_pages * self._vcpus:
            self._collect()
        passed_ms = round(self._passed * 1000)
        if passed_ms >= self._period_ms:
            self._collect()
            self._end_period(passed_ms, self.sleep_us)

    def _collect(self) -> None:
        self._logged += len(self._ring)
        self._ring.clear()

    def _end_period(self, passed_ms: int, sleep_us: int) -> None:
        written = self._logged * self._page_size // self._vcpus
        rate = (written >> 20) * 1000 // passed_ms
        if rate:
            self._highest_rate = max(self._highest_rate, rate)
            self.ring_full_us = (
                (self._ring_pages * self._page_size >> 20)
                * 1_000_000
                // self._highest_rate
            )
            sleep_us = self.next_sleep(sleep_us, self.ring_full_us, rate)
        elif self._quota > _TOLERANCE:
            sleep_us = 0
        self.sleep_us = sleep_us
        # A ring that never fills puts nobody to sleep.
        self.guest_share = 1.0
        if self._logged:
            rings = self._logged / self._vcpus / self._ring_pages
            full_seconds = self._guest_ran / rings
            self.guest_share = full_seconds / (full_seconds + sleep_us / 1e6)
        self._logged = 0
        self._passed = self._guest_ran = 0.0

    def next_sleep(self, sleep_us: int, full_us: int, rate: int) -> int:
        """From then on, for a vCPU that writes ``rate`` MiB/s and whose ring fills
        in ``full_us`` at its fastest."""
        quota = self._quota
        off, most = abs(rate - quota), max(rate, quota)
        if off <= _TOLERANCE:
            return sleep_us
        percent = off * 100 // most
        if percent > _FAR_OFF:
            step = int(full_us * percent / (100 - percent))
        else:
            step = full_us // _SMALL_STEPS
        sleep_us += step if quota < rate else -step
        return max(min(sleep_us, full_us * _PERCENT_MAX), 0)
