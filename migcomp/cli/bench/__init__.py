# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench``: the group of benchmarks."""

from __future__ import annotations

import click

from migcomp.cli.groups import LazyGroup

_COMMANDS = ("queue",)


@click.group(
    cls=LazyGroup,
    package="migcomp.cli.bench",
    names=_COMMANDS,
    short_help="Measure work queues.",
)
def command() -> None:
    """Measure repeatedly, check what comes out, and keep every sample."""
