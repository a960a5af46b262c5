# SPDX-License-Identifier: LGPL-2.1-or-later
"""Why the figures of a sweep may mislead, and what to do."""

from __future__ import annotations

from migcomp.bench.sweep_figures import Figures
from migcomp.bench.sweep_results import WARM_UP, Sweep, SweepSample
from migcomp.report.parts import some
from migcomp.units import format_seconds, many

_BUSY_LOAD = 0.5  # of each usable CPU, beside what the sweep itself takes
_UNSTEADY = 0.05  # relative MAD
_FAR = 0.1  # of the median
_SHORT_SECONDS = 0.2
_SHOWN = 3
_CACHED = 0.999


def advice(sweep: Sweep) -> tuple[str, ...]:
    """Sentences, most important first; none when the figures can be trusted."""
    figures = [Figures(series) for series in sweep.series]
    sentences = [
        _unfinished(sweep),
        _machines(sweep),
        _unequal(figures),
        _governors(sweep),
        _load(sweep),
        _uncached(sweep),
        _unsteady(figures),
        _outliers(figures),
        _short(figures),
        _crowded(sweep),
    ]
    return tuple(filter(None, sentences))


def disturbances(sweep: Sweep) -> tuple[str, ...]:
    """Those of the sentences that tell why another sweep may be faster or slower."""
    return tuple(filter(None, (_governors(sweep), _load(sweep), _uncached(sweep))))


def _unfinished(sweep: Sweep) -> str:
    if len(sweep.samples) == sweep.wanted:
        return ""
    return (
        f"The sweep has {len(sweep.samples):,} of {sweep.wanted:,} samples: the "
        "command that began it, given again, goes on."
    )


def _machines(sweep: Sweep) -> str:
    if len(sweep.machines) < 2:
        return ""
    return (
        f"The samples come from {len(sweep.machines)} machines: settings can be "
        "compared only if these are alike."
    )


def _governors(sweep: Sweep) -> str:
    others = {m.governor for m in sweep.machines} - {"", "performance"}
    if not others:
        return ""
    return (
        f"The governor {', '.join(sorted(others))} lets the CPUs' frequency vary: set "
        "performance (cpupower frequency-set -g performance)."
    )


def _load(sweep: Sweep) -> str:
    """By the first sample of each process, which nothing of ours came before."""
    usable = {machine.id: machine.usable_cpus for machine in sweep.machines}
    first: dict[tuple[str, int], SweepSample] = {}
    for sample in sweep.samples:
        first.setdefault((sample.machine, sample.pid), sample)
    busy = [s for s in first.values() if s.load > _BUSY_LOAD * usable[s.machine]]
    if not busy:
        return ""
    most = max(busy, key=lambda sample: sample.load)
    return (
        f"The machine was busy when the sweep began (load {most.load:.1f} on "
        f"{many(usable[most.machine], 'CPU')}): sweep again when it is quiet."
    )


def _uncached(sweep: Sweep) -> str:
    counted = [s for s in sweep.samples if s.round != WARM_UP]
    cold = [
        s for s in counted if s.cached_share is not None and s.cached_share < _CACHED
    ]
    if not cold:
        return ""
    return (
        f"Before {len(cold):,} of {len(counted):,} samples part of the image was not "
        "in the page cache: the disk was measured too."
    )


def _unsteady(figures: list[Figures]) -> str:
    noisy = [f for f in figures if f.noise > _UNSTEADY]
    if not noisy:
        return ""
    return (
        f"Rounds differ by more than {100 * _UNSTEADY:.0f} % in {len(noisy)} of "
        f"{many(len(figures), 'setting')}: take more --rounds, or a quieter machine."
    )


def _outliers(figures: list[Figures]) -> str:
    found = [
        f"{f.setting.name} in round {sample.round} "
        f"({format_seconds(sample.result.wall_seconds)}, median "
        f"{format_seconds(f.wall.median)})"
        for f in figures
        for sample in f.outliers
        if abs(sample.result.wall_seconds / f.wall.median - 1) > _FAR
    ]
    if not found:
        return ""
    return f"Far from the others of their setting are {some(found, _SHOWN)}."


def _unequal(figures: list[Figures]) -> str:
    """A library of another version compresses otherwise."""
    found = [
        f.setting.name
        for f in figures
        if len({sample.result.stream_bytes for sample in f.series.samples}) > 1
    ]
    if not found:
        return ""
    return (
        "The streams of some rounds have other sizes than those of other rounds, and "
        f"rates are those of the first: {some(found, _SHOWN)}."
    )


def _short(figures: list[Figures]) -> str:
    short = [f for f in figures if f.wall.median < _SHORT_SECONDS]
    if not short:
        return ""
    least = min(f.wall.median for f in short)
    return (
        f"Runs lasted {format_seconds(least)} only: rates of so short a time vary "
        "much, so take a larger image."
    )


def _crowded(sweep: Sweep) -> str:
    cpus = min((m.usable_cpus for m in sweep.machines), default=0)
    threads = [s.threads for s in sweep.plan.settings if s.threads > cpus]
    if not threads or not cpus:
        return ""
    return (
        f"{many(min(threads), 'thread')} and more shared {many(cpus, 'CPU')}: that "
        "cannot make it faster."
    )
