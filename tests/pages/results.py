# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small sweep for pages to show: what comes of it is measured, and times are given,
so that the charts are the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from migcomp.bench.results_file import ResultsFile
from migcomp.bench.sweep_results import Setting, SweepPlan, SweepSample, SweptImage
from migcomp.bench.sweep_run import Task, take
from migcomp.results import RequestTimes

SAMPLES = Path(__file__).parents[2] / "sample_images"

SETTINGS = tuple(
    Setting(codec, 1, grouping, threads, dedup)
    for codec, grouping, threads, dedup in (
        ("zstd", "page", 1, False),
        ("zstd", "page", 2, False),
        ("zstd", "packet", 1, False),
        ("zstd", "packet", 2, False),
        ("zstd", "packet", 2, True),
        ("lz4", "page", 1, False),
        ("lz4", "stream", 2, False),
    )
)


def measure(
    path: Path,
    images: Sequence[Path],
    settings: Sequence[Setting] = SETTINGS,
    rounds: int = 2,
) -> Path:
    """Writes the results of all rounds to ``path``."""
    swept = tuple(
        SweptImage(str(image), "raw", image.stat().st_size, 4096) for image in images
    )
    every = product(range(rounds + 1), range(len(swept)), range(len(settings)))
    with ResultsFile(str(path), SweepPlan(swept, tuple(settings), rounds)) as file:
        for number, image, setting in every:
            task = Task(swept[image], settings[setting], image, setting, number)
            machine, sample = take(task)
            file.add(machine, timed(sample))
    return path


def timed(sample: SweepSample) -> SweepSample:
    """As if each setting took a third longer than the one before it."""
    slower = 1.35**sample.setting * (1 + sample.round / 30)
    result = sample.result
    times = RequestTimes(
        p50=round(600_000 * slower),
        p90=round(900_000 * slower),
        p99=round(1_100_000 * slower),
        p999=round(1_200_000 * slower),
        most=round(1_300_000 * slower),
    )
    workers = tuple(replace(w, cpu_seconds=0.008 * slower) for w in result.workers)
    return replace(
        sample,
        result=replace(
            result,
            wall_seconds=0.01 * slower,
            submitter_cpu_seconds=0.001 * slower,
            workers=workers,
            request_times=times,
        ),
    )
