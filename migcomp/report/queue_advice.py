# SPDX-License-Identifier: LGPL-2.1-or-later
"""Why the figures of a benchmark of work queues may mislead, and what to do."""

from __future__ import annotations

from migcomp.bench.queue_results import QueueBench
from migcomp.bench.statistics import summarize
from migcomp.units import format_seconds, many

_IDLE_LOAD = 0.5  # of each usable CPU, by other programs
_UNSTEADY = 0.1  # relative MAD
_ROUNDS = 3
_SHORT_NS = 50_000_000


def advice(result: QueueBench) -> tuple[str, ...]:
    """Sentences, most important first; none when the figures can be trusted."""
    sentences = []
    machine, plan = result.machine, result.plan
    cpus = machine.usable_cpus
    if machine.load_average > _IDLE_LOAD * cpus:
        sentences.append(
            f"The machine was busy before (load {machine.load_average:.1f} on "
            f"{many(cpus, 'CPU')}): measure again when it is quiet."
        )
    crowded = [threads for threads in plan.threads if threads + 1 > cpus]
    if crowded:
        sentences.append(
            f"{many(min(crowded), 'worker')} and the submitter shared "
            f"{many(cpus, 'CPU')}: from there on the scheduler is measured too."
        )
    unsteady = [
        series
        for series in result.series
        if result.ns_per_request(series).relative_mad > _UNSTEADY
    ]
    if unsteady:
        sentences.append(
            f"Rounds differ by more than {100 * _UNSTEADY:.0f} % in "
            f"{len(unsteady)} of {len(result.series)} rows: take more rounds (-c), "
            "or a quieter machine."
        )
    if plan.repeat < _ROUNDS:
        sentences.append(
            f"{many(plan.repeat, 'round')} cannot tell noise from differences: "
            f"take -c {_ROUNDS} or more."
        )
    shortest = min(
        (summarize([x.wall_ns for x in s.samples]).median for s in result.series),
    )
    if shortest < _SHORT_NS:
        sentences.append(
            f"A round took {format_seconds(shortest / 1e9)} only: take more "
            "memory (-m)."
        )
    return tuple(sentences)
