# SPDX-License-Identifier: LGPL-2.1-or-later
"""Empties hosts: migrations side by side, each in the course that it takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace

from migcomp.errors import ImageError, SetupError
from migcomp.fleet.costs import FleetCosts, GuestCosts
from migcomp.fleet.fleet import SMALLEST_FIRST, Fleet, Guests
from migcomp.fleet.placement import place
from migcomp.fleet.results import (
    Evacuation,
    FleetResult,
    HostUse,
    LinkUse,
    Migrated,
)
from migcomp.fleet.sharing import Resource, Route, Sharing
from migcomp.fleet.writes import writes_of
from migcomp.plan.candidates import Candidate
from migcomp.plan.course import Case, Course, Prediction, Send
from migcomp.plan.flows import Flows, flows_of
from migcomp.plan.guest import Writes
from migcomp.precopy.dirty_model import DirtyModel, usual_working_set
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters

#: Is told how many guests have arrived, of how many.
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Kind:
    """Guests that are alike, and migrated in one way."""

    guests: Guests
    pages: int
    zero_share: float
    page_size: int
    flows: Flows
    writes: Writes | None
    parameters: Parameters

    @property
    def memory(self) -> int:
        return self.pages * self.page_size

    @property
    def content(self) -> float:
        """Pages that are not zero: what order is by."""
        return self.pages * (1 - self.zero_share)


@dataclass(eq=False)
class _Cpus(Resource):
    """Of a host.  ``cpus`` it has; ``busy``: those that its guests would use;
    ``threads`` of migrations.  ``taken``, ``crowded`` and ``wanted`` as in HostUse."""

    cpus: int = 1
    busy: float = 0.0
    threads: int = 0
    taken: float = 0.0
    crowded: float = 0.0
    wanted: float = 0.0

    def pass_time(self, now: float) -> None:
        passed = now - self.since
        if not passed:
            return
        crowded = max(self.busy - self.cpus, 0.0)
        self.crowded += crowded * passed
        self.taken += max(self.busy + self.used - self.cpus - crowded, 0.0) * passed
        self.wanted += self.busy * passed
        super().pass_time(now)

    def alter(self, now: float, busy: float, threads: int) -> None:
        """Guests and threads come or go; threads are guaranteed what a scheduler that
        is fair to each gives them."""
        self.pass_time(now)
        # What many additions and subtractions leave of nothing.
        self.busy = self.busy + busy if abs(self.busy + busy) > 1e-9 else 0.0
        self.threads += threads
        if self.threads:
            fair = self.cpus * self.threads / (self.threads + self.busy)
            self.capacity = max(self.cpus - self.busy, fair)


@dataclass(eq=False)
class _Migration:
    """Of the guests ``names``, which are alike and begin together, so that all of them
    take the same course: ``running``, from when it begins."""

    names: list[str]
    kind: Kind
    destination: str
    route: Route
    began: float = 0.0
    sent: float = 0.0  # when the last Send began
    least: float = 0.0  # seconds that it takes
    running: Generator[Send, float, Prediction] = field(init=False)


def kinds(fleet: Fleet, way: Candidate, costs: FleetCosts) -> dict[Guests, Kind]:
    """Of all guests of the fleet.  Raises ImageError and SetupError."""
    return {
        guests: _kind(fleet, guests, way, costs.of(guests.memory, (way.work,)), costs)
        for guests in fleet.guests
    }


def _kind(
    fleet: Fleet, guests: Guests, way: Candidate, known: GuestCosts, costs: FleetCosts
) -> Kind:
    size = costs.base.page_size
    pages = known.pages if guests.size is None else guests.size // size
    parameters = way.parameters(
        Parameters(
            max_bandwidth=fleet.max_bandwidth,
            downtime_limit=guests.downtime_limit,
            qemu_version=fleet.qemu_version,
        )
    )
    # Guests of another size are not laid out as the image is: one part stands for all.
    measured = known.memory[way.work].as_one()
    changed = known.changed[way.work] if known.model else measured
    flows = flows_of(way, measured, changed, None, costs.base, parameters)
    writes = _writes(fleet, guests, known, pages, size)
    return Kind(guests, pages, measured.zero_share, size, flows, writes, parameters)


def _writes(
    fleet: Fleet, guests: Guests, known: GuestCosts, pages: int, size: int
) -> Writes | None:
    if guests.dirty_rate is None:
        return writes_of(known.model) if known.model else None
    if not guests.dirty_rate:
        return None
    rate = guests.dirty_rate / size
    working_set = usual_working_set(rate, pages)
    if guests.working_set is not None:
        working_set = guests.working_set // size
    try:
        if working_set > pages:
            raise ImageError(f"its working-set is more than its {pages:,} pages")
        return writes_of(DirtyModel(rate, working_set, guests.skew))
    except ImageError as error:
        raise SetupError(f"{fleet.path}: guest {guests.name}: {error}") from error


def evacuate(
    fleet: Fleet, costs: FleetCosts, watch: Watch = lambda done, total: None
) -> FleetResult:
    """In each of the fleet's ways.  Raises ImageError and SetupError."""
    done = tuple(_evacuate(fleet, way, costs, watch) for way in fleet.ways)
    writing = sum(
        kind.guests.count
        for kind in kinds(fleet, fleet.way, costs).values()
        if kind.writes and fleet.host[kind.guests.host].evacuate
    )
    return FleetResult(fleet, costs.base.page_size, done, costs.source, writing)


def _evacuate(
    fleet: Fleet, way: Candidate, costs: FleetCosts, watch: Watch
) -> Evacuation:
    return _Evacuation(fleet, way, kinds(fleet, way, costs)).run(watch)


class _Network:
    """Links and CPUs of a fleet, by what they are between."""

    def __init__(self, fleet: Fleet, threads: int) -> None:
        self.threads = threads

        def link(name: str, bandwidth: float) -> Resource:
            return Resource(name, Link(bandwidth).bytes_per_second)

        self.cpus: dict[str, _Cpus] = {}
        self._ends: dict[str, Resource] = {}
        for host in fleet.hosts:
            way = "out" if host.evacuate else "in"
            self._ends[host.name] = link(f"{host.name} {way}", host.link)
            self.cpus[host.name] = _Cpus(host.name, float(host.cpus), cpus=host.cpus)
        self._uplinks = [
            (
                uplink.hosts,
                link(f"{uplink.name} out", uplink.bandwidth),
                link(f"{uplink.name} in", uplink.bandwidth),
            )
            for uplink in fleet.uplinks
        ]
        self._routes: dict[tuple[str, str], Route] = {}

    def route(self, source: str, destination: str) -> Route:
        key = source, destination
        if key not in self._routes:
            links = [self._ends[source], self._ends[destination]]
            for hosts, out, into in self._uplinks:
                if (source in hosts) != (destination in hosts):
                    links.append(out if source in hosts else into)
            self._routes[key] = Route(tuple(links), self.cpus[source])
        return self._routes[key]

    @property
    def links(self) -> list[Resource]:
        """Those that anything has gone over."""
        pairs = [link for _, *two in self._uplinks for link in two]
        return [link for link in (*self._ends.values(), *pairs) if link.amount]


class _Evacuation:
    def __init__(self, fleet: Fleet, way: Candidate, known: dict[Guests, Kind]) -> None:
        self._way = way
        self._policy = fleet.policy
        self._network = _Network(fleet, way.threads + 1)
        self._sharing: Sharing[_Migration] = Sharing()
        self._left: dict[str, int] = {}
        self._empty: dict[str, float] = {}
        self._done: list[Migrated] = []
        names = (name for each in fleet.leaving for name in each.names)
        self._order = {name: index for index, name in enumerate(names)}
        self._queues: dict[str, deque[_Migration]] = {
            host.name: deque() for host in fleet.hosts if host.evacuate
        }
        self._counts = dict.fromkeys(self._queues, 0)
        for migration in self._migrations(fleet, known):
            host = migration.kind.guests.host
            self._queues[host].append(migration)
            self._counts[host] += len(migration.names)
        self._total = sum(self._counts.values())
        for guests in fleet.guests:
            cpus = self._network.cpus[guests.host]
            cpus.alter(0.0, guests.busy_cpus * guests.count, 0)

    def _migrations(self, fleet: Fleet, known: dict[Guests, Kind]) -> list[_Migration]:
        """In the order in which they begin, all hosts together."""
        staying = [
            (each.host, known[each].memory * each.count)
            for each in fleet.guests
            if not fleet.host[each.host].evacuate
        ]
        leaving = fleet.leaving
        if self._policy.name == SMALLEST_FIRST:
            leaving = sorted(leaving, key=lambda each: known[each].content)
        named = [(name, known[each]) for each in leaving for name in each.names]
        places = place(
            fleet, staying, ((kind.guests.host, kind.memory) for _, kind in named)
        )
        found: list[_Migration] = []
        together: dict[tuple[str, str], _Migration] = {}
        for (name, kind), destination in zip(named, places, strict=True):
            alike = kind.guests.name, destination
            if self._policy.parallel is None and alike in together:
                together[alike].names.append(name)
                continue
            route = self._network.route(kind.guests.host, destination)
            together[alike] = _Migration([name], kind, destination, route)
            found.append(together[alike])
        return found

    def run(self, watch: Watch) -> Evacuation:
        for queue in self._queues.values():
            for _ in range(min(self._policy.parallel or len(queue), len(queue))):
                self._begin(queue.popleft())
        while (before := len(self._done)) < self._total:
            for migration in self._sharing.wait():
                took = self._sharing.now - migration.sent
                self._go_on(migration, max(took, migration.least))
            if len(self._done) > before:
                watch(len(self._done), self._total)
        self._sharing.finish()
        return Evacuation(
            self._way,
            self._sharing.now,
            tuple(sorted(self._done, key=lambda guest: self._order[guest.name])),
            tuple(self._link_use(link) for link in self._network.links),
            tuple(self._host_use(name) for name in self._queues),
        )

    def _begin(self, migration: _Migration) -> None:
        kind = migration.kind
        migration.began = self._sharing.now
        # It knows no more of the link than what it is told as it goes on, but for
        # what the link could be.
        alone = Link(1.0)
        bandwidth = migration.route.capacity / alone.bytes_per_second
        migration.running = Course(
            Case(
                kind.pages,
                kind.page_size,
                kind.flows,
                kind.writes,
                replace(alone, bandwidth=bandwidth),
                kind.parameters,
            )
        ).run()
        cpus = self._network.cpus[kind.guests.host]
        threads = self._network.threads * len(migration.names)
        cpus.alter(self._sharing.now, 0.0, threads)
        self._sharing.changed(cpus)
        self._go_on(migration, None)

    def _go_on(self, migration: _Migration, took: float | None) -> None:
        """``took``: seconds for what it sent before; None: nothing."""
        running = migration.running
        try:
            send = next(running) if took is None else running.send(took)
        except StopIteration as end:
            self._end(migration, end.value)
            return
        migration.sent, migration.least = self._sharing.now, send.at_least
        self._sharing.start(
            migration,
            migration.route,
            send.wire_bytes,
            send.at_least,
            send.cpu_seconds,
            len(migration.names),
        )

    def _end(self, migration: _Migration, found: Prediction) -> None:
        now, guests = self._sharing.now, migration.kind.guests
        self._done += [
            Migrated(
                name,
                migration.kind.memory,
                guests.host,
                migration.destination,
                migration.began,
                found.seconds,
                found.downtime,
                guests.downtime_limit / 1000,
                found.wire_bytes,
                found.cpu_seconds,
                found.rounds,
                found.converges,
            )
            for name in migration.names
        ]
        number = len(migration.names)
        busy, threads = number * guests.busy_cpus, number * self._network.threads
        cpus = self._network.cpus[guests.host]
        cpus.alter(now, -busy, -threads)
        self._sharing.changed(cpus)
        self._network.cpus[migration.destination].alter(now, busy, 0)
        self._empty[guests.host] = now
        if queue := self._queues[guests.host]:
            self._begin(queue.popleft())

    def _link_use(self, link: Resource) -> LinkUse:
        seconds = self._sharing.now or 1.0
        return LinkUse(
            link.name,
            link.capacity,
            link.amount,
            link.most / link.capacity,
            link.amount / seconds / link.capacity,
        )

    def _host_use(self, name: str) -> HostUse:
        cpus = self._network.cpus[name]
        return HostUse(
            name,
            self._counts[name],
            self._empty.get(name, 0.0),
            cpus.amount,
            cpus.wanted,
            cpus.taken,
            cpus.crowded,
        )
