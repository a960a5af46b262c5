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
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heapify, heappop, heappush
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
    a host.  ``used`` at the moment, ``most`` at any, ``amount`` so far.

    ``level``: bytes a second of each transfer at which ``lanes``, were nothing else
    scarce, use it up; infinite if they never do, None if it is to be found again.
    """

    name: str
    capacity: float
    used: float = 0.0
    most: float = 0.0
    amount: float = 0.0
    since: float = 0.0
    lanes: dict[_Lane, None] = field(default_factory=dict, repr=False)
    level: float | None = None

    def change(self, now: float, difference: float) -> None:
        if not difference:  # often: what one leaves, others of its lane take
            return
        self.pass_time(now)
        self.used = used = max(self.used + difference, 0.0)
        if used > self.most:
            self.most = used

    def pass_time(self, now: float) -> None:
        self.amount += self.used * (now - self.since)
        self.since = now


@dataclass(eq=False)
class Route:
    """The links on the way, and the CPUs that give to it."""

    links: tuple[Resource, ...]
    cpus: Resource
    lanes: dict[int, _Lane] = field(default_factory=dict)

    @cached_property
    def capacity(self) -> float:
        """Bytes a second."""
        return min(link.capacity for link in self.links)

    @cached_property
    def resources(self) -> tuple[Resource, ...]:
        return (*self.links, self.cpus)


@dataclass(eq=False)
class _Lane:
    """``full``: bytes a second, and ``cpus`` that are busy then, if all its transfers
    went at their limits; ``rate`` and ``cpu_rate``: what it is allotted of these.
    ``speed``: the share of ``full`` that it goes at, which takes ``takes`` of a link;
    ``clock``: seconds at full speed, at the time ``since``."""

    route: Route
    step: int
    full: float = 0.0
    cpus: float = 0.0
    number: int = 0
    rate: float = 0.0
    cpu_rate: float = 0.0
    speed: float = 0.0
    takes: float = 0.0
    takes_cpus: float = 0.0
    clock: float = 0.0
    since: float = 0.0
    version: int = 0
    #: By the clock's time at which they end: number, what, of how many, limit, CPUs.
    waiting: list[tuple[float, int, object, int, float, float]] = field(
        default_factory=list
    )

    @property
    def limit(self) -> float:
        """Of its mean transfer."""
        return self.full / self.number

    @property
    def ends(self) -> float:
        """When its next transfer is done; infinite for none."""
        if not (self.waiting and self.speed):
            return math.inf
        return self.since + max(self.waiting[0][0] - self.clock, 0.0) / self.speed

    def run(self, now: float) -> None:
        self.clock += self.speed * (now - self.since)
        self.since = now

    def allot(self, rate: float) -> None:
        self.rate = rate
        self.cpu_rate = self.cpus * rate / self.full
        self.set_speed()

    def set_speed(self) -> None:
        speed = min(1.0, self.rate / self.full) if self.number else 0.0
        if self.cpus:
            speed = min(speed, self.cpu_rate / self.cpus)
        self.speed = speed
        self.takes, self.takes_cpus = speed * self.full, speed * self.cpus

    def change(self, now: float, number: int, limit: float, cpus: float) -> None:
        """So many transfers come or, with a minus, go."""
        self.run(now)
        self.number += number
        self.full += number * limit
        self.cpus += number * cpus
        if not self.number:
            # What rounding has left of it.
            self.full = self.cpus = 0.0
        takes, takes_cpus = self.takes, self.takes_cpus
        self.set_speed()
        for link in self.route.links:
            link.change(now, self.takes - takes)
        self.route.cpus.change(now, self.takes_cpus - takes_cpus)
        for resource in self.route.resources:
            resource.level = None


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

    def changed(self, resource: Resource) -> None:
        """Its capacity is another than before."""
        resource.level = None
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
        cpus = cpu * limit / amount
        lane.change(self.now, number, limit, cpus)
        self._number += 1
        due = lane.clock + amount / limit
        heappush(lane.waiting, (due, self._number, what, number, limit, cpus))
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
            for resource in lane.route.resources:
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
            for resource in route.resources:
                resource.lanes[lane] = None
            self._urgent = True
        return lane

    def _ended(self, lane: _Lane) -> list[_T]:
        lane.run(self.now)
        ended: list[_T] = []
        last = max(lane.clock, lane.waiting[0][0]) * (1 + 1e-12)
        while lane.waiting and lane.waiting[0][0] <= last:
            _, _, what, number, limit, cpus = heappop(lane.waiting)
            ended.append(what)  # type: ignore[arg-type]
            lane.change(self.now, -number, limit, cpus)
        self._touch(lane)
        return ended

    def _touch(self, lane: _Lane) -> None:
        self._touched[lane] = None
        self._stale = True

    def _announce(self) -> None:
        """When lanes, whose speeds have changed, have their next transfer done."""
        for lane in self._touched:
            lane.version += 1
            if (ends := lane.ends) < math.inf:
                self._number += 1
                heappush(self._events, (ends, self._number, lane, lane.version))
        self._touched.clear()

    # --- Max-min fair shares ----------------------------------------------------

    def _share(self) -> None:
        for lane in [lane for lane in self._lanes if not lane.number]:
            del self._lanes[lane]
            del lane.route.lanes[lane.step]
            for resource in lane.route.resources:
                del resource.lanes[lane]
        shares = fair_shares(self._lanes)
        used: dict[Resource, float] = {}
        # Nothing that was announced holds any more.
        self._touched.clear()
        self._events.clear()
        for number, lane in enumerate(self._lanes):
            lane.run(self.now)
            lane.allot(shares.get(lane, lane.full))
            for link in lane.route.links:
                used[link] = used.get(link, 0.0) + lane.takes
            cpus = lane.route.cpus
            used[cpus] = used.get(cpus, 0.0) + lane.takes_cpus
            if (ends := lane.ends) < math.inf:
                self._events.append((ends, number, lane, lane.version))
        heapify(self._events)
        # All at the same time, and without what rounding had added up.
        for resource, amount in used.items():
            resource.change(self.now, amount - resource.used)
        self._stale = self._urgent = False
        self._shared = self.now


def fair_shares(lanes: Collection[_Lane]) -> dict[_Lane, float]:
    """Bytes a second of each lane that does not get all that it could use.  No lane is
    empty.

    The scarcest resource binds its lanes, then the next binds those of its own that
    are still free.  As what is bound takes less than its part of all other resources,
    their levels only rise; a level is found again when it is its turn.
    """
    shares: dict[_Lane, float] = {}
    resources = dict.fromkeys(
        resource for lane in lanes for resource in lane.route.resources
    )
    # By level; how many of a resource's lanes were bound when that was found.
    queue: list[tuple[float, int, int, Resource]] = []
    for number, resource in enumerate(resources):
        if resource.level is None:
            resource.level = _level(_users(resource), resource.capacity)
        if resource.level < math.inf:
            queue.append((resource.level, number, 0, resource))
    heapify(queue)
    while queue and len(shares) < len(lanes):
        level, number, known, resource = heappop(queue)
        users = _users(resource)
        free = [user for user in users if user[0] not in shares]
        bound = len(users) - len(free)
        if bound == known:
            for lane, _ in free:
                shares[lane] = min(lane.number * level, lane.full)
            continue
        left = resource.capacity - sum(
            demand * shares[lane] / lane.full
            for lane, demand in users
            if lane in shares
        )
        # Rounding must leave nobody without anything.
        level = _level(free, max(left, resource.capacity * _ROUNDING))
        if level < math.inf:
            heappush(queue, (level, number, bound, resource))
    return shares


def _users(resource: Resource) -> list[tuple[_Lane, float]]:
    """Lanes, and what each would use of it at full speed."""
    demands = (
        (lane, lane.cpus if lane.route.cpus is resource else lane.full)
        for lane in resource.lanes
    )
    return [(lane, demand) for lane, demand in demands if demand]


def _level(users: list[tuple[_Lane, float]], capacity: float) -> float:
    """Bytes a second of a transfer at which ``capacity`` is used up; infinite if it
    never is."""
    most = capacity * (1 + _ROUNDING)
    if sum(demand for _, demand in users) <= most:
        return math.inf
    ascending = sorted((lane.limit, demand) for lane, demand in users)
    used, slope = 0.0, sum(demand / limit for limit, demand in ascending)
    for limit, demand in ascending:
        if slope and used + slope * limit > most:
            return max(capacity - used, capacity * _ROUNDING) / slope
        used += demand
        slope = max(slope - demand / limit, 0.0)
    return math.inf
