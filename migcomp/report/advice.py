# SPDX-License-Identifier: LGPL-2.1-or-later
"""Warnings that say what to do: why a run's figures may mislead."""

from __future__ import annotations

from migcomp.results import RunResult
from migcomp.units import format_seconds, many

_SHORT_SECONDS = 0.2
_IDLE_LOAD = 0.5  # of each usable CPU, by other programs


def advice(result: RunResult) -> tuple[str, ...]:
    """Sentences, most important first; none when the figures can be trusted."""
    sentences = []
    cpus = result.machine.usable_cpus
    threads = result.settings.threads
    if result.operation == "run" and result.stream_bytes > result.image_bytes:
        sentences.append(
            "The stream is larger than the image: compression only costs here."
        )
    if result.wall_seconds < _SHORT_SECONDS:
        sentences.append(
            f"The work lasted {format_seconds(result.wall_seconds)}: rates of so short "
            "a time vary much from run to run, so measure a larger image."
        )
    if threads > cpus:
        sentences.append(
            f"{many(threads, 'thread')} shared {many(cpus, 'usable CPU')}: "
            f"more than --threads {cpus} cannot make it faster."
        )
    if result.machine.load_average > _IDLE_LOAD * cpus:
        sentences.append(
            f"The machine was busy (load {result.machine.load_average:.1f} on "
            f"{many(cpus, 'CPU')}): rates may be too low."
        )
    return tuple(sentences)
