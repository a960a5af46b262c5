# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the samples of a sweep are taken: here, in processes, or by a Dask cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import threading
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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from migcomp.bench.sweep import Runner
from migcomp.bench.sweep_results import SweepMachine, SweepSample
from migcomp.bench.sweep_run import Task, take
from migcomp.errors import CodecUnavailable, ExecutorError, ImageError
from migcomp.units import quoted

_IN_VAIN_MOST = 3
_PATIENCE_SECONDS = 5  # until a scheduler answers
_SILENCE_SECONDS = 10

Taken = tuple[SweepMachine, SweepSample]


@dataclass(frozen=True)
class Place:
    """``width`` samples are taken at a time; ``here``: all of them on this machine."""

    runner: Runner
    width: int
    here: bool


def place_of(executor: str) -> AbstractContextManager[Place]:
    """``executor`` is empty, ``processes``, ``processes:N`` or ``dask://HOST:PORT``.

    Raises ValueError for what is none of them; entering it, ExecutorError.
    """
    if not executor:
        return nullcontext(Place(lambda tasks: map(take, tasks), 1, here=True))
    if re.fullmatch(r"dask://(\[[^]]+\]|[^:/]+):[0-9]{1,5}", executor):
        return _dask_cluster(executor.removeprefix("dask://"))
    match = re.fullmatch("processes(?::([1-9][0-9]{0,3}))?", executor)
    if match is None:
        raise ValueError(
            f"{quoted(executor)} is none of processes, processes:N and dask://HOST:PORT"
        )
    return _own_processes(int(match[1] or 1))


# --- Any executor ------------------------------------------------------------------


def spread(
    tasks: Iterable[Task],
    make: Callable[[], Executor],
    width: int,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Taken]:
    """Has ``make``'s executors take the samples, ``width`` at a time.

    ``check`` is called when nothing was finished for a while, and raises if nothing
    ever will be.

    An executor that breaks, because a worker died, is replaced by another, and what
    it had in hand is started again.  Raises ExecutorError when three in a row broke
    before they finished anything, and what the tasks raise.
    """
    rest = iter(tasks)
    again: deque[Task] = deque()
    in_vain = 0
    running: dict[Future[Taken], Task] = {}
    executor = make()
    try:
        while True:
            in_vain += 1
            while _fill(executor, running, again, rest, width):
                finished, _ = wait(running, _SILENCE_SECONDS, FIRST_COMPLETED)
                if not finished:
                    check()
                failures = []
                for future in finished:
                    task = running.pop(future)
                    try:
                        taken = future.result()
                    except BrokenExecutor:
                        again.append(task)
                    except Exception as error:
                        failures.append(error)  # when the others are safe
                    else:
                        in_vain = 0
                        yield taken
                if failures:
                    raise failures[0]
            if not again:
                return
            if in_vain == _IN_VAIN_MOST:
                raise ExecutorError(
                    f"{in_vain} times in a row workers died before they finished "
                    f"anything, the last time over {again[0].setting.name} of "
                    f"{again[0].image.path}"
                )
            executor.shutdown()
            executor = make()
    finally:
        for future in running:
            future.cancel()
        executor.shutdown(wait=False)


def _fill(
    executor: Executor,
    running: dict[Future[Taken], Task],
    again: deque[Task],
    rest: Iterator[Task],
    width: int,
) -> bool:
    """Starts as many as there is room for; whether any runs then.

    Of a broken executor, what runs fails, and no more is started.
    """
    while len(running) < width:
        task = again.popleft() if again else next(rest, None)
        if task is None:
            break
        try:
            running[executor.submit(take, task)] = task
        except BrokenExecutor:
            again.appendleft(task)
            break
    return bool(running)


# --- Processes ---------------------------------------------------------------------


class _Processes(ProcessPoolExecutor):
    """A terminal's Ctrl-C is for us, who end them: they are born deaf to it.

    Making it and submitting raise ExecutorError where the system has no room for more.
    """

    def __init__(self, width: int) -> None:
        # Not by fork: our threads would not be in the child.
        context = multiprocessing.get_context("spawn")
        with _starting():
            super().__init__(width, context, _end_with_parent)

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
        # What starts them; they inherit the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with _starting():
                return super().submit(*arguments, **named)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _starting() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExecutorError(
            f"a process cannot be started: {error.strerror}; take fewer "
            "with --executor processes:N"
        ) from error


def _end_with_parent() -> None:
    """For those who take samples: if the sweep is killed, nobody else ends them."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait_for_end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()


@contextmanager
def _own_processes(width: int) -> Iterator[Place]:
    others = set(multiprocessing.active_children())

    def make() -> Executor:
        return _Processes(width)

    try:
        yield Place(lambda tasks: spread(tasks, make, width), width, here=True)
    finally:
        # They may be in the middle of a long run.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


# --- Dask --------------------------------------------------------------------------


@contextmanager
def _dask_cluster(address: str) -> Iterator[Place]:
    try:
        distributed = import_module("distributed")
    except ImportError:
        raise ExecutorError(
            "a Dask cluster needs a package: pip install 'migcomp[dask]'"
        ) from None
    # What it would print: workers that died, which is what it is there to cope with,
    # how it fails, which we tell in a sentence, and by tornado what of its own waiting
    # for results was cut off when its client was closed.
    for logger in ("distributed", "distributed.client", "tornado.application"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        client = distributed.Client(
            f"tcp://{address}", timeout=_PATIENCE_SECONDS, set_as_default=False
        )
    except (OSError, ValueError, TypeError) as error:
        raise ExecutorError(
            f"no Dask scheduler answers at {address}: {error}"
        ) from error
    with client:
        width = sum(client.nthreads().values())
        if not width:
            raise ExecutorError(f"the Dask cluster at {address} has no workers")
        yield Place(lambda tasks: _by_dask(client, tasks, width), width, here=False)


def _by_dask(client: Any, tasks: Iterable[Task], width: int) -> Iterator[Taken]:
    """Dask itself starts again what a dead worker had in hand, three times."""
    distributed = import_module("distributed")

    def check() -> None:
        # It would wait for others to come.
        if not client.nthreads():
            raise ExecutorError("all workers of the Dask cluster are gone")

    try:
        # pure: equal calls would be one.  Twice the width, so that none waits for us.
        yield from spread(
            tasks, lambda: client.get_executor(pure=False), 2 * width, check
        )
    except (ImageError, CodecUnavailable) as error:
        # Here there may be such a file, and such a library.
        raise type(error)(f"on a worker of the Dask cluster: {error}") from error
    except distributed.KilledWorker as error:
        raise ExecutorError(f"workers of the Dask cluster died: {error}") from error
    except (CancelledError, distributed.comm.CommClosedError) as error:
        raise ExecutorError("the connection to the Dask cluster was lost") from error
