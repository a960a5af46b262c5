# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an average page costs in each way to migrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from migcomp.plan.candidates import Candidate
from migcomp.plan.measure import Deltas, Measurement
from migcomp.precopy import framing
from migcomp.precopy.costs import Costs
from migcomp.precopy.parameters import Parameters

_COUNTS_RIGHTLY = (8, 1)  # bytes of multifd
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
    what it was before.  ``unit``: pages that go together, the last of which may exceed
    the bandwidth limit."""

    zero: PageFlow
    content: PageFlow
    changed: PageFlow
    hit: PageFlow | None = None
    unit: int = 1


def mixture(kinds: Sequence[tuple[float, PageFlow]]) -> PageFlow:
    """The mean page, of kinds that come in turn, with the share of each."""

    def mean(name: str) -> float:
        return sum(share * float(getattr(flow, name)) for share, flow in kinds)

    return PageFlow(
        mean("wire"),
        mean("counted"),
        mean("serial_ns"),
        mean("thread_ns"),
        mean("idle_ns"),
        max(flow.threads for _, flow in kinds),
    )


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

    return Flows(
        zero, flow(measurement), flow(changed), unit=framing.packet_pages(size)
    )
