# SPDX-License-Identifier: LGPL-2.1-or-later
"""The console that reports are printed on."""

from __future__ import annotations

import os
from typing import IO

from rich.console import Console


class _PipeConsole(Console):
    def on_broken_pipe(self) -> None:
        # rich would end the process with a code that says nothing.
        raise BrokenPipeError


def open_console(
    file: IO[str], color: str = "auto", *, least_width: int = 80
) -> Console:
    """``color``: ``auto`` (a terminal, unless NO_COLOR is set), ``always``, ``never``.

    Nothing is highlighted or interpreted but what a report styles itself.  On a
    screen narrower than ``least_width``, lines are wrapped rather than cut.
    """
    plain = color == "never" or (color == "auto" and bool(os.environ.get("NO_COLOR")))
    console = _PipeConsole(
        file=file,
        color_system=None if plain else "auto",
        force_terminal=True if color == "always" else None,
        no_color=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.width = max(console.width, least_width)
    return console
