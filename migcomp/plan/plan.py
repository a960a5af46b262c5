# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures a guest's memory, predicts its migration in each way, and picks one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from migcomp.measure import machine
from migcomp.plan.candidates import Candidate, candidates
from migcomp.plan.course import Case, Prediction
from migcomp.plan.flows import Flows, flows_of
from migcomp.plan.guest import Writes
from migcomp.plan.measure import Measurement, measure, measure_deltas
from migcomp.plan.predict import break_even, predict
from migcomp.plan.sample import Sample
from migcomp.plan.versions import Qemu
from migcomp.precopy import framing
from migcomp.precopy.costs import Costs
from migcomp.precopy.dirty import DirtySource
from migcomp.precopy.link import Link
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.results import SimulationResult
from migcomp.precopy.simulate import simulate
from migcomp.results import Machine

FORMULA, SIMULATION = "formula", "simulation"
#: What is worth less than this is not worth more CPU time.
_WORTH = 0.1
NEAR = 1.1  # of the downtime limit, which QEMU's estimate may miss by that
_XBZRLE_HEADER = framing.RECORD_HEADER + 3
#: Real seconds that all simulations together may take, and what a page takes one.
_BUDGET_SECONDS = 10.0
_PAGE_SECONDS, _COMPRESS_PAGE_SECONDS = 8e-6, 45e-6

#: Opens the guest anew: its memory, and what it writes.
OpenGuest = Callable[[], AbstractContextManager[tuple[GuestMemory, DirtySource]]]


@dataclass(frozen=True)
class Question:
    """``writes`` is None for a guest that writes nothing: ``idle`` says how that is
    known, and is empty where it is only taken to be so."""

    images: tuple[str, ...]
    qemu: Qemu
    link: Link
    downtime_limit: int
    threads_max: int
    writes: Writes | None
    idle: str = ""


@dataclass(frozen=True)
class Row:
    """A way to migrate; with auto-converge where no way converges without.

    ``uncertainty``: half of the 95 % confidence interval of the first round's time, as
    a share of it, from the sample.  ``break_even``: bytes a second of the link up to
    which its compression makes the first round quicker; 0 on no link, None on any, and
    for a way that compresses nothing.
    """

    candidate: Candidate
    parameters: Parameters
    prediction: Prediction
    uncertainty: float | None
    break_even: float | None

    def good(self, question: Question) -> bool:
        """It converges, and keeps the downtime limit as near as QEMU can, which does
        not know what the kernel still has to send."""
        queue = question.link.buffer / question.link.bytes_per_second
        limit = question.downtime_limit / 1000 * NEAR + queue
        return self.prediction.converges and self.prediction.downtime <= limit


@dataclass(frozen=True)
class Plan:
    """``method``: FORMULA or SIMULATION, by which all rows were predicted."""

    question: Question
    page_size: int
    sample: Sample
    zero_share: float
    rows: tuple[Row, ...]
    best: Row
    method: str
    costs: Costs
    machine: Machine
    seconds: float

    @property
    def plain(self) -> Row:
        return self.rows[0]


def make_plan(
    question: Question,
    sample: Sample,
    costs: Costs,
    open_guest: OpenGuest,
    watch: Callable[[str], None] = lambda doing: None,
) -> Plan:
    """``watch`` is told what is being done.

    Raises CodecUnavailable, WorkerError, ImageError and SimulationFault.
    """
    began, here = time.perf_counter(), machine()
    writes = question.writes
    tried = [
        *candidates(
            question.qemu,
            question.threads_max,
            xbzrle=writes is not None and writes.before is not None,
        )
    ]
    works = [candidate.work for candidate in tried]
    measured = measure(sample, works, costs, watch)
    changed = measured
    deltas = None
    if writes and writes.after and writes.before:
        changed = measure(writes.after, works, costs, watch)
        deltas = measure_deltas(writes.before, writes.after, _XBZRLE_HEADER)

    def rows_with(*, auto_converge: bool) -> tuple[str, list[Row]]:
        """By which method, and what it found."""
        rows: list[Row] = []
        plain: Flows | None = None
        for candidate in tried:
            measurement = measured[candidate.work]
            parameters = replace(
                _parameters(question, candidate, writes, costs.page_size),
                auto_converge=auto_converge,
            )
            later = changed[candidate.work]
            flows = flows_of(candidate, measurement, later, deltas, costs, parameters)
            plain = plain or flows
            prediction = predict(
                Case(
                    sample.image_pages,
                    costs.page_size,
                    flows,
                    writes,
                    question.link,
                    parameters,
                )
            )
            even = break_even(flows, plain) if candidate.work else None
            unsure = _uncertainty(measurement, flows, question.link)
            rows.append(Row(candidate, parameters, prediction, unsure, even))
        if _seconds_to_simulate(rows, sample.image_pages) > _BUDGET_SECONDS:
            return FORMULA, rows
        return SIMULATION, [
            _simulated(row, question, costs, open_guest, watch) for row in rows
        ]

    method, rows = rows_with(auto_converge=False)
    if not any(row.prediction.converges for row in rows):
        method, rows = rows_with(auto_converge=True)
    return Plan(
        question,
        costs.page_size,
        sample,
        measured[None].zero_share,
        tuple(rows),
        recommended(rows, question),
        method,
        costs,
        here,
        time.perf_counter() - began,
    )


def _parameters(
    question: Question, candidate: Candidate, writes: Writes | None, page_size: int
) -> Parameters:
    # What TCP leaves of it: more would only wait in the kernel's buffers.
    limit = int(question.link.bytes_per_second)
    if candidate.codec != "none" and question.qemu.compression_counts_whole:
        # It would limit the pages, and not what is left of them.
        limit = 0 if candidate.method == "multifd" else limit
    base = Parameters(
        max_bandwidth=limit,
        downtime_limit=question.downtime_limit,
        qemu_version=question.qemu.version,
    )
    if candidate.method == "xbzrle" and writes:
        size = writes.model.working_set * page_size
        cache = 1 << max(size - 1, 1).bit_length()
        base = replace(base, xbzrle_cache_size=max(cache, base.xbzrle_cache_size))
    return candidate.parameters(base)


def _uncertainty(measurement: Measurement, flows: Flows, link: Link) -> float | None:
    """Each cluster's time, by its own bytes and CPU time."""
    rate = link.bytes_per_second
    return measurement.uncertainty(
        share * flow.seconds(rate) for share, flow in flows.memory
    )


def _seconds_to_simulate(rows: Sequence[Row], pages: int) -> float:
    total = 0.0
    for row in rows:
        slow = row.candidate.method == "compress"
        rounds_pages = (
            row.prediction.rounds * pages if row.prediction.rounds > 9 else pages
        )
        total += rounds_pages * (_COMPRESS_PAGE_SECONDS if slow else _PAGE_SECONDS)
        total += row.prediction.cpu_seconds
    return total


def _simulated(
    row: Row,
    question: Question,
    costs: Costs,
    open_guest: OpenGuest,
    watch: Callable[[str], None],
) -> Row:
    watch(f"simulating {row.candidate}")
    with open_guest() as (memory, guest):
        result = simulate(
            memory, guest, row.candidate.engine, question.link, row.parameters, costs
        )
    return replace(row, prediction=_of_simulation(result))


def _of_simulation(result: SimulationResult) -> Prediction:
    statistics = result.statistics
    return Prediction(
        result.converged,
        statistics.total_time / 1000,
        (statistics.downtime or 0) / 1000,
        result.wire_bytes,
        result.cpu_seconds,
        len(result.rounds),
        max((each.throttle_percentage or 0 for each in result.rounds), default=0),
    )


def recommended(rows: Sequence[Row], question: Question) -> Row:
    """Of those that keep the limit (else of those that converge, else of all) the
    quickest; of those about as quick the one that takes the least CPU time."""
    fit = [row for row in rows if row.good(question)]
    fit = fit or [row for row in rows if row.prediction.converges] or [*rows]
    least = min(row.prediction.seconds for row in fit)
    quick = [row for row in fit if row.prediction.seconds <= least * (1 + _WORTH)]
    return min(quick, key=lambda row: row.prediction.cpu_seconds)
