# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an average page costs in each way to migrate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from migcomp.plan.candidates import Candidate
from migcomp.plan.measure import Deltas, Measurement
from migcomp.precopy import framing
from migcomp.precopy.costs import Costs
from migcomp.precopy.parameters import Parameters

#: Bytes of multifd are counted as they are, and its channels wait for each other once
#: in a round; before, after each section.
_COUNTS_RIGHTLY = (8, 1)
_ZERO_PAGES_IN_PACKETS = (9, 0)


@dataclass(frozen=True)
class PageFlow:
    """What a page of some kind costs: ``wire`` bytes on the link, ``counted`` by
    QEMU; nanoseconds of the migration thread, of one of the ``threads``, and in which
    that one waits for the next page.  ``packet``: its share of one of multifd's, 0
    for what the migration thread sends on."""

    wire: float
    counted: float
    serial_ns: float
    thread_ns: float = 0.0
    idle_ns: float = 0.0
    threads: int = 1
    packet: float = 0.0

    @cached_property
    def cpu_ns(self) -> float:
        return self.serial_ns + self.thread_ns

    @cached_property
    def busy_seconds(self) -> float:
        """With a link that takes no time."""
        threads = (self.thread_ns + self.idle_ns) / self.threads
        return max(self.serial_ns, threads) / 1e9

    def seconds(self, bytes_per_second: float) -> float:
        return max(self.wire / bytes_per_second, self.busy_seconds)


@dataclass(frozen=True)
class Flows:
    """``memory``: its mean pages in the order of addresses, with the share of each
    part.  ``changed``: of a page that the guest wrote; ``hit``: where the engine knows
    what it was before.  ``channels`` of multifd; ``waits``: they wait for each other
    after each section, and not only at the end of a round."""

    memory: tuple[tuple[float, PageFlow], ...]
    changed: PageFlow
    hit: PageFlow | None = None
    channels: int = 0
    waits: bool = False

    def seconds(self, bytes_per_second: float) -> float:
        """Of a page of the memory, on average."""
        return sum(
            share * flow.seconds(bytes_per_second) for share, flow in self.memory
        )


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
        mean("packet"),
    )


class _Sized(Protocol):
    """Of pages that are not zero: bytes and nanoseconds of each."""

    @property
    def page_bytes(self) -> float: ...
    @property
    def page_ns(self) -> float: ...


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
        zero, content = _compress(candidate.threads, costs)
        return Flows(_memory(measurement, zero, content), content(changed))
    if candidate.method == "multifd":
        zero, content = _multifd(candidate, costs, parameters)
        return Flows(
            _memory(measurement, zero, content),
            content(changed),
            channels=candidate.threads,
            waits=parameters.qemu_version < _COUNTS_RIGHTLY,
        )
    record = framing.RECORD_HEADER + size
    plain = PageFlow(record, record, costs.send_ns)
    zero = PageFlow(framing.ZERO_PAGE, framing.ZERO_PAGE, costs.zero_ns)
    memory = _memory(measurement, zero, lambda _: plain)
    if candidate.method == "none" or deltas is None:
        return Flows(memory, plain)
    return Flows(
        memory,
        PageFlow(record, record, costs.send_ns + deltas.miss_ns),
        PageFlow(deltas.hit_bytes, deltas.hit_bytes, deltas.hit_ns),
    )


def _memory(
    measurement: Measurement, zero: PageFlow, content: Callable[[_Sized], PageFlow]
) -> tuple[tuple[float, PageFlow], ...]:
    pages = sum(part.pages for part in measurement.parts)
    return tuple(
        (
            part.pages / pages,
            mixture(
                [
                    (part.zero / part.pages, zero),
                    (part.content / part.pages, content(part)),
                ]
            ),
        )
        for part in measurement.parts
    )


def _compress(
    threads: int, costs: Costs
) -> tuple[PageFlow, Callable[[_Sized], PageFlow]]:
    """Of a zero page, and of others."""

    def flow(wire: float, ns: float) -> PageFlow:
        return PageFlow(wire, wire, costs.submit_ns, ns, costs.handover_ns, threads)

    def content(each: _Sized) -> PageFlow:
        return flow(framing.COMPRESSED_HEADER + each.page_bytes, each.page_ns)

    return flow(framing.ZERO_PAGE, costs.zero_ns), content


def _multifd(
    candidate: Candidate, costs: Costs, parameters: Parameters
) -> tuple[PageFlow, Callable[[_Sized], PageFlow]]:
    """Of a zero page, and of others."""
    size, threads, version = costs.page_size, candidate.threads, parameters.qemu_version
    share = 1 / framing.packet_pages(size)
    header = framing.packet_header(size) * share
    in_packets = version >= _ZERO_PAGES_IN_PACKETS
    sift = 0 if in_packets else costs.zero_ns
    zero = PageFlow(framing.ZERO_PAGE, framing.ZERO_PAGE, sift, threads=threads)
    if in_packets:
        zero = PageFlow(header, header, 0, costs.zero_ns, threads=threads, packet=share)

    def content(each: _Sized) -> PageFlow:
        wire = header + each.page_bytes
        counted = wire if version >= _COUNTS_RIGHTLY else header + size
        ns = each.page_ns + costs.send_ns * each.page_bytes / size
        return PageFlow(wire, counted, sift, ns, threads=threads, packet=share)

    return zero, content
