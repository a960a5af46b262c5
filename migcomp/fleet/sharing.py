# SPDX-License-Identifier: LGPL-2.1-or-later
"""Links and CPUs that many transfers share, on a virtual clock.

Each transfer gets its max-min fair share of bytes a second: all rates rise alike until
a resource is used up or a transfer is as quick as it can be; who is bound stays there,
the others go on rising (progressive filling; Bertsekas and Gallager, Data Networks,
section 6.5.2).

With thousands of transfers that cannot be done for each of them at each event.  So
those on one route whose limits are about the same (within ``_STEP``) are in one *lane*,
which is given a rate as a whole.  In it every transfer goes at the same share of its
own limit, so that a lane has a clock: a transfer ends when that has run as long as it
would take at its limit.  One that comes or goes changes the clock's speed, and nothing
else: that is a few operations, and never takes more than was allotted.  Rates are
shared anew at once while there are few lanes; else after a while, the longer the more
lanes there are and the more time has passed (``_PAUSE``).

There is no library below this: what such libraries have is a queue of events and
processes that wait for them, while here nearly all that happens is that a clock's
speed changes, after which events of before hold no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Generic, TypeVar

_T = TypeVar("_T")
#: Limits of one lane differ by no more than that factor.
_STEP = 1.25
_FEW_LANES = 8
#: Seconds, and share of the time that has passed, for each lane.  A thousand lanes
#: are shared anew after 0.2 s, or 0.5 % of an evacuation.
_PAUSE, _PAUSE_SHARE = 2e-4, 5e-6
_ROUNDING = 1e-9


@dataclass(eq=False)
class Resource:
    """``capacity`` in units a second: bytes of a link in one direction, CPU seconds of
    a host.  ``used`` at the moment, ``most`` at any, ``amount`` so far."""

    name: str
    capacity: float
    used: float = 0.0
    most: float = 0.0
    amount: float = 0.0
    since: float = 0.0

    def change(self, now: float, difference: float) -> None:
        self.pass_time(now)
        self.used = max(self.used + difference, 0.0)
        self.most = max(self.most, self.used)

    def pass_time(self, now: float) -> None:
        self.amount += self.used * (now - self.since)
        self.since = now


@dataclass(eq=False)
class Route:
    """The links on the way, and the CPUs that give to it."""

    links: tuple[Resource, ...]
    cpus: Resource
    lanes: dict[int, _Lane] = field(default_factory=dict)

    @property
    def capacity(self) -> float:
        """Bytes a second."""
        return min(link.capacity for link in self.links)


@dataclass(eq=False)
class _Lane:
    """``full``: bytes a second, and ``cpus`` that are busy then, if all its transfers
    went at their limits; ``rate`` and ``cpu_rate``: what it is allotted of these.
    ``clock``: seconds at full speed."""

    route: Route
    step: int
    full: float = 0.0
    cpus: float = 0.0
    number: int = 0
    rate: float = 0.0
    cpu_rate: float = 0.0
    clock: float = 0.0
    since: float = 0.0
    version: int = 0
    #: By the clock's time at which they end: number, what, of how many, limit, CPUs.
    waiting: list[tuple[float, int, object, int, float, float]] = field(
        default_factory=list
    )

    @property
    def speed(self) -> float:
        if not self.number:
            return 0.0
        speed = min(1.0, self.rate / self.full)
        return min(speed, self.cpu_rate / self.cpus) if self.cpus else speed

    @property
    def limit(self) -> float:
        """Of its mean transfer."""
        return self.full / self.number

    def run(self, now: float) -> None:
        self.clock += self.speed * (now - self.since)
        self.since = now

    def use(self, now: float, before: tuple[float, float]) -> None:
        """Tells the resources what it takes instead of ``before``."""
        rate, cpu = self.takes
        for link in self.route.links:
            link.change(now, rate - before[0])
        self.route.cpus.change(now, cpu - before[1])

    @property
    def takes(self) -> tuple[float, float]:
        speed = self.speed
        return speed * self.full, speed * self.cpus


class Sharing(Generic[_T]):
    """Transfers are known by what the caller gives for them.  ``now`` in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._lanes: dict[_Lane, None] = {}
        self._events: list[tuple[float, int, _Lane, int]] = []
        self._touched: dict[_Lane, None] = {}
        self._number = 0
        self._stale = self._urgent = False
        self._shared = 0.0  # when that was last done

    def changed(self) -> None:
        """A resource's capacity is another than before."""
        self._stale = True

    def start(
        self,
        what: _T,
        route: Route,
        amount: float,
        seconds: float,
        cpu: float,
        number: int = 1,
    ) -> None:
        """``amount`` bytes, for which it takes ``seconds`` at least, and of the CPUs
        ``cpu`` seconds; ``number`` of such transfers, all alike."""
        limit = min(route.capacity, amount / seconds if seconds else math.inf)
        lane = self._lane(route, limit)
        before = lane.takes
        lane.run(self.now)
        cpus = cpu * limit / amount
        lane.full += number * limit
        lane.cpus += number * cpus
        lane.number += number
        self._number += 1
        due = lane.clock + amount / limit
        heappush(lane.waiting, (due, self._number, what, number, limit, cpus))
        lane.use(self.now, before)
        self._touch(lane)

    def wait(self) -> list[_T]:
        """Lets time pass until something has been transferred, and says what."""
        while True:
            pause = 0.0
            if len(self._lanes) > _FEW_LANES and not self._urgent:
                each = max(_PAUSE, self._shared * _PAUSE_SHARE)
                pause = len(self._lanes) * each
            due = self._shared + pause if self._stale else math.inf
            if due <= self.now:
                self._share()
            self._announce()
            time, _, lane, version = self._events[0]
            if due <= time and self._stale:
                self.now = due
                continue
            heappop(self._events)
            if version == lane.version:
                self.now = max(self.now, time)
                return self._ended(lane)

    def finish(self) -> None:
        """Resources know what they were used for until now."""
        for lane in self._lanes:
            for resource in (*lane.route.links, lane.route.cpus):
                resource.pass_time(self.now)

    def _lane(self, route: Route, limit: float) -> _Lane:
        """Where a transfer with that limit belongs; until rates are shared anew it
        may be the nearest that has been given a rate."""
        step = round(math.log(limit, _STEP))
        lane = route.lanes.get(step)
        if lane is None and len(self._lanes) > _FEW_LANES and not self._urgent:
            near = min(route.lanes, key=lambda each: abs(each - step), default=None)
            lane = None if near is None else route.lanes[near]
        if lane is None:
            lane = route.lanes[step] = _Lane(route, step, since=self.now)
            self._lanes[lane] = None
            self._urgent = True
        return lane

    def _ended(self, lane: _Lane) -> list[_T]:
        before = lane.takes
        lane.run(self.now)
        ended: list[_T] = []
        last = max(lane.clock, lane.waiting[0][0]) * (1 + 1e-12)
        while lane.waiting and lane.waiting[0][0] <= last:
            _, _, what, number, limit, cpus = heappop(lane.waiting)
            ended.append(what)  # type: ignore[arg-type]
            lane.full -= number * limit
            lane.cpus -= number * cpus
            lane.number -= number
        if not lane.number:
            # What rounding has left of it.
            lane.full = lane.cpus = 0.0
        lane.use(self.now, before)
        self._touch(lane)
        return ended

    def _touch(self, lane: _Lane) -> None:
        self._touched[lane] = None
        self._stale = True

    def _announce(self) -> None:
        """When lanes, whose speeds have changed, have their next transfer done."""
        for lane in self._touched:
            lane.version += 1
            if lane.waiting and (speed := lane.speed):
                self._number += 1
                left = max(lane.waiting[0][0] - lane.clock, 0.0)
                # The lane's clock stands at ``since``.
                time = lane.since + left / speed
                heappush(self._events, (time, self._number, lane, lane.version))
        self._touched.clear()

    # --- Max-min fair shares ----------------------------------------------------

    def _share(self) -> None:
        for lane in [lane for lane in self._lanes if not lane.number]:
            del self._lanes[lane]
            del lane.route.lanes[lane.step]
        used: dict[Resource, float] = {}
        for lane, rate in fair_shares(self._lanes).items():
            lane.run(self.now)
            lane.rate = rate
            lane.cpu_rate = lane.cpus * rate / lane.full
            takes, cpu = lane.takes
            for link in lane.route.links:
                used[link] = used.get(link, 0.0) + takes
            used[lane.route.cpus] = used.get(lane.route.cpus, 0.0) + cpu
            self._touched[lane] = None
        # All at the same time, and without what rounding had added up.
        for resource, amount in used.items():
            resource.change(self.now, amount - resource.used)
        self._stale = self._urgent = False
        self._shared = self.now


def fair_shares(lanes: dict[_Lane, None]) -> dict[_Lane, float]:
    """Bytes a second of each lane, none of which is empty."""
    shares: dict[_Lane, float] = {}
    users: dict[Resource, list[tuple[_Lane, float]]] = {}
    for lane in sorted(lanes, key=lambda lane: lane.limit):
        for link in lane.route.links:
            users.setdefault(link, []).append((lane, 1.0))
        cpu_per_byte = lane.cpus / lane.full
        if cpu_per_byte:
            users.setdefault(lane.route.cpus, []).append((lane, cpu_per_byte))
    left = {resource: resource.capacity for resource in users}

    def level_of(resource: Resource) -> float:
        # Rounding must leave nobody without anything.
        capacity = max(left[resource], resource.capacity * _ROUNDING)
        return _level(users[resource], capacity)

    # What is not used up by all does not become so when some are bound elsewhere.
    levels = {}
    for resource in users:
        if (level := level_of(resource)) < math.inf:
            levels[resource] = level
    while levels:
        tight = min(levels, key=levels.__getitem__)
        level = levels.pop(tight)
        touched: dict[Resource, None] = {}
        for lane, _ in users[tight]:
            rate = shares[lane] = min(lane.number * level, lane.full)
            cpus = lane.route.cpus
            for link in lane.route.links:
                left[link] -= rate
                touched[link] = None
            if cpus in left:
                left[cpus] -= rate * lane.cpus / lane.full
                touched[cpus] = None
        for resource in touched:
            if resource not in levels:
                continue
            users[resource] = [
                user for user in users[resource] if user[0] not in shares
            ]
            levels[resource] = level_of(resource)
            if levels[resource] == math.inf:
                del levels[resource]
    return shares | {lane: lane.full for lane in lanes if lane not in shares}


def _level(users: list[tuple[_Lane, float]], capacity: float) -> float:
    """Bytes a second of a transfer at which ``capacity`` is used up; infinite if it
    never is.  ``users`` in ascending order of their limits."""
    used, slope = 0.0, sum(lane.number * unit for lane, unit in users)
    for lane, unit in users:
        if slope and used + slope * lane.limit > capacity * (1 + _ROUNDING):
            return max(capacity - used, capacity * _ROUNDING) / slope
        used += unit * lane.full
        slope = max(slope - unit * lane.number, 0.0)
    return math.inf
