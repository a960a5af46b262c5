# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sweeps and their comparison as one JSON object; docs/results-format.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from migcomp.bench.compare import Comparison
from migcomp.bench.sweep_results import Sweep
from migcomp.records import to_record
from migcomp.report.compare_advice import notes
from migcomp.report.compare_figures import compare_table
from migcomp.report.sweep_advice import advice
from migcomp.report.sweep_figures import sweep_table
from migcomp.report.tables import Value

SWEEP_SCHEMA = "migcomp.sweep-report/1"
COMPARE_SCHEMA = "migcomp.sweep-compare/1"


def sweep_to_json(sweep: Sweep) -> dict[str, object]:
    """All of ``sweep``, each sample too, and the figures of each setting."""
    return {
        "schema": SWEEP_SCHEMA,
        "plan": to_record(sweep.plan),
        "machines": to_record(sweep.machines),
        "samples": to_record(sweep.samples),
        "settings": _rows(sweep_table(sweep).rows),
        "notes": list(advice(sweep)),
    }


def compare_to_json(comparison: Comparison) -> dict[str, object]:
    return {
        "schema": COMPARE_SCHEMA,
        "settings": _rows(compare_table(comparison).rows),
        "speed-ratio-geometric-mean": comparison.speed_mean,
        "rate-ratio-geometric-mean": comparison.rate_mean,
        "missing": [
            {"image": figures.image.path, **vars(figures.setting)}
            for figures in comparison.missing
        ],
        "same-machine": comparison.same_machine,
        "notes": list(notes(comparison)),
    }


def _rows(rows: Sequence[Mapping[str, Value]]) -> list[dict[str, Value]]:
    return [dict(row) for row in rows]
