# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp report``: the results of sweeps as a page."""

from __future__ import annotations

import click

from migcomp.cli.files import check_distinct, check_output, writing
from migcomp.cli.options import FILE, color_option, force_option
from migcomp.cli.progress import steps


@click.command(short_help="Make a page of what a sweep measured.")
@click.argument("results", type=FILE, nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=FILE,
    required=True,
    help="The HTML page to write; - is standard output.",
)
@force_option
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@color_option
def command(
    results: tuple[str, ...], output: str, force: bool, quiet: bool, color: str
) -> None:
    """Make a page of RESULTS, which are files that migcomp bench sweep wrote.

    It says first which settings are worth having and on which links; then come
    charts, and a table of everything.  The page needs no other file and no network.
    """
    from migcomp.bench.results_file import read_results
    from migcomp.outputs import OutputFile
    from migcomp.report.html.charts import require_extra
    from migcomp.report.html.sweep import to_html
    from migcomp.stream.sink import write_all

    require_extra()
    check_output(output)
    for path in results:
        check_distinct(path, output)
    sweeps = {path: read_results(path) for path in results}
    with OutputFile(output, force=force) as target:
        with steps("drawing", quiet=quiet, color=color) as watch:
            page = to_html(sweeps, watch)
        with writing(output):
            write_all(target, page)
