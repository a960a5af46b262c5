# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp report``: the results of sweeps and of simulations as a page."""

from __future__ import annotations

from pathlib import Path

import click

from migcomp.cli.files import check_distinct, check_output, writing
from migcomp.cli.options import color_option, force_option
from migcomp.cli.progress import steps
from migcomp.cli.types import FILE


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
    """Make a page of RESULTS, which are files that migcomp bench sweep, or migcomp
    simulate --json, wrote.

    It says first which settings are worth having and on which links; then come
    charts, a table of everything, and how the simulated migrations went in time.  The
    page needs no other file and no network.
    """
    from migcomp.bench.results_file import read_results
    from migcomp.outputs import OutputFile
    from migcomp.report.html.charts import require_extra
    from migcomp.report.html.simulations import read_simulation
    from migcomp.report.html.sweep import to_html
    from migcomp.stream.sink import write_all

    require_extra()
    check_output(output)
    for path in results:
        check_distinct(path, output)
    sweeps, simulations = {}, []
    for path in results:
        # What can be read only once is a sweep's.
        regular = path != "-" and Path(path).is_file()
        simulation = read_simulation(path) if regular else None
        if simulation is None:
            sweeps[path] = read_results(path)
        else:
            simulations.append(simulation)
    with OutputFile(output, force=force) as target:
        with steps("drawing", quiet=quiet, color=color) as watch:
            page = to_html(sweeps, simulations, watch)
        with writing(output):
            write_all(target, page)
