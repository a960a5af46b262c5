# SPDX-License-Identifier: LGPL-2.1-or-later
"""How far a sweep is, on standard error."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

if TYPE_CHECKING:
    from migcomp.bench.sweep import State


class SweepProgress:
    """A bar on a terminal; elsewhere a line for each round."""

    def __init__(self, quiet: bool, color: str) -> None:
        self._round = -1
        self._quiet = quiet
        self._color = color
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, state: State) -> None:
        begins, self._round = state.round != self._round, state.round
        if self._quiet or state.done == state.wanted:
            return
        if sys.stderr.isatty():
            self._draw(state)
        elif begins:
            number = f"round {state.round}" if state.round else "warm-up"
            click.echo(
                f"migcomp: {number}, {state.done:,} of {state.wanted:,} samples"
                f"{_left(state)}",
                err=True,
            )

    def _draw(self, state: State) -> None:
        if self._bar is None:
            self._bar = _bar(self._color)
            self._bar.add_task("", total=state.wanted, left="")
            self._bar.start()
        self._bar.update(
            self._bar.task_ids[0],
            completed=state.done,
            total=state.wanted,
            left=_left(state),
            refresh=True,
        )


def _bar(color: str) -> Any:
    from rich.progress import BarColumn, Progress, TextColumn

    from migcomp.report.console import open_console

    console = open_console(sys.stderr, color, least_width=0)
    # Room for the ^C that a terminal echoes: wrapped, it could not be erased.
    console.width = max(1, console.width - 3)
    return Progress(
        TextColumn("sweeping"),
        BarColumn(None),
        TextColumn("{task.completed} of {task.total}{task.fields[left]}"),
        console=console,
        auto_refresh=False,
        transient=True,
        expand=True,
    )


def _left(state: State) -> str:
    if state.seconds_left is None:
        return ""
    minutes, seconds = divmod(round(state.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    time = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f", {'roughly ' if state.rough else ''}{time} left"
