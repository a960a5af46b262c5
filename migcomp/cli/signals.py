# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ctrl-C and SIGTERM end a command in order: outputs are cleaned up first."""

from __future__ import annotations

import signal
from collections.abc import Coroutine
from types import FrameType
from typing import Any, NoReturn, TypeVar

_Result = TypeVar("_Result")


class Terminated(BaseException):
    """SIGTERM, or SIGHUP, arrived; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def end_on_signals() -> None:
    """From now on these signals raise in the main thread."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup and the like: who ignores a signal for us keeps it ignored.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _raise)


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(number)


def run_to_its_end(work: Coroutine[Any, Any, _Result]) -> _Result:
    """asyncio.run, which cancels ``work`` at Ctrl-C, does so at these signals too.

    Raised from within a callback, Terminated would end the wrong task.
    """
    import asyncio

    arrived: list[int] = []

    async def until_cancelled() -> _Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel(number: int) -> None:
            arrived.append(number)
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is _raise:
                loop.add_signal_handler(number, cancel, number)
        return await work

    try:
        return asyncio.run(until_cancelled())
    except asyncio.CancelledError:
        raise Terminated(arrived[0]) from None
