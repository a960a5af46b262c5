# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sweeps that nobody ran: samples with the times that a test wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from migcomp.bench.sweep_results import (
    WARM_UP,
    Setting,
    Sweep,
    SweepMachine,
    SweepPlan,
    SweepSample,
    SweptImage,
)
from migcomp.results import (
    Block,
    CodecInfo,
    Machine,
    PageCounts,
    Queue,
    RequestTimes,
    RunResult,
    Settings,
    Worker,
)

PAGE = 4096
PAGES = 1000
ZEROS = 500

IMAGE = SweptImage("guests/one.raw", "raw", PAGES * PAGE, PAGE)
MACHINE = SweepMachine(
    id="a1",
    host="host",
    cpu="CPU",
    cpus=4,
    cores=2,
    usable_cpus=4,
    memory_bytes=1 << 34,
    governor="performance",
    kernel="Linux 6",
    python="3.11.7",
    migcomp="0.1.0",
    codecs=(CodecInfo("zstd", "libzstd", "1.5.7", "libzstd.so.1"),),
)

STEADY = [1.0, 1.01, 0.99, 1.02, 0.98]  # seconds, of a quiet machine


def setting(codec: str = "zstd", level: int = 1, threads: int = 2) -> Setting:
    return Setting(codec, level, "packet", threads)


def sample(
    number: int, round: int, wall: float, stream_bytes: int, chosen: Setting
) -> SweepSample:
    result = RunResult(
        operation="run",
        image=IMAGE.path,
        stream="",
        blocks=(Block("ram", IMAGE.bytes, 0),) if round == WARM_UP else (),
        settings=Settings(
            codec=chosen.codec,
            level=chosen.level,
            grouping=chosen.grouping,
            page_size=PAGE,
            packet_pages=128,
            request_pages=128,
            channels=0,
            dedup=chosen.dedup,
            threads=chosen.threads,
            requests_per_thread=4,
        ),
        codec=MACHINE.codecs[0],
        pages=PageCounts(zero=ZEROS, compressed=PAGES - ZEROS),
        image_bytes=IMAGE.bytes,
        stream_bytes=stream_bytes,
        compressed_bytes=max(0, stream_bytes - 100),
        compressed_blocks=8,
        image_digest=0xFEEDFACECAFEBEEF,
        wall_seconds=wall,
        submitter_cpu_seconds=wall / 10,
        workers=(Worker(8, wall * 0.9, 1, 2, 3),) * chosen.threads,
        queue=Queue(8, 8, 4, 1, 2, 3, 2.5, 4),
        request_times=RequestTimes(1000, 2000, None, None, 3000),
        machine=Machine("CPU", 4, 1 << 34, "Linux 6", "3.11.7", 0.1),
    )
    return SweepSample(
        image=0,
        setting=number,
        round=round,
        machine=MACHINE.id,
        pid=100,
        started="2026-11-25T03:00:00.000+00:00",
        load=0.1,
        cached_share=1.0,
        result=result,
    )


def make_sweep(cases: Mapping[Setting, tuple[int, Sequence[float]]]) -> Sweep:
    """Of each setting the bytes of its stream, and the time of each round."""
    settings = tuple(cases)
    rounds = max(len(walls) for _, walls in cases.values())
    samples = [
        sample(number, round, wall, stream_bytes, settings[number])
        for number, (stream_bytes, walls) in enumerate(cases.values())
        for round, wall in enumerate((walls[0] * 2, *walls))
    ]
    samples.sort(key=lambda s: s.round)
    return Sweep(SweepPlan((IMAGE,), settings, rounds), (MACHINE,), tuple(samples))


def on_machine(sweep: Sweep, **changes: object) -> Sweep:
    machine = replace(sweep.machines[0], **changes)  # type: ignore[arg-type]
    samples = (replace(sample, machine=machine.id) for sample in sweep.samples)
    return replace(sweep, machines=(machine,), samples=tuple(samples))


def steady(**changes: object) -> Sweep:
    return on_machine(make_sweep({setting(): (1000, STEADY)}), **changes)


def with_samples(sweep: Sweep, **changes: object) -> Sweep:
    samples = (replace(s, **changes) for s in sweep.samples)  # type: ignore[arg-type]
    return replace(sweep, samples=tuple(samples))
