# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench show``: what a sweep's file says."""

from __future__ import annotations

import click

from migcomp.cli.bench.forms import Form, form_options, print_sweep
from migcomp.cli.types import FILE


@click.command(short_help="Show the results of a sweep.")
@click.argument("results", type=FILE)
@form_options
def command(results: str, form: Form) -> None:
    """Show what migcomp bench sweep wrote to RESULTS, complete or not.

    Says for each link which setting is the best, and gives the figures of all.
    """
    from migcomp.bench.results_file import read_results

    print_sweep(read_results(results), form)
