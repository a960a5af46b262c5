# SPDX-License-Identifier: LGPL-2.1-or-later
"""The comparison of two sweeps on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migcomp.bench.compare import Comparison, Pair
from migcomp.report.compare_advice import notes
from migcomp.report.parts import distinct_names, print_indented, print_text
from migcomp.report.printable import printable
from migcomp.units import format_rate, many

#: With as many columns there is room for how the answer came about.
_WIDE = 120


def render(comparison: Comparison, console: Console) -> None:
    """Print ``comparison`` in the width that ``console`` has."""
    names = distinct_names(pair.before.image.path for pair in comparison.pairs)
    for image, name in names.items():
        pairs = [p for p in comparison.pairs if p.before.image.path == image]
        print_text(console, name, style="bold")
        console.print()
        print_indented(console, _table(pairs, console.width >= _WIDE))
        console.print()
    changed = sum(pair.significant for pair in comparison.pairs)
    print_text(
        console,
        f"geometric mean of {many(len(comparison.pairs), 'setting')}: speed "
        f"{comparison.speed_mean:.3f}, rate {comparison.rate_mean:.3f}; "
        f"{many(changed, 'significant difference')} of speed (U test, p < 0.01, and "
        "more than the MAD)",
    )
    for sentence in notes(comparison):
        print_text(console, f"Note: {printable(sentence)}", style="yellow")


def _table(pairs: list[Pair], wide: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("setting", no_wrap=True)
    for heading in ("before", "after", "speed", *(("MAD", "p") if wide else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("rate", justify="right", no_wrap=True)
    for pair in pairs:
        why = (f"{100 * pair.noise:.1f} %", f"{pair.p_value:.3f}") if wide else ()
        table.add_row(
            pair.before.setting.name,
            format_rate(pair.before.speed),
            format_rate(pair.after.speed),
            f"{pair.speed_ratio:.3f}",
            *why,
            _verdict(pair),
            f"{pair.rate_ratio:.3f}",
        )
    return table


def _verdict(pair: Pair) -> Text:
    if not pair.can_tell:
        return Text("too few rounds", style="yellow")
    if not pair.significant:
        return Text("not significant", style="dim")
    if pair.speed_ratio > 1:
        return Text("faster", style="green")
    return Text("slower", style="red")
