# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plan's pipe, held against the clock of the simulation."""

from __future__ import annotations

import pytest

from migcomp.plan.course import Case
from migcomp.plan.flows import Flows, PageFlow
from migcomp.plan.pipe import Pipe
from migcomp.plan.predict import predict
from migcomp.precopy.clock import Channels, Clock
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters
from tests.conftest import PAGE

PAGES = 128  # in a packet
LINK = Link(80e6, overhead=0, buffer=256 << 10)  # 10 MB/s
#: A page's bytes and its thread's nanoseconds: the link is slower, or the threads are.
KINDS = [(1000.0, 10_000.0), (4096.0, 0.0), (1000.0, 900_000.0), (100.0, 20_000.0)]


def page(wire: float, ns: float, channels: int) -> PageFlow:
    return PageFlow(wire, wire, 0, ns, threads=channels, packet=1 / PAGES)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packets", [1, 2, 7, 200])
def test_packets_go_as_the_clock_has_them(
    channels: int, kind: tuple[float, float], packets: int
) -> None:
    wire, ns = kind
    pipe, clock = Pipe(LINK, channels), Clock(LINK)
    lanes = Channels(clock, channels)
    sent = pipe.put(page(wire, ns, channels), packets * PAGES)
    for number in range(packets):
        lanes.hand_over(number % channels, round(ns * PAGES), round(wire * PAGES))
    assert sent.wire == pytest.approx(packets * PAGES * wire)
    # What is not followed packet by packet may be one off.
    one = PAGES * max(wire * pipe.byte, ns / 1e9)
    near = one * 1.01 if packets > 100 else 1e-6
    assert pipe.now == pytest.approx(clock.now / 1e9, abs=near)
    pipe.finish()
    lanes.finish()
    assert pipe.now == pytest.approx(clock.now / 1e9, abs=near)
    clock.arrive()
    assert pipe.empty_at == pytest.approx(clock.now / 1e9, abs=near)


def test_a_packet_is_sent_when_it_is_full_or_a_round_ends() -> None:
    pipe, flow = Pipe(LINK, 2), page(1000, 0, 2)
    assert pipe.put(flow, PAGES - 1).wire == 0
    assert pipe.put(flow, 2).wire == pytest.approx(PAGES * 1000)
    assert pipe.finish().wire == pytest.approx(1000)
    assert pipe.finish().wire == 0


def test_what_lies_at_the_end_of_memory_decides_over_the_stop() -> None:
    zero, content = PageFlow(9, 9, 0), PageFlow(PAGE, PAGE, 0)

    def stop(*parts: PageFlow) -> float:
        flows = Flows(tuple((1 / len(parts), part) for part in parts), content)
        told = Parameters(max_bandwidth=0, downtime_limit=300)
        return predict(Case(10_000, PAGE, flows, None, LINK, told)).downtime

    queued = LINK.buffer / LINK.bytes_per_second
    assert stop(content, zero) < queued + 0.01
    assert stop(zero, content) > queued + 0.2
