# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the samples of a sweep are taken: here, in processes, or by a Dask cluster."""

from __future__ import annotations

import multiprocessing
import re
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from migcomp.bench.sweep import Runner
from migcomp.bench.sweep_results import SweepMachine, SweepSample
from migcomp.bench.sweep_run import Task, take
from migcomp.errors import ExecutorError
from migcomp.units import quoted

_ATTEMPTS = 3
_PATIENCE_SECONDS = 10

Taken = tuple[SweepMachine, SweepSample]


@dataclass(frozen=True)
class Place:
    """``width`` samples are taken at a time; ``here``: all of them on this machine."""

    runner: Runner
    width: int
    here: bool


@contextmanager
def open_place(executor: str) -> Iterator[Place]:
    """``executor`` is empty, ``processes``, ``processes:N`` or ``dask://HOST:PORT``.

    Raises ValueError for what is none of them, and ExecutorError.
    """
    if not executor:
        yield Place(lambda tasks: map(take, tasks), 1, here=True)
    elif executor.startswith("dask://"):
        with _dask_client(executor.removeprefix("dask://")) as client:
            width = sum(client.nthreads().values())
            if not width:
                raise ExecutorError(f"{executor} has no workers; start some")
            yield Place(lambda tasks: _by_dask(client, tasks, width), width, here=False)
    else:
        width = _processes(executor)
        try:
            yield Place(lambda tasks: _in_processes(tasks, width), width, here=True)
        finally:
            # After Ctrl-C they may be in the middle of a long run.
            for process in multiprocessing.active_children():
                process.terminate()


# --- Any executor ------------------------------------------------------------------


def spread(
    tasks: Iterable[Task], make: Callable[[], Executor], width: int
) -> Iterator[Taken]:
    """Has ``make``'s executors take the samples, ``width`` at a time.

    An executor that breaks, because a worker died, is replaced by another, and what
    it had in hand is started again, up to three times.  Raises ExecutorError after
    that, and what the tasks raise.
    """
    rest = ((task, 1) for task in tasks)
    again: deque[tuple[Task, int]] = deque()
    executor = make()
    try:
        while True:
            running: dict[Future[Taken], tuple[Task, int]] = {}
            while batch := _filled(executor, running, again, rest, width):
                for future in wait(batch, return_when=FIRST_COMPLETED).done:
                    task, attempt = running.pop(future)
                    try:
                        yield future.result()
                    except BrokenExecutor as error:
                        if attempt >= _ATTEMPTS:
                            raise ExecutorError(
                                f"a worker died {attempt} times over "
                                f"{task.setting.name} of {task.image.path}"
                            ) from error
                        again.append((task, attempt + 1))
            if not again:
                return
            executor.shutdown(cancel_futures=True)
            executor = make()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _filled(
    executor: Executor,
    running: dict[Future[Taken], tuple[Task, int]],
    again: deque[tuple[Task, int]],
    rest: Iterator[tuple[Task, int]],
    width: int,
) -> dict[Future[Taken], tuple[Task, int]]:
    """``running`` with as many more as there is room for.

    Of a broken executor, what is running fails, and no more is added.
    """
    while len(running) < width:
        following = again.popleft() if again else next(rest, None)
        if following is None:
            break
        try:
            running[executor.submit(take, following[0])] = following
        except BrokenExecutor:
            again.appendleft(following)
            break
    return running


# --- Processes ---------------------------------------------------------------------


def _processes(executor: str) -> int:
    name, colon, number = executor.partition(":")
    if name != "processes" or (colon and not re.fullmatch("[1-9][0-9]{0,3}", number)):
        raise ValueError(
            f"{quoted(executor)} is none of processes, processes:N and dask://HOST:PORT"
        )
    return int(number or 1)


def _in_processes(tasks: Iterable[Task], width: int) -> Iterator[Taken]:
    # Not by fork: our threads would not be in the child.
    context = multiprocessing.get_context("spawn")
    return spread(
        tasks,
        lambda: ProcessPoolExecutor(
            width, mp_context=context, initializer=_leave_ctrl_c
        ),
        width,
    )


def _leave_ctrl_c() -> None:
    """To the process that started us, and ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


# --- Dask --------------------------------------------------------------------------


@contextmanager
def _dask_client(address: str) -> Iterator[Any]:
    try:
        distributed = import_module("distributed")
    except ImportError:
        raise ExecutorError(
            "a Dask cluster needs a package: pip install 'migcomp[dask]'"
        ) from None
    try:
        client = distributed.Client(
            f"tcp://{address}", timeout=_PATIENCE_SECONDS, set_as_default=False
        )
    except (OSError, ValueError, TypeError) as error:
        raise ExecutorError(
            f"no Dask scheduler answers at {address}: {error}"
        ) from error
    with client:
        yield client


def _by_dask(client: Any, tasks: Iterable[Task], width: int) -> Iterator[Taken]:
    """Dask itself starts again what a dead worker had in hand."""
    killed = import_module("distributed").KilledWorker
    # pure: equal calls would be one.  Twice the width, so that none waits for us.
    try:
        yield from spread(tasks, lambda: client.get_executor(pure=False), width * 2)
    except killed as error:
        raise ExecutorError(f"workers of the Dask cluster died: {error}") from error
    except CancelledError as error:
        raise ExecutorError("the Dask cluster was lost") from error
