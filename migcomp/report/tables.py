# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tables of figures for programs: CSV, Markdown, and Prometheus' text format."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from migcomp.report.printable import printable

#: A number, a name, a truth, or nothing that could be told.
Value = str | int | float | bool | None


def _plain(value: Value) -> str:
    return str(value)


@dataclass(frozen=True)
class Column:
    """``key`` names the figure for programs, with hyphens and its unit at the end.

    ``label``: it tells what a row is about, and is no figure.  ``shown`` writes a
    value for people, under ``heading``; without a heading it is for programs only.
    ``meaning`` is a sentence.
    """

    key: str
    meaning: str
    heading: str = ""
    shown: Callable[[Value], str] = _plain
    label: bool = False


@dataclass(frozen=True)
class FigureTable:
    """``name`` is what metrics begin with, after ``migcomp_``."""

    name: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Value]]


def to_csv(table: FigureTable) -> str:
    """A line of keys, and a line for each row; what cannot be told is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = [column.key for column in table.columns]
    writer.writerow(keys)
    for row in table.rows:
        writer.writerow([_bare(row[key]) for key in keys])
    return text.getvalue()


def _bare(value: Value) -> Value:
    return int(value) if isinstance(value, bool) else value


def to_markdown(table: FigureTable) -> str:
    columns = [column for column in table.columns if column.heading]
    lines = [
        [column.heading for column in columns],
        ["---" if column.label else "---:" for column in columns],
    ]
    for row in table.rows:
        lines.append([_cell(column, row[column.key]) for column in columns])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(column: Column, value: Value) -> str:
    text = "" if value is None else column.shown(value)
    return printable(text).replace("\\", "\\\\").replace("|", "\\|")


def to_prometheus(table: FigureTable) -> str:
    """For node-exporter's textfile collector: gauges, without time stamps.

    The text exposition format is that of Prometheus' documentation, version 0.0.4.
    """
    labels = [column for column in table.columns if column.label]
    text = []
    for column in table.columns:
        values = [(row, row[column.key]) for row in table.rows]
        if column.label or all(value is None for _, value in values):
            continue
        name = f"migcomp_{table.name}_{column.key.replace('-', '_')}"
        text.append(f"# HELP {name} {_escaped(column.meaning)}\n# TYPE {name} gauge\n")
        for row, value in values:
            if isinstance(value, int | float):
                told = ",".join(
                    f'{label.key.replace("-", "_")}="{_label(row[label.key])}"'
                    for label in labels
                )
                text.append(f"{name}{{{told}}} {_bare(value)}\n")
    return "".join(text)


def _label(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # Names of files that are no text have surrogates.
    text = str(value).encode(errors="backslashreplace").decode()
    return _escaped(text).replace('"', '\\"')


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
