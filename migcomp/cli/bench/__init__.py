# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench``: the group of benchmarks."""

from __future__ import annotations

import click

from migcomp.cli.groups import LazyGroup

_COMMANDS = ("sweep", "show", "compare", "check", "export", "queue")


@click.group(
    cls=LazyGroup,
    package="migcomp.cli.bench",
    names=_COMMANDS,
    short_help="Sweep over settings, compare, and measure work queues.",
)
def command() -> None:
    """Measure repeatedly, check what comes out, and keep every sample."""
