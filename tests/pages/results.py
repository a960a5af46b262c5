# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small sweep, really measured, for pages to show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from migcomp.bench.results_file import ResultsFile
from migcomp.bench.sweep_results import Setting, SweepPlan, SweptImage
from migcomp.bench.sweep_run import Task, take

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
            file.add(*take(task))
    return path
