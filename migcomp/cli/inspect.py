# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp inspect``: what is in a stream."""

from __future__ import annotations

import sys

import click

from migcomp.cli.files import STANDARD, check_input, writing
from migcomp.cli.options import color_option, handler_option, json_option
from migcomp.cli.summary import print_json
from migcomp.errors import StreamError


@click.command(short_help="Show what is in a stream.")
@click.argument("stream", type=click.Path())
@click.option(
    "--page",
    type=click.IntRange(0),
    metavar="N",
    help="Show page N (the first is 0) as a hex dump.",
)
@handler_option
@json_option
@color_option
def command(
    stream: str, page: int | None, handler: str, as_json: bool, color: str
) -> None:
    """Show the header, RAM blocks, classes of pages and sizes of STREAM.

    Pages are not decompressed: migcomp verify tests them.
    """
    from migcomp.cli.contents import read_contents, read_page
    from migcomp.report.console import open_console
    from migcomp.report.contents import (
        contents_to_json,
        page_to_json,
        render,
        render_page,
    )
    from migcomp.stream.reader import open_stream

    check_input(stream)
    with open_stream(stream) as reader:
        if page is not None:
            stored = read_page(reader, page, handler)
            if as_json:
                print_json(page_to_json(stored))
            else:
                with writing(STANDARD):
                    render_page(stored, open_console(sys.stdout, color))
            return
        contents = read_contents(reader)
    if as_json:
        print_json(contents_to_json(contents))
    else:
        with writing(STANDARD):
            render(contents, open_console(sys.stdout, color))
    if contents.problem:
        raise StreamError(contents.problem)
