# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a migration will go over a link that it has for itself."""

from __future__ import annotations

from migcomp.plan.course import Course, Prediction
from migcomp.plan.flows import Flows
from migcomp.plan.guest import Writes
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters

_MOST_BITS = 1e12


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
    rate = link.bytes_per_second
    migration = Course(
        pages, zero_share, page_size, flows, writes, link, parameters
    ).run()
    try:
        send = next(migration)
        while True:
            send = migration.send(send.seconds(rate))
    except StopIteration as end:
        found: Prediction = end.value
        return found


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
