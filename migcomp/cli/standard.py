# SPDX-License-Identifier: LGPL-2.1-or-later
"""Standard input, output and error, in whatever state we got them."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

_closed: set[int] = set()


def was_closed(number: int) -> bool:
    """We got this one of the three closed: nobody reads or feeds it."""
    return number in _closed


def prepare_standard_streams() -> None:
    """Makes all three usable; characters that they cannot encode are spelled out."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Closed: left so, our next file would get the number.
            os.open(os.devnull, os.O_RDWR)
            _closed.add(number)
    sys.stdin = sys.stdin or _reopened(0, "r")
    sys.stdout = sys.stdout or _reopened(1, "w")
    sys.stderr = sys.stderr or _reopened(2, "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _reopened(number: int, mode: str) -> TextIO:
    return cast(TextIO, open(number, mode, closefd=False))


def flush_or_abandon_output() -> None:
    """What cannot be written now would fail again when the interpreter exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
