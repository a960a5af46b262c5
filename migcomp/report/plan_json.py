# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plan for programs.

Schema ``migcomp.plan/1``: keys are lower-case with hyphens; times seconds, sizes
bytes, rates bytes a second.  Of a way that does not converge, times are null.
``break-even`` is null where a way is quicker than none on any link or compresses
nothing, and 0 where it is slower on any.  Keys are only ever added; a change of
meaning makes a new schema.
"""

from __future__ import annotations

from migcomp.plan.advice import commands, sureness, verdict
from migcomp.plan.plan import Plan, Row
from migcomp.records import to_record

SCHEMA = "migcomp.plan/1"


def to_json(plan: Plan) -> dict[str, object]:
    """All of ``plan`` in types that ``json.dumps`` takes."""
    question, sample = plan.question, plan.sample
    return {
        "schema": SCHEMA,
        "images": list(question.images),
        "qemu": ".".join(map(str, question.qemu.version)),
        "link": {
            "bandwidth-bits-per-second": question.link.bandwidth,
            "latency-seconds": question.link.latency,
        },
        "downtime-limit-ms": question.downtime_limit,
        "threads-max": question.threads_max,
        "guest": question.writes.description if question.writes else None,
        "memory-bytes": sample.image_pages * plan.page_size,
        "page-size": plan.page_size,
        "zero-share": plan.zero_share,
        "sample": {
            "bytes": sample.pages * plan.page_size,
            "clusters": len(sample.clusters),
            "complete": sample.complete,
        },
        "method": plan.method,
        "ways": [_row(row) for row in plan.rows],
        "recommended": str(plan.best.candidate),
        "keeps-downtime-limit": plan.best.good(question),
        "answer": list(verdict(plan)),
        "notes": list(sureness(plan)),
        "commands": to_record(commands(plan)),
        "costs": plan.costs.source,
        "machine": to_record(plan.machine),
        "seconds": plan.seconds,
    }


def _row(row: Row) -> dict[str, object]:
    candidate, found = row.candidate, row.prediction
    known = found.converges
    return {
        "way": str(candidate),
        "engine": candidate.method,
        "codec": candidate.codec,
        "level": candidate.level,
        "threads": candidate.threads,
        "auto-converge": row.parameters.auto_converge,
        "cpu-throttle-percentage": found.throttle_percentage,
        "converges": known,
        "total-time": found.seconds if known else None,
        "downtime": found.downtime if known else None,
        "rounds": found.rounds,
        "wire-bytes": round(found.wire_bytes) if known else None,
        "cpu-time": found.cpu_seconds if known else None,
        "uncertainty": row.uncertainty,
        "break-even": row.break_even,
    }
