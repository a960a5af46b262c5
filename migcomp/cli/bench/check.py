# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench check``: whether anything became worse, for use in CI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from migcomp.cli.bench.forms import Form, form_options, print_comparison
from migcomp.cli.bench.lists import Percent
from migcomp.cli.summary import tell
from migcomp.cli.types import FILE

if TYPE_CHECKING:
    from migcomp.bench.compare import Pair
    from migcomp.bench.sweep_figures import Figures


@click.command(short_help="Fail when a setting became worse than a baseline.")
@click.argument("results", type=FILE)
@click.option(
    "--baseline", type=FILE, metavar="FILE", required=True, help="The results before."
)
@click.option(
    "--max-regression",
    "most",
    type=Percent(),
    metavar="PERCENT",
    default="5%",
    show_default=True,
    help="How much slower a setting may be, if that is significant, and how much less "
    "it may compress.",
)
@form_options
def command(results: str, baseline: str, most: float, form: Form) -> None:
    """Compare RESULTS with a baseline as migcomp bench compare does.

    Exit code 11 says that a setting became worse by more than is allowed, was not
    measured any more, or took so few rounds that nothing could be told.  What seems to
    be slower, but is not significant, is named on standard error and does not fail.
    """
    from migcomp.bench.compare import compare
    from migcomp.bench.results_file import read_results
    from migcomp.errors import Regression
    from migcomp.units import many

    before, after = read_results(baseline), read_results(results)
    comparison = compare(before, after, (baseline, results))
    several = len(before.plan.images) > 1

    def name(figures: Figures) -> str:
        image = f" of {figures.image.path}" if several else ""
        return f"{figures.setting.name}{image}"

    found = [
        f"{name(pair.before)} {' and '.join(worse)}"
        for pair in comparison.pairs
        if (worse := _failings(pair, most))
    ]
    found += [f"{name(figures)} is missing" for figures in comparison.missing]
    unclear = [
        f"{name(pair.before)} seems to be {100 * (1 - pair.speed_ratio):.1f} % slower"
        for pair in comparison.pairs
        if pair.unclear(most)
    ]
    print_comparison(comparison, form, {"worse": found, "unclear": unclear})
    for line in unclear:
        tell(line, quiet=form.quiet)
    if unclear:
        tell(
            f"of {many(len(unclear), 'setting')} the rounds differ too much to be "
            "sure; take more of them, on a quiet machine",
            quiet=form.quiet,
        )
    if found:
        for line in found:
            tell(line, quiet=False)
        compared = len(comparison.pairs) + len(comparison.missing)
        raise Regression(
            f"{results} does not pass against {baseline}: {len(found)} of "
            f"{many(compared, 'setting')} failed"
        )


def _failings(pair: Pair, most: float) -> list[str]:
    """What a setting fails for, as the end of a sentence about it."""
    worse = pair.regressed(most)
    return [
        *((f"is {' and '.join(worse)}",) if worse else ()),
        *(() if pair.can_tell else ("took too few rounds to tell",)),
    ]
