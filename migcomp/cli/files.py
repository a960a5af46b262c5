# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks of the files that a command is given, before any work."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from migcomp.cli.standard import was_closed
from migcomp.errors import OutputError

STANDARD = "-"

#: What to do when a file cannot be written.
REMEDIES = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space, or write to another disk",
    errno.EFBIG: "write to a file system that takes files of this size",
    errno.EROFS: "write to another place",
}


def check_input(path: str) -> None:
    """Nobody types an image or a stream.  Raises UsageError."""
    if path == STANDARD and sys.stdin.isatty():
        raise click.UsageError(
            "standard input is a terminal; redirect it, or name a file"
        )


def check_output(path: str) -> None:
    """Binary data upsets terminals, and a closed output loses it.

    Raises UsageError and OutputError.
    """
    if path == STANDARD and was_closed(1):
        raise OutputError("standard output is closed; redirect it, or name a file")
    if path == STANDARD and sys.stdout.isatty():
        raise click.UsageError(
            "standard output is a terminal; redirect it, or name a file with -o"
        )


def check_distinct(source: str, output: str | None) -> None:
    """An output must not replace what it is made from.  Raises OutputError."""
    if output is None or STANDARD in (source, output):
        return
    read = Path(source.removeprefix("file://"))
    try:
        same = read.samefile(output)
    except OSError:
        return
    if same and read.is_file():
        raise OutputError(
            f"{output} is what is being read; give the output another name"
        )


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns what the system refuses into an OutputError that names ``path``."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard output" if path == STANDARD else path
        remedy = REMEDIES.get(error.errno or 0)
        advice = f"; {remedy}" if remedy else ""
        raise OutputError(
            f"{name} cannot be written: {error.strerror or error}{advice}"
        ) from error
