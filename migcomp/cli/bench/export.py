# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench export``: every sample of a sweep as a table."""

from __future__ import annotations

import click

from migcomp.cli.files import check_distinct, check_output, writing
from migcomp.cli.options import force_option
from migcomp.cli.types import FILE


@click.command(short_help="Write every sample of a sweep as a table.")
@click.argument("results", type=FILE)
@click.option(
    "--to",
    "kind",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    required=True,
    help="The format.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=FILE,
    required=True,
    help="Write it there; - is standard output.",
)
@force_option
def command(results: str, kind: str, output: str, force: bool) -> None:
    """Write RESULTS as a table with a row for each sample, warm-up included.

    parquet needs the package of pip install 'migcomp[parquet]'.
    """
    from migcomp.bench.results_file import read_results
    from migcomp.errors import ResultsError
    from migcomp.outputs import OutputFile
    from migcomp.report.sweep_samples import WRITERS, sample_table

    check_distinct(results, output)
    table = sample_table(read_results(results))
    if kind == "parquet":
        check_output(output)
    try:
        with writing(output), OutputFile(output, force=force) as file:
            WRITERS[kind](table, file)
    except OverflowError:
        raise ResultsError(
            f"{results} has numbers of more than 63 bits, which Parquet has no room "
            "for; export it to jsonl"
        ) from None
