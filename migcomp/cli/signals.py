# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ctrl-C and SIGTERM end a command in order: outputs are cleaned up first."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn


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
