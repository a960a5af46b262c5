# SPDX-License-Identifier: LGPL-2.1-or-later
"""Why a comparison of two sweeps may mislead."""

from __future__ import annotations

from migcomp.bench.compare import Comparison
from migcomp.report.parts import some
from migcomp.report.sweep_advice import disturbances
from migcomp.units import many

_SHOWN = 3


def notes(comparison: Comparison) -> tuple[str, ...]:
    """Sentences; none when there is nothing to say."""
    sentences = []
    if not comparison.same_machine:
        sentences.append(
            "The sweeps come from different machines, or from different software on "
            "one."
        )
    sentences += [
        f"Of the {which} sweep: {sentence[0].lower()}{sentence[1:]}"
        for which, sweep in (("first", comparison.before), ("second", comparison.after))
        for sentence in disturbances(sweep)
    ]
    if comparison.missing:
        names = [figures.setting.name for figures in comparison.missing]
        sentences.append(
            f"Of the first, {many(len(names), 'setting')} the second did not measure: "
            f"{some(names, _SHOWN)}."
        )
    short = [pair.before.setting.name for pair in comparison.pairs if not pair.can_tell]
    if short:
        sentences.append(
            f"{many(len(short), 'setting')} took too few rounds for any difference of "
            f"speed to be significant: {some(short, _SHOWN)}; let both sweeps go on."
        )
    return tuple(sentences)
