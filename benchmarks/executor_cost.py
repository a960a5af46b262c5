# SPDX-License-Identifier: LGPL-2.1-or-later
"""What queue_cost.c measures, of concurrent.futures: empty tasks, one thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter_ns

from benchmarks.samples import Sample

_Pattern = Callable[[ThreadPoolExecutor, int, int], None]


def _nothing() -> None:
    pass


def _pipelined(executor: ThreadPoolExecutor, size: int, tasks: int) -> None:
    """Never more than ``size`` tasks that are not collected."""
    pending: deque[Future[None]] = deque()
    for _ in range(tasks):
        if len(pending) == size:
            pending.popleft().result()
        pending.append(executor.submit(_nothing))
    for future in pending:
        future.result()


def _batch(executor: ThreadPoolExecutor, size: int, tasks: int) -> None:
    while tasks:
        here = min(size, tasks)
        for future in [executor.submit(_nothing) for _ in range(here)]:
            future.result()
        tasks -= here


_ROWS: tuple[tuple[str, _Pattern, int], ...] = (
    *(("pipelined", _pipelined, size) for size in (4, 16, 64)),
    *(("batch", _batch, size) for size in (4, 16, 64)),
    ("lockstep", _batch, 1),
)


@dataclass(frozen=True)
class ExecutorCost:
    """Nanoseconds per empty task, by pattern and size."""

    tasks: int = 10_000

    def __call__(self) -> Sample:
        sample = {}
        with ThreadPoolExecutor(1) as executor:
            for name, pattern, size in _ROWS:
                pattern(executor, size, self.tasks // 10 + 1)
                start = perf_counter_ns()
                pattern(executor, size, self.tasks)
                elapsed = perf_counter_ns() - start
                sample[f"{name}-{size}"] = elapsed / self.tasks
        return sample
