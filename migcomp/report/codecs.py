# SPDX-License-Identifier: LGPL-2.1-or-later
"""The list of codecs on the terminal: a line for each library, its path below."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from migcomp.codecs import Provider
from migcomp.report.printable import printable

_BESIDE = 150  # from this width on, the path stands in the same line
_GAP = "   "
_HEADINGS = ("codec", "library", "version", "levels", "state")
_STYLES = {"in use": "green", "unavailable": "red", "usable": ""}


def render(providers: Sequence[Provider], console: Console) -> None:
    """Print the libraries in the order that they are given."""
    rows = [_HEADINGS, *map(_cells, providers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    details = ["path", *(printable(p.problem or p.path) for p in providers)]
    for row, detail in zip(rows, details, strict=True):
        state = row[-1]
        line = Text(no_wrap=True, overflow="ignore")
        for cell, width in zip(row, widths, strict=True):
            line.append(f"{cell:{width}}{_GAP}", style=_STYLES.get(state, "cyan"))
        if console.width >= _BESIDE:
            line.append(detail, style="dim" if row is not _HEADINGS else "cyan")
        line.rstrip()
        console.print(line, soft_wrap=True)
        if console.width < _BESIDE and detail and row is not _HEADINGS:
            console.print(
                Text(f"{'':{widths[0]}}{_GAP}{detail}", style="dim"), soft_wrap=True
            )


def _cells(provider: Provider) -> tuple[str, ...]:
    return (
        provider.codec,
        provider.provider,
        provider.version,
        _levels(provider),
        _state(provider),
    )


def _levels(provider: Provider) -> str:
    if provider.problem or provider.level_min == provider.level_max:
        return ""
    return (
        f"{provider.level_min} to {provider.level_max}, default "
        f"{provider.level_default}"
    )


def _state(provider: Provider) -> str:
    if provider.problem:
        return "unavailable"
    return "in use" if provider.chosen else "usable"
