# SPDX-License-Identifier: LGPL-2.1-or-later
"""The answer in words, and how far it can be trusted."""

from __future__ import annotations

from migcomp.plan.commands import Commands, commands_for
from migcomp.plan.plan import FORMULA, NEAR, Plan, Row
from migcomp.plan.sample import Sample
from migcomp.units import format_bit_rate, format_seconds, format_share, format_size

_FEW_CLUSTERS = 30
_UNSURE = 0.1
_UNEVEN = 2  # the slowest hand-over over the quickest
_IDLE_LOAD = 0.5  # of each usable CPU, by other programs


def format_time(seconds: float) -> str:
    """Of a migration, whose times QEMU counts in milliseconds."""
    return format_seconds(seconds) if seconds >= 1e-3 else "< 1 ms"


def verdict(plan: Plan) -> tuple[str, ...]:
    """What to do, and what it brings."""
    best, plain = plan.best, plan.plain
    limit = plan.question.downtime_limit
    first = f"Migrate with {best.candidate}: {_brings(best)}"
    if best is plain:
        first = f"Migrate without compression: {_brings(best)}"
        if len(plan.rows) > 1:
            first += ", and no other way is worth its CPU time"
    else:
        first += f"; a plain migration: {_brings(plain)}"
    sentences = [first + "."]
    if best.parameters.auto_converge:
        sentences.append(_throttled(best))
    if not best.prediction.converges:
        sentences.append("Wait for a quieter hour, or take a faster link.")
    elif not best.good(plan.question):
        sentences.append(
            f"No way keeps the guest's stop to {limit} ms: "
            f"{format_time(best.prediction.downtime)} is what to expect."
        )
    elif best.prediction.downtime > limit / 1000 * NEAR:
        sentences.append(
            f"The guest's stop is longer than {limit} ms, as QEMU does not know what "
            "the kernel still has to send: a lower --downtime makes up for some of it."
        )
    if best.break_even and best is not plain and best.prediction.converges:
        sentences.append(
            f"On a link of more than {format_bit_rate(best.break_even)} it would be "
            "slower than no compression."
        )
    return tuple(sentences)


def _throttled(best: Row) -> str:
    """Where no way converges with the guest at its own speed."""
    reason = (
        "No way converges by itself: the guest writes more quickly than its pages are "
        "sent. "
    )
    slowed = best.prediction.throttle_percentage
    if not best.prediction.converges:
        return reason + "Nor does any with auto-converge, which slows the guest down."
    return reason + (
        "These figures, and the commands, are with auto-converge, which slows the "
        f"guest's CPUs down by up to {slowed} %. A faster link, or a quieter hour, "
        "would spare it that."
    )


def _brings(row: Row) -> str:
    found = row.prediction
    if not found.converges:
        return "no end in sight"
    return (
        f"{format_time(found.seconds)} in all, the guest stopped for "
        f"{format_time(found.downtime)}, {format_size(found.wire_bytes)} over the "
        f"link, {format_seconds(found.cpu_seconds)} of CPU time"
    )


def commands(plan: Plan) -> Commands:
    """Of the best way; with auto-converge where nothing converges without."""
    best = plan.best
    return commands_for(best.candidate, best.parameters, plan.question.qemu)


def sureness(plan: Plan) -> tuple[str, ...]:
    """How the figures were come by, and what may make them wrong."""
    return (*_method(plan), *_doubts(plan))


def _method(plan: Plan) -> list[str]:
    sample, question = plan.sample, plan.question
    memory = format_size(sample.image_pages * plan.page_size)
    if sample.complete:
        measured = f"All {memory} were measured"
    else:
        share = format_share(sample.pages, sample.image_pages)
        measured = (
            f"{format_size(sample.pages * plan.page_size)} of {memory} ({share}) were "
            f"measured, in {_clusters(sample)} drawn by lot: times are "
            f"sure to {_percent(plan.best.uncertainty)} for {plan.best.candidate}, "
            f"{_percent(plan.plain.uncertainty)} without compression (95 % confidence)"
        )
    how = "each way was predicted as a flow of average pages"
    if plan.method != FORMULA:
        how = "each way was simulated, page by page, on a virtual clock"
    guest = "a guest that writes nothing"
    if question.idle:
        guest += f" ({question.idle})"
    if question.writes:
        guest = f"a guest that writes ({question.writes.description})"
    return [f"{measured}; {how}, for {guest}."]


def _clusters(sample: Sample) -> str:
    number = len(sample.clusters)
    return "1 cluster" if number == 1 else f"{number} clusters"


def _percent(share: float | None) -> str:
    if share is None:
        return "no known percentage"
    return f"+-{100 * share:.0f} %" if share >= 0.01 else "+-1 %"


def _doubts(plan: Plan) -> list[str]:
    sample, question, here = plan.sample, plan.question, plan.machine
    doubts = []
    if not sample.complete and len(sample.clusters) < _FEW_CLUSTERS:
        doubts.append(
            f"A sample of {_clusters(sample)} is small: take more with --sample-size."
        )
    elif (plan.best.uncertainty or 0) > _UNSURE:
        doubts.append(
            "Parts of this memory differ much: a larger --sample-size would be surer."
        )
    if question.writes is None:
        if not question.idle:
            doubts.append(
                "A guest that writes takes longer, and is stopped longer: give "
                "snapshots of it (migcomp capture --rounds 3) or its --dirty-rate."
            )
    elif question.writes.before is None and question.qemu.has("xbzrle"):
        doubts.append(
            "xbzrle was not tried: how much of a page changes is known from snapshots "
            "only, and not from a dirty rate."
        )
    if here.load_average > _IDLE_LOAD * here.usable_cpus:
        doubts.append(
            f"This machine was busy (load {here.load_average:.1f} on "
            f"{here.usable_cpus} CPUs): CPU times may be too high."
        )
    fastest, slowest = plan.costs.handover_range or (1, 1)
    if slowest > _UNEVEN * fastest and any(
        row.candidate.method == "compress" for row in plan.rows
    ):
        doubts.append(
            f"Waking a thread took {format_seconds(fastest / 1e9)} to "
            f"{format_seconds(slowest / 1e9)} here, for each page of compress: its "
            "times are no surer than that."
        )
    doubts.append(
        f"CPU times are of this machine ({here.cpu}): run this on the source host, or "
        "on one like it. The destination is taken to keep up."
    )
    doubts.append(
        "The guest is stopped for what is left of its memory; devices take their time."
    )
    if question.threads_max > here.usable_cpus:
        doubts.append(
            f"More than {here.usable_cpus} threads could not be tried here: each is "
            "taken to have a CPU of its own, as fast as these are together."
        )
    if plan.best.candidate.method == "compress" and question.qemu.deprecates_compress:
        doubts.append(f"{question.qemu} calls compress deprecated; 9.1 has it no more.")
    return doubts
