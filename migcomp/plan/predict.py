# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a migration will go, round by round, from what an average page costs.

A round of V pages lasts V times what the slowest of link, threads and migration
thread takes for a page; the pages that the guest writes meanwhile are the next
round.  (Clark et al., Live Migration of Virtual Machines, NSDI 2005; with a constant
dirty rate it is the geometric series of Mandal et al. 2013.)  When the guest is stopped
is QEMU's rule: when what is dirty, uncompressed, is less than its estimate of the
bandwidth times the downtime limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from migcomp.plan.candidates import Candidate
from migcomp.plan.guest import Writes
from migcomp.plan.measure import Deltas, Measurement
from migcomp.precopy import framing
from migcomp.precopy.costs import Costs
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters

#: Rounds in a row that bring nothing, as in the simulation.
_HOPELESS = 30
_SECTION_SECONDS = 0.05  # ``MAX_WAIT`` of migration/ram.c
_COUNTS_RIGHTLY = (8, 1)  # bytes of multifd
_MOST_BITS = 1e12
_ZERO_PAGES_IN_PACKETS = (9, 0)


@dataclass(frozen=True)
class PageFlow:
    """What a page of some kind costs: ``wire`` bytes on the link, ``counted`` by
    QEMU; nanoseconds of the migration thread, of one of the ``threads``, and in which
    that one waits for the next page."""

    wire: float
    counted: float
    serial_ns: float
    thread_ns: float = 0.0
    idle_ns: float = 0.0
    threads: int = 1

    @property
    def cpu_ns(self) -> float:
        return self.serial_ns + self.thread_ns

    @property
    def busy_seconds(self) -> float:
        """With a link that takes no time."""
        threads = (self.thread_ns + self.idle_ns) / self.threads
        return max(self.serial_ns, threads) / 1e9

    def seconds(self, bytes_per_second: float) -> float:
        return max(self.wire / bytes_per_second, self.busy_seconds)


@dataclass(frozen=True)
class Flows:
    """``changed``: of a page that the guest wrote; ``hit``: where the engine knows
    what it was before.  ``queues``: the link may be given more than the bandwidth
    limit, which only the migration thread heeds."""

    zero: PageFlow
    content: PageFlow
    changed: PageFlow
    hit: PageFlow | None = None
    queues: bool = False


@dataclass(frozen=True)
class Prediction:
    """``seconds`` and ``downtime`` (seconds) are of a migration that does not
    converge those until that is clear, and with the guest stopped then."""

    converges: bool
    seconds: float
    downtime: float
    wire_bytes: float
    cpu_seconds: float
    rounds: int


def flows_of(
    candidate: Candidate,
    measurement: Measurement,
    changed: Measurement,
    deltas: Deltas | None,
    costs: Costs,
    parameters: Parameters,
) -> Flows:
    """``measurement``: of the candidate's work on the memory; ``changed``: on pages
    that the guest wrote."""
    size = costs.page_size
    if candidate.method == "compress":
        return _compress(candidate.threads, measurement, changed, costs)
    if candidate.method == "multifd":
        return _multifd(candidate, measurement, changed, costs, parameters)
    zero = PageFlow(framing.ZERO_PAGE, framing.ZERO_PAGE, costs.zero_ns)
    record = framing.RECORD_HEADER + size
    content = PageFlow(record, record, costs.send_ns)
    if candidate.method == "none" or deltas is None:
        return Flows(zero, content, content)
    return Flows(
        zero,
        content,
        PageFlow(record, record, costs.send_ns + deltas.miss_ns),
        PageFlow(deltas.hit_bytes, deltas.hit_bytes, deltas.hit_ns),
    )


def _compress(
    threads: int, measurement: Measurement, changed: Measurement, costs: Costs
) -> Flows:
    def flow(wire: float, ns: float) -> PageFlow:
        return PageFlow(wire, wire, costs.submit_ns, ns, costs.handover_ns, threads)

    content, later = (
        flow(framing.COMPRESSED_HEADER + each.page_bytes, each.page_ns)
        for each in (measurement, changed)
    )
    return Flows(flow(framing.ZERO_PAGE, costs.zero_ns), content, later)


def _multifd(
    candidate: Candidate,
    measurement: Measurement,
    changed: Measurement,
    costs: Costs,
    parameters: Parameters,
) -> Flows:
    size, threads, version = costs.page_size, candidate.threads, parameters.qemu_version
    header = framing.packet_header(size) / framing.packet_pages(size)
    in_packets = version >= _ZERO_PAGES_IN_PACKETS
    sift = 0 if in_packets else costs.zero_ns
    if in_packets:
        zero = PageFlow(header, header, 0, costs.zero_ns, threads=threads)
    else:
        zero = PageFlow(framing.ZERO_PAGE, framing.ZERO_PAGE, sift)

    def flow(each: Measurement) -> PageFlow:
        wire = header + each.page_bytes
        counted = wire if version >= _COUNTS_RIGHTLY else header + size
        ns = each.page_ns + costs.send_ns * each.page_bytes / size
        return PageFlow(wire, counted, sift, ns, threads=threads)

    return Flows(zero, flow(measurement), flow(changed), queues=True)


@dataclass
class _Course:
    """Of one migration; adds up what it takes."""

    flows: Flows
    rate: float
    seconds: float = 0.0
    wire: float = 0.0
    cpu_ns: float = 0.0

    def send(self, flow: PageFlow, pages: float) -> float:
        """Seconds that these pages take."""
        seconds = pages * flow.seconds(self.rate)
        self.seconds += seconds
        self.wire += pages * flow.wire
        self.cpu_ns += pages * flow.cpu_ns
        return seconds

    def send_changed(self, pages: float, known: float) -> float:
        """``known``: the share whose older content the other side has, cached."""
        hit = self.flows.hit
        if hit is None:
            return self.send(self.flows.changed, pages)
        spent = self.send(hit, pages * known)
        return spent + self.send(self.flows.changed, pages * (1 - known))


def predict(
    pages: int,
    zero_share: float,
    page_size: int,
    flows: Flows,
    writes: Writes | None,
    link: Link,
    parameters: Parameters,
) -> Prediction:
    """Of a memory of so many pages."""
    rate = _limited(link, parameters, flows.content)
    course = _Course(flows, rate)
    course.send(flows.zero, pages * zero_share)
    flow = flows.changed if writes else flows.content
    may_stop = _threshold(flow, rate, parameters) / page_size
    rounds, converges, left, known = _rounds(
        course, writes, pages * (1 - zero_share), may_stop
    )
    before = course.wire
    last = course.send_changed(left, known) if writes else course.send(flow, left)
    # The kernel still has what was written before, if the link is the slowest.
    queued = 0.0
    if flows.queues and flow.busy_seconds < flow.wire / rate:
        queued = min(link.buffer, before) / rate
    answers = 2 * link.latency
    return Prediction(
        converges,
        course.seconds + answers,
        last + queued + answers,
        course.wire,
        course.cpu_ns / 1e9,
        rounds,
    )


def _rounds(
    course: _Course, writes: Writes | None, content: float, may_stop: float
) -> tuple[int, bool, float, float]:
    """Up to that for which the guest is stopped, which is yet to be sent: (rounds, it
    converges, pages of the last one, the share of these that the cache has).

    ``content``: pages of the first round; ``may_stop``: as many may be left.  A
    round ends when it has no more than these left, but lasts a section at least.
    """
    left, known, earlier = content, 0.0, 0.0
    rounds, useless, least = 0, 0, float("inf")
    while left > may_stop and useless < _HOPELESS:
        flow = course.flows.changed if rounds else course.flows.content
        section = _SECTION_SECONDS / flow.seconds(course.rate)
        now = min(max(left - may_stop, section), left)
        if rounds:
            seconds = course.send_changed(now, known)
        else:
            seconds = course.seconds + course.send(flow, now)
        left -= now
        rounds += 1
        if writes:
            fresh = writes.pages(seconds)
            if rounds > 1:
                # Some of what it wrote was dirty still.
                fresh *= 1 - left / max(writes.model.working_set, left)
            left += fresh
            known = writes.again(seconds, earlier) * fresh / left if earlier else 0.0
            earlier += seconds
        useless = useless + 1 if left >= least else 0
        least = min(left, least)
    return rounds + 1, useless < _HOPELESS, left, known


def _limited(link: Link, parameters: Parameters, flow: PageFlow) -> float:
    """Bytes a second on the link that QEMU's limit allows."""
    rate = link.bytes_per_second
    if parameters.max_bandwidth:
        rate = min(rate, parameters.max_bandwidth * flow.wire / flow.counted)
    return rate


def _threshold(flow: PageFlow, rate: float, parameters: Parameters) -> float:
    """Bytes that may be dirty when the guest is stopped."""
    bandwidth = float(parameters.avail_switchover_bandwidth)
    if not bandwidth:
        bandwidth = flow.counted / flow.seconds(rate)
    return bandwidth * parameters.downtime_limit / 1000


def break_even(zero_share: float, flows: Flows, plain: Flows) -> float | None:
    """Bytes a second of the link on which a first round takes as long as with
    ``plain``; None if it takes less on any."""

    def seconds(flows: Flows, rate: float) -> float:
        return zero_share * flows.zero.seconds(rate) + (
            1 - zero_share
        ) * flows.content.seconds(rate)

    low, high = 1e3, _MOST_BITS / 8
    if seconds(flows, high) < seconds(plain, high):
        return None
    if seconds(flows, low) >= seconds(plain, low):
        return 0.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        if seconds(flows, middle) < seconds(plain, middle):
            low = middle
        else:
            high = middle
    return low
