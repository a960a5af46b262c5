# SPDX-License-Identifier: LGPL-2.1-or-later
"""An evacuation for programs.

Schema ``migcomp.fleet/1``: keys are lower-case with hyphens; times seconds, sizes
bytes, rates bytes a second.  The same file of a fleet and the same file of costs give
the same object.  Keys are only ever added; a change of meaning makes a new schema.
"""

from __future__ import annotations

from dataclasses import asdict

from migcomp.fleet.advice import missed, notes, verdict
from migcomp.fleet.results import Evacuation, FleetResult, Migrated

SCHEMA = "migcomp.fleet/1"
_DIGITS = 6  # of seconds and shares: what lies behind is rounding's


def to_json(result: FleetResult) -> dict[str, object]:
    """All of ``result`` in types that ``json.dumps`` takes."""
    fleet = result.fleet
    return {
        "schema": SCHEMA,
        "fleet": fleet.path,
        "policy": fleet.policy.name,
        "parallel": fleet.policy.parallel,
        "qemu": ".".join(map(str, fleet.qemu_version)),
        "page-size": result.page_size,
        "costs": result.costs,
        "guests": len(result.asked.guests),
        "guests-that-write": result.writing,
        "evacuations": [_evacuation(each) for each in result.evacuations],
        "answer": list(verdict(result)),
        "notes": list(notes(result)),
    }


def _evacuation(evacuation: Evacuation) -> dict[str, object]:
    way, worst = evacuation.way, evacuation.worst
    return {
        "way": str(way),
        "engine": way.method,
        "codec": way.codec,
        "level": way.level,
        "threads": way.threads,
        "total-time": _rounded(evacuation.seconds),
        "wire-bytes": round(evacuation.wire_bytes),
        "cpu-time": _rounded(evacuation.cpu_seconds),
        "guests-cpu-time-taken": _rounded(sum(h.taken for h in evacuation.hosts)),
        "guests-cpu-time-share-taken": _rounded(evacuation.taken_share),
        "worst-downtime": _rounded(worst.downtime),
        "worst-downtime-guest": worst.name,
        "not-converged": len(evacuation.forced),
        "longer-than-downtime-limit": len(missed(evacuation)),
        "hosts": [_plain(asdict(host)) for host in evacuation.hosts],
        "links": [_plain(asdict(link)) for link in evacuation.links],
        "guests": [_guest(guest) for guest in evacuation.guests],
    }


def _guest(guest: Migrated) -> dict[str, object]:
    return _plain(asdict(guest))


def _plain(values: dict[str, object]) -> dict[str, object]:
    return {
        name.replace("_", "-"): _rounded(value, name) for name, value in values.items()
    }


def _rounded(value: object, name: str = "") -> object:
    if isinstance(value, float):
        return round(value) if name.endswith("bytes") else round(value, _DIGITS)
    return value
