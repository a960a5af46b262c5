# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a migration will go over a link that it has for itself."""

from __future__ import annotations

from migcomp.plan.course import Case, Course, Prediction
from migcomp.plan.flows import Flows

_MOST_BITS = 1e12


def predict(case: Case) -> Prediction:
    migration, rate = Course(case).run(), case.link.bytes_per_second
    try:
        send = next(migration)
        while True:
            send = migration.send(send.seconds(rate))
    except StopIteration as end:
        found: Prediction = end.value
        return found


def break_even(flows: Flows, plain: Flows) -> float | None:
    """Bytes a second of the link on which a first round takes as long as with
    ``plain``; None if it takes less on any."""
    low, high = 1e3, _MOST_BITS / 8
    if flows.seconds(high) < plain.seconds(high):
        return None
    if flows.seconds(low) >= plain.seconds(low):
        return 0.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        if flows.seconds(middle) < plain.seconds(middle):
            low = middle
        else:
            high = middle
    return low
