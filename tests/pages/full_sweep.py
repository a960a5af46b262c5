# SPDX-License-Identifier: LGPL-2.1-or-later
"""A sweep as large as the set ``full`` is on 8 CPUs, and that nobody ran: its figures
are given, so that pages of it are the same everywhere, whatever is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from migcomp.bench.results_file import SCHEMA
from migcomp.bench.sweep_results import (
    PAGE_SIZE_STEPS,
    WARM_UP,
    Setting,
    Sweep,
    SweepPlan,
    SweepSample,
    SweptImage,
)
from migcomp.records import to_record
from migcomp.results import Block, PageCounts, Region, RequestTimes
from tests.sweeps import MACHINE, PAGE, sample

ROUNDS = 5
_PAGES = 1 << 18
_ZEROS = 110_000
_SAME = 12_000
_NORMAL = 4_000
_EQUAL = 9_000
_CONTENT = _PAGES - _ZEROS - _SAME - _NORMAL
_FRAMING = 300_000  # bytes
_REGION_PAGES = 512
_REQUEST_BYTES = 128 * PAGE

#: By codec and level, what it makes of memory that is not zero (bytes in over bytes
#: out) in packets, and MB/s of it on one thread.
_LEVELS = {
    ("none", 0): (1.0, 6000),
    ("zstd", -5): (1.95, 900),
    ("zstd", -1): (2.21, 760),
    ("zstd", 1): (2.55, 610),
    ("zstd", 2): (2.60, 520),
    ("zstd", 3): (2.68, 400),
    ("zstd", 4): (2.70, 330),
    ("zstd", 6): (2.79, 160),
    ("zstd", 9): (2.86, 95),
    ("zstd", 12): (2.88, 45),
    ("lz4", -9): (1.50, 1300),
    ("lz4", 1): (1.80, 1000),
    ("lz4", 3): (1.95, 300),
    ("lz4", 9): (2.00, 120),
    ("zlib", 1): (2.30, 95),
    ("zlib", 3): (2.40, 80),
    ("zlib", 6): (2.50, 45),
    ("zlib", 9): (2.52, 20),
}
#: How they change rate and speed: so little that the front is dense.
_GROUPINGS = {"page": (0.9, 0.9), "packet": (1.0, 1.0), "stream": (1.012, 0.985)}
_DEDUP = {False: (1.0, 1.0), True: (1.02, 0.97)}
_THREADS = {1: 1.0, 2: 1.9, 4: 3.5, 8: 6.0}
#: Times of the rounds, as shares of the median.
_SCATTER = (1.0, 1.002, 0.998, 1.04, 0.999)

SETTINGS = tuple(
    Setting(codec, level, grouping, threads, dedup)
    for (codec, level), grouping, dedup, threads in product(
        _LEVELS, _GROUPINGS, _DEDUP, _THREADS
    )
)


def full_sweep(
    settings: Sequence[Setting] = SETTINGS, image: str = "guests/full.raw"
) -> Sweep:
    """All rounds of ``settings``, which are some of SETTINGS."""
    swept = SweptImage(image, "raw", _PAGES * PAGE, PAGE)
    samples = tuple(
        _sample(image, number, chosen, round)
        for round in range(WARM_UP, ROUNDS + 1)
        for number, chosen in enumerate(settings)
    )
    return Sweep(SweepPlan((swept,), tuple(settings), ROUNDS), (MACHINE,), samples)


def write(sweep: Sweep, path: Path) -> Path:
    """As ``bench sweep`` leaves it, but for a sync of each sample."""
    records = [{"schema": SCHEMA, "kind": "plan"} | to_record(sweep.plan)]
    records += [{"kind": "machine"} | to_record(each) for each in sweep.machines]
    records += [{"kind": "sample"} | to_record(each) for each in sweep.samples]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def _sample(image: str, number: int, chosen: Setting, round: int) -> SweepSample:
    changes = [_GROUPINGS[chosen.grouping], _DEDUP[chosen.dedup]]
    rate, speed = map(float, _LEVELS[chosen.codec, chosen.level])
    if chosen.codec != "none":
        for of_rate, of_speed in changes:
            rate, speed = rate * of_rate, speed * of_speed
    pages = _pages(chosen)
    nonzero = (_PAGES - _ZEROS) * PAGE
    compressed = int(nonzero / rate) if pages.compressed else 0
    wall = nonzero / (speed * 1e6 * _THREADS[chosen.threads])
    wall *= _SCATTER[round % len(_SCATTER)]
    found = sample(number, round, wall, compressed, chosen)
    request = _REQUEST_BYTES / speed * 1000  # nanoseconds
    result = replace(
        found.result,
        image=image,
        blocks=(Block("ram", _PAGES * PAGE, 0),) if round == WARM_UP else (),
        regions=_regions() if round == WARM_UP and number == 0 else (),
        pages=pages,
        image_bytes=_PAGES * PAGE,
        compressed_bytes=compressed,
        stream_bytes=compressed + pages.normal * PAGE + _FRAMING,
        request_times=RequestTimes(
            *(int(request * part) for part in (1.0, 1.4, 1.9, 2.6, 3.1))
        ),
    )
    counted = round == WARM_UP and chosen.grouping == "page" and pages.compressed
    sizes = _page_sizes(pages.compressed, rate) if counted else None
    return replace(found, result=result, page_sizes=sizes)


def _pages(chosen: Setting) -> PageCounts:
    equal = _EQUAL if chosen.dedup else 0
    content = _CONTENT - equal
    raw = chosen.codec == "none"
    return PageCounts(
        zero=_ZEROS,
        same_filled=_SAME,
        deduplicated=equal,
        normal=_NORMAL + (content if raw else 0),
        compressed=0 if raw else content,
    )


def _regions() -> tuple[Region, ...]:
    """Of each three that follow each other one is zero, and one half so."""
    parts = (0, _REGION_PAGES // 2, _REGION_PAGES)
    return tuple(
        Region(
            first,
            PageCounts(zero=zeros, compressed=_REGION_PAGES - zeros),
            (_REGION_PAGES - zeros) * PAGE * (n % 7 + 1) // 8,
        )
        for n, first in enumerate(range(0, _PAGES, _REGION_PAGES))
        for zeros in (parts[n % 3],)
    )


def _page_sizes(pages: int, rate: float) -> tuple[int, ...]:
    """A hill whose top is where the rate is."""
    top = PAGE_SIZE_STEPS / rate
    weights = [1 / (4 + (step - top) ** 2) for step in range(PAGE_SIZE_STEPS)]
    return tuple(int(pages * weight / sum(weights)) for weight in weights)
