# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is said beside the figures of a sweep."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from migcomp.bench.sweep_results import Sweep, SweepSample
from migcomp.report.sweep_advice import advice
from tests.sweeps import (
    MACHINE,
    make_sweep,
    setting,
    steady,
    with_samples,
)


def other_stream(sample: SweepSample) -> SweepSample:
    return replace(sample, result=replace(sample.result, stream_bytes=1001))


def test_figures_that_can_be_trusted_need_no_advice() -> None:
    assert advice(steady()) == ()
    assert advice(steady(governor="")) == ()
    assert advice(with_samples(steady(), cached_share=None)) == ()


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        (steady(governor="powersave"), "The governor powersave lets"),
        (steady(usable_cpus=1), "2 threads and more shared 1 CPU"),
        (
            with_samples(steady(), load=3.0),
            r"busy when the sweep began \(load 3.0 on 4",
        ),
        (with_samples(steady(), cached_share=0.5), "Before 5 of 5 samples part of the"),
        (replace(steady(), samples=steady().samples[:4]), "has 4 of 6 samples"),
        (
            make_sweep({setting(): (1000, [1.0, 1.3, 1.0, 1.2, 0.9])}),
            "more than 5 % in 1 of 1 setting",
        ),
        (
            make_sweep({setting(): (1000, [1.0, 1.01, 0.99, 1.0, 3.0])}),
            r"zstd-1 packet x2 in round 5 \(3.00 s, median 1.00 s\)",
        ),
        (make_sweep({setting(): (1000, [0.1] * 5)}), "Runs lasted 100 ms only"),
        (
            replace(
                steady(),
                samples=(*steady().samples[:-1], other_stream(steady().samples[-1])),
            ),
            "have other sizes than those of other rounds, .*: zstd-1 packet x2",
        ),
        (
            replace(steady(), machines=(MACHINE, replace(MACHINE, id="b"))),
            "The samples come from 2 machines",
        ),
    ],
)
def test_advice_says_what_is_wrong(sweep: Sweep, words: str) -> None:
    (sentence,) = advice(sweep)
    assert re.search(words, sentence)


def test_of_many_outliers_a_few_are_named() -> None:
    walls = [1.0, 1.01, 0.99, 1.0, 3.0]
    many = {setting(level=level): (1000, walls) for level in range(1, 8)}
    assert "zstd-3 packet x2 in round 5" in advice(make_sweep(many))[0]
    assert advice(make_sweep(many))[0].endswith("; and 4 more.")
    # Far by the MAD, but hardly slower.
    walls = [1.0, 1.001, 0.999, 1.0, 1.05]
    assert advice(make_sweep({setting(): (1000, walls)})) == ()
