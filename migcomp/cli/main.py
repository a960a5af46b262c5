# SPDX-License-Identifier: LGPL-2.1-or-later
"""All commands, and how the program ends."""

from __future__ import annotations

from typing import Any

import click

from migcomp.cli.failures import failures
from migcomp.cli.groups import LazyGroup

_COMMANDS = (
    "run",
    "restore",
    "verify",
    "inspect",
    "explain",
    "report",
    "convert",
    "capture",
    "simulate",
    "plan",
    "codecs",
    "sample",
    "bench",
    "completion",
)


class _Commands(LazyGroup):
    """Ends the program as failures.py says."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with failures():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with failures():
            return super().invoke(ctx)


def _print_version(
    context: click.Context, _parameter: click.Parameter, wanted: bool
) -> None:
    if not wanted or context.resilient_parsing:
        return
    from migcomp import __version__
    from migcomp.codecs import READ_CODECS, providers

    chosen = (
        " ".join(filter(None, (p.codec, "by", p.provider, p.version)))
        for p in providers()
        if p.chosen and p.codec not in ("none", *READ_CODECS)
    )
    click.echo(f"migcomp {__version__} ({', '.join(chosen)})")
    context.exit()


@click.group(
    cls=_Commands,
    package="migcomp.cli",
    names=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 a bug, 2 wrong use or TOML file, 3 image, 4 stream, "
    "5 codec not available, 6 a codec failed, 7 output, 8 images differ, 9 a work "
    "queue at fault, 10 results, 11 a regression, 12 workers gone, 13 a simulation at "
    "fault, 130 interrupted, 141 reader gone, 129 or 143 terminated.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and the codec libraries in use.",
)
def commands() -> None:
    """Compress virtual machines' memory images, and see what it costs and brings.

    \b
    migcomp run guest.raw                    compress and report
    migcomp run guest.raw -o guest.migc      and keep the stream
    migcomp restore guest.migc -o back.raw   bit for bit
    """
