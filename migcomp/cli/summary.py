# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a command's report goes, and in which form."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import click

from migcomp.cli.files import STANDARD, writing
from migcomp.report.printable import printable

if TYPE_CHECKING:
    from migcomp.results import RunResult


@dataclass(frozen=True)
class Summary:
    """What the user asked for; ``output`` is where the command's data goes."""

    as_json: bool
    quiet: bool
    color: str
    output: str | None = None

    def show(self, result: RunResult, **more: object) -> None:
        """Prints the report; on standard error when the data took the other.

        ``more`` are further keys of the JSON object.
        """
        file = beside(self.output)
        # Imported only now: of the two, a command needs one.
        if self.as_json:
            from migcomp.report.json import to_json

            print_json(to_json(result) | more, file)
        elif not self.quiet:
            from migcomp.report.console import open_console
            from migcomp.report.terminal import render

            with writing(STANDARD):
                render(result, open_console(file, self.color))


def beside(output: str | None) -> TextIO:
    """Where a report goes: standard error when the command's data, in the file
    ``output``, took the other."""
    return sys.stderr if output == STANDARD else sys.stdout


def tell(notice: str, *, quiet: bool) -> None:
    """A sentence beside the report, on standard error; nothing if it is empty."""
    if notice and not quiet:
        # Losing standard error must not change the exit code.
        with suppress(OSError):
            click.echo(f"migcomp: {printable(notice)}", err=True)


def print_json(content: Mapping[str, object], file: TextIO | None = None) -> None:
    """One object, on standard output unless told."""
    import json

    with writing(STANDARD):
        target = file or sys.stdout
        json.dump(content, target, indent=2)
        target.write("\n")
