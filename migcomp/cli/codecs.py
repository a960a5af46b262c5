# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp codecs``: which library does the work of each codec."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from migcomp.cli.files import STANDARD, writing
from migcomp.cli.options import color_option, json_option
from migcomp.cli.summary import print_json

if TYPE_CHECKING:
    from migcomp.codecs import Provider


@click.command(short_help="List codecs and the libraries in use.")
@json_option
@color_option
def command(as_json: bool, color: str) -> None:
    """List the codecs, the libraries found for them, and which one is used.

    Where several will do, the newest is used.  MIGCOMP_LIBZSTD, MIGCOMP_LIBLZ4,
    MIGCOMP_LIBZ and MIGCOMP_LIBDEFLATE name another library, or none.  lzo and
    snappy are only read, in dumps; theirs are MIGCOMP_LIBLZO2 and
    MIGCOMP_LIBSNAPPY.
    """
    from migcomp.codecs import providers

    found = providers()
    if as_json:
        content = {"schema": "migcomp.codecs/1", "providers": list(map(_entry, found))}
        print_json(content)
        return

    from migcomp.report.codecs import render
    from migcomp.report.console import open_console

    with writing(STANDARD):
        render(found, open_console(sys.stdout, color))


def _entry(provider: Provider) -> dict[str, object]:
    usable = not provider.problem
    return {
        "codec": provider.codec,
        "provider": provider.provider,
        "version": provider.version,
        "path": provider.path,
        "native": provider.native,
        "chosen": provider.chosen,
        "usable": usable,
        "problem": provider.problem,
        "grouping-stream": provider.streaming,
        "levels": {
            "min": provider.level_min,
            "max": provider.level_max,
            "default": provider.level_default,
        }
        if usable
        else None,
    }
