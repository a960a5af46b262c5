# SPDX-License-Identifier: LGPL-2.1-or-later
"""In which form a benchmark's figures are printed."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from migcomp.cli.files import STANDARD, writing
from migcomp.cli.options import report_options
from migcomp.cli.summary import print_json

if TYPE_CHECKING:
    from migcomp.bench.compare import Comparison
    from migcomp.bench.sweep_results import Sweep
    from migcomp.report.tables import FigureTable

FORMATS = ("text", "json", "csv", "markdown", "prometheus")


@dataclass(frozen=True)
class Form:
    """``format`` is one of FORMATS; ``quiet``: text is not printed."""

    format: str
    quiet: bool
    color: str


def form_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--format, and what report_options has, as one argument ``form``."""

    @functools.wraps(function)
    def with_form(
        *, form_name: str | None, as_json: bool, quiet: bool, color: str, **rest: Any
    ) -> Any:
        if as_json and form_name not in (None, "json"):
            raise click.UsageError("--json is --format json; give one of them")
        name = "json" if as_json else form_name or "text"
        return function(form=Form(name, quiet, color), **rest)

    return click.option(
        "--format",
        "form_name",
        type=click.Choice(FORMATS),
        help="Print this; prometheus is for node-exporter's textfile collector.  "
        "[default: text]",
    )(report_options(with_form))


def print_sweep(sweep: Sweep, form: Form) -> None:
    if form.format == "json":
        from migcomp.report.sweep_json import sweep_to_json

        print_json(sweep_to_json(sweep))
    elif form.format == "text":
        if not form.quiet:
            from migcomp.report.console import open_console
            from migcomp.report.sweep_terminal import render

            with writing(STANDARD):
                render(sweep, open_console(sys.stdout, form.color))
    else:
        from migcomp.report.sweep_figures import sweep_table

        print_table(sweep_table(sweep), form.format)


def print_comparison(
    comparison: Comparison, form: Form, found: Mapping[str, Sequence[str]] | None = None
) -> None:
    """``found`` by a check; only JSON has it, with text standard error tells it."""
    if form.format == "json":
        from migcomp.report.sweep_json import compare_to_json

        print_json(compare_to_json(comparison) | dict(found or {}))
    elif form.format == "text":
        if not form.quiet:
            from migcomp.report.compare_terminal import render
            from migcomp.report.console import open_console

            with writing(STANDARD):
                render(comparison, open_console(sys.stdout, form.color))
    else:
        from migcomp.report.compare_figures import compare_table

        print_table(compare_table(comparison), form.format)


def print_table(table: FigureTable, format: str) -> None:
    from migcomp.report import tables

    text = {
        "csv": tables.to_csv,
        "markdown": tables.to_markdown,
        "prometheus": tables.to_prometheus,
    }[format](table)
    with writing(STANDARD):
        sys.stdout.write(text)
