# SPDX-License-Identifier: LGPL-2.1-or-later
"""A simulated migration for programs.

Schema ``migcomp.simulate/1``: keys are lower-case with hyphens; ``-ns`` virtual
nanoseconds, other times as in QMP milliseconds, sizes bytes.  ``query-migrate`` is
what QEMU would say, and what it tells only while a migration is under way, as it
was at the end; ``progress-history`` has a record for each round, with the names
of QEMU's guestperf, hyphens for underscores, where it has one.  ``what-if`` of the
engine is true where no QEMU has it, or not with that codec or that
``compress-wait-thread``, so that ``parameters`` could not be given to one.  The same
inputs and the same file of costs give the same object, but for ``real-seconds`` and
``machine``, which are absent when costs come from a file.
Keys are only ever added; a change of meaning makes a new schema.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from migcomp.precopy.results import Round, SimulationResult
from migcomp.precopy.statistics import MigrationStatistics

SCHEMA = "migcomp.simulate/1"


def to_json(result: SimulationResult) -> dict[str, object]:
    """All of ``result`` in types that ``json.dumps`` takes."""
    measured = result.measured
    return {
        "schema": SCHEMA,
        "images": list(result.images),
        "memory-bytes": result.memory_bytes,
        "page-size": result.page_size,
        "guest": result.guest,
        "engine": {
            "name": result.engine,
            "description": result.engine_description,
            "what-if": result.what_if,
        },
        "link": {
            "bandwidth-bits-per-second": result.link.bandwidth,
            "payload-bytes-per-second": result.link.bytes_per_second,
            "latency-seconds": result.link.latency,
        },
        "parameters": _parameters(result),
        "converged": result.converged,
        "reason": result.reason,
        "query-migrate": statistics_to_json(result.statistics),
        "wire-bytes": result.wire_bytes,
        "cpu-seconds": result.cpu_seconds,
        "progress-history": [_round(r, result) for r in result.rounds],
        "costs": result.costs,
    } | (
        {
            "real-seconds": result.real_seconds,
            "machine": _hyphens(asdict(result.machine)),
        }
        if measured
        else {}
    )


def statistics_to_json(statistics: MigrationStatistics) -> dict[str, object]:
    """By QMP's names; members that are not there are left out."""
    return _hyphens(asdict(statistics))


def _hyphens(data: dict[str, Any]) -> dict[str, object]:
    return {
        name.replace("_", "-"): _hyphens(value) if isinstance(value, dict) else value
        for name, value in data.items()
        if value is not None
    }


def _parameters(result: SimulationResult) -> dict[str, object]:
    parameters = _hyphens(asdict(result.parameters))
    major, minor = result.parameters.qemu_version
    return parameters | {"qemu-version": f"{major}.{minor}"}


def _round(round_: Round, result: SimulationResult) -> dict[str, object]:
    sent, size = round_.sent, result.page_size
    return {
        "iterations": round_.iteration,
        "guest-stopped": round_.stopped,
        "start-ns": round_.start_ns,
        "duration-ns": round_.end_ns - round_.start_ns,
        "dirty-pages": round_.dirty_pages,
        "unchanged-pages": round_.unchanged_pages,
        "transferred-bytes": sent.counted_bytes,
        "wire-bytes": sent.wire_bytes,
        "transfer-rate-mbs": round_.bytes_per_second * 8 / 1e6,
        "normal-pages": sent.normal,
        "normal-bytes": sent.normal * size,
        "duplicate-pages": sent.duplicate,
        "compressed-pages": sent.compressed,
        "compressed-size": sent.compressed_size,
        "busy": sent.busy,
        "deduplicated-pages": sent.deduplicated,
        "skipped-pages": sent.skipped,
        "xbzrle-pages": sent.xbzrle_pages,
        "xbzrle-bytes": sent.xbzrle_bytes,
        "cpu-ns": round_.cpu_ns,
        "throttle-pcent": round_.throttle_percentage or 0,
        "waiting-bytes": round_.waiting_bytes,
        "threshold-bytes": round_.threshold_bytes,
    }
