# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measuring work queues: pages through queues of several designs and sizes.

The successor of the threaded-workqueue-bench that came with the workqueue's
ancestor (patch v3 5/5 of November 2018).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from migcomp._core import BenchJob
from migcomp.bench.designs import DESIGNS, LOOP, ONE_REQUEST, Design, NativeDesign
from migcomp.bench.pages import PAGE_SIZE, guest_pages
from migcomp.bench.queue_results import EMPTY, Plan, QueueBench, Sample, Series
from migcomp.codecs import Codec, open_codec
from migcomp.errors import CodecUnavailable, QueueFault, WorkerError
from migcomp.measure import machine
from migcomp.units import many

FIXED = "cost"
CODECS = ("zlib", "zstd", "lz4")
HANDLERS = (EMPTY, FIXED, *CODECS)

#: Bounds what the check remembers; 8 TiB page by page.
REQUESTS_MAX = 1 << 31

#: Of the order within the rounds: fixed, so that a run can be repeated.
_SEED = 20181122

#: Told before each of the rounds: how many are done, and of how many.
Progress = Callable[[int, int], None]


def open_handler(handler: str, level: int | None) -> Codec | None:
    """The codec that ``handler`` needs, if any.

    Raises CodecUnavailable, also where only Python would do the work.
    """
    if handler not in CODECS:
        return None
    codec = open_codec(handler, level=level)
    if codec.notice:
        raise CodecUnavailable(
            f"the benchmark drives native codecs only, and {codec.notice}"
        )
    return codec


def measure(
    plan: Plan,
    codec: Codec | None,
    *,
    designs: Sequence[Design] = DESIGNS,
    progress: Progress | None = None,
) -> QueueBench:
    """Runs the plan's designs, in an order shuffled anew for each round.

    ``codec`` is what :func:`open_handler` gave.  Raises ValueError for a plan
    that does not fit into memory, QueueFault when a request was lost, came
    twice or with a wrong result, WorkerError when threads cannot be made.
    """
    # Before we are the ones who keep the machine busy.
    here = machine()
    job = _job(plan, codec)
    by_name = {design.name: design for design in designs}
    loop = NativeDesign(LOOP)
    cases: list[tuple[Design, int, int]] = [
        (by_name[name], threads, requests)
        for name in plan.designs
        for threads in plan.threads
        for requests in ((1,) if name in ONE_REQUEST else plan.requests_per_thread)
    ]
    everybody = [(loop, 1, 1), *cases]
    samples: dict[tuple[Design, int, int], list[Sample]] = {c: [] for c in everybody}
    order = random.Random(_SEED)
    for number in range(plan.repeat):
        for done, case in enumerate(order.sample(everybody, len(everybody))):
            if progress is not None:
                progress(number * len(everybody) + done, plan.repeat * len(everybody))
            samples[case].append(_round(job, *case))
    return QueueBench(
        plan=plan,
        codec=codec.info if codec else None,
        bytes_out=job.bytes_out,
        loop=tuple(samples[everybody[0]]),
        series=tuple(
            Series(case[0].name, case[1], case[2], tuple(samples[case]))
            for case in cases
        ),
        machine=here,
    )


def _job(plan: Plan, codec: Codec | None) -> BenchJob:
    if plan.requests > REQUESTS_MAX:
        raise ValueError(
            f"{plan.requests:,} requests are more than {REQUESTS_MAX:,}; "
            "take less memory, or more pages to a request"
        )
    if codec is None:
        return BenchJob(requests=plan.requests, cost_ns=plan.cost_ns)
    return BenchJob(
        memory=guest_pages(plan.memory),
        library=codec.library,
        level=codec.level,
        request_size=plan.request_pages * PAGE_SIZE,
    )


def _round(job: BenchJob, design: Design, threads: int, requests: int) -> Sample:
    try:
        sample = design.round(job, threads, requests)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WorkerError(
            f"{design.name} with {many(threads, 'thread')} cannot be run: {reason}; "
            "take fewer threads"
        ) from error
    faults = {
        "lost": sample.lost,
        "repeated": sample.repeated,
        "spoilt": sample.wrong,
    }
    if any(faults.values()):
        told = ", ".join(f"{what} {n:,}" for what, n in faults.items() if n)
        raise QueueFault(
            f"{design.name} with {many(threads, 'thread')} and "
            f"{many(requests, 'request')} to each {told} of {job.requests:,} "
            "requests: its figures are worth nothing"
        )
    return sample
