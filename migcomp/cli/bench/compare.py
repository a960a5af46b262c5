# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench compare``: two sweeps side by side."""

from __future__ import annotations

import click

from migcomp.cli.bench.forms import Form, form_options, print_comparison
from migcomp.cli.types import FILE


@click.command(short_help="Compare two sweeps, setting by setting.")
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@form_options
def command(before: str, after: str, form: Form) -> None:
    """Tell which settings are faster or slower in AFTER than in BEFORE.

    Compared are equal settings with images of equal content.  A difference of speed
    is significant if the U test of Mann and Whitney finds it on the times of the
    rounds (p < 0.01), and it is larger than their median absolute deviation.
    """
    from migcomp.bench.compare import compare
    from migcomp.bench.results_file import read_results

    sweeps = read_results(before), read_results(after)
    print_comparison(compare(*sweeps, (before, after)), form)
