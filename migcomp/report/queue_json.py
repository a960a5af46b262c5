# SPDX-License-Identifier: LGPL-2.1-or-later
"""A benchmark of work queues for programs.

Schema ``migcomp.bench-queue/1``: keys are lower-case with hyphens, sizes bytes,
times as their names say, shares and rates plain numbers; what a design does not
count is null.  Every sample of every round is kept.  Keys are only ever added; a
change of meaning makes a new schema.
"""

from __future__ import annotations

from migcomp.bench.queue_results import QueueBench, Series
from migcomp.records import to_record
from migcomp.report.queue_advice import advice

SCHEMA = "migcomp.bench-queue/1"


def to_json(result: QueueBench) -> dict[str, object]:
    """All of ``result`` in types that ``json.dumps`` takes."""
    plan = result.plan
    return {
        "schema": SCHEMA,
        "plan": to_record(plan),
        "pages": plan.pages,
        "requests": plan.requests,
        "bytes-out": result.bytes_out,
        "codec": to_record(result.codec),
        "loop": {
            "ns-per-request": to_record(result.loop_ns_per_request()),
            "samples": to_record(result.loop),
        },
        "series": [_series(result, series) for series in result.series],
        "machine": to_record(result.machine),
        "notes": list(advice(result)),
    }


def _series(result: QueueBench, series: Series) -> dict[str, object]:
    efficiency = result.efficiency(series)
    return {
        "design": series.design,
        "threads": series.threads,
        "requests-per-thread": series.requests_per_thread,
        "ns-per-request": to_record(result.ns_per_request(series)),
        "pages-per-second": result.pages_per_second(series),
        "bytes-per-second": result.bytes_per_second(series),
        "efficiency": to_record(efficiency),
        "busy-rate": result.busy_rate(series),
        "cpu-ns-per-request": result.cpu_ns_per_request(series),
        "wakeups-per-request": result.wakeups(series),
        "spins-per-request": result.spins(series),
        "idle-cpu": result.idle_cpu(series),
        "samples": to_record(series.samples),
    }
