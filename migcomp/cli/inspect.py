# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp inspect``: what is in a stream of ours, or in a memory image."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from migcomp.cli.files import STANDARD, check_input, writing
from migcomp.cli.options import (
    diff_option,
    format_option,
    handler_option,
    report_options,
)
from migcomp.cli.progress import opening, progress
from migcomp.cli.summary import print_json
from migcomp.cli.types import FILE
from migcomp.errors import StreamError

if TYPE_CHECKING:
    from rich.console import Console

    from migcomp.images.file import ImageFile
    from migcomp.stream.reader import StreamReader


@click.command(short_help="Show what is in a stream or an image.")
@click.argument("source", metavar="STREAM|IMAGE", type=FILE)
@click.option(
    "--page",
    type=click.IntRange(0),
    metavar="N",
    help="Show page N (the first is 0) as a hex dump.",
)
@handler_option
@format_option
@diff_option
@report_options
def command(
    source: str,
    page: int | None,
    handler: str,
    image_format: str | None,
    diffs: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    """Show what is in a migcomp stream, or in a memory image of any format.

    Of a stream: header, RAM blocks, classes of pages and sizes; its pages are not
    decompressed, which migcomp verify does.  Of an image: RAM blocks, classes of
    pages, and all else that its format tells.
    """
    from migcomp.images.file import open_file
    from migcomp.images.open import image_path
    from migcomp.images.signatures import MIGCOMP

    check_input(source)
    file = open_file(image_path(source))
    if image_format is None and not diffs and file.head.startswith(MIGCOMP):
        from migcomp.stream.reader import open_stream_in

        with open_stream_in(file.path, file.fd, file.taken) as reader:
            _show_stream(reader, page, handler, as_json, quiet, color)
    else:
        _show_image(file, page, image_format, diffs, as_json, quiet, color)


def _show_stream(
    reader: StreamReader,
    page: int | None,
    handler: str,
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    from migcomp.cli.contents import read_contents, read_page
    from migcomp.report.contents import contents_to_json, page_to_json

    if page is not None:
        stored = read_page(reader, page, handler)
        if as_json:
            print_json(page_to_json(stored))
            return
        from migcomp.report.contents_terminal import render_page

        _draw(lambda console: render_page(stored, console), quiet, color)
        return
    contents = read_contents(reader)
    if as_json:
        print_json(contents_to_json(contents))
    else:
        from migcomp.report.contents_terminal import render

        _draw(lambda console: render(contents, console), quiet, color)
    if contents.problem:
        raise StreamError(contents.problem)


def _show_image(
    file: ImageFile,
    page: int | None,
    image_format: str | None,
    diffs: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    from migcomp.cli.image_contents import read_image, read_image_page
    from migcomp.images.open import image_in
    from migcomp.report.image import image_page_to_json, image_to_json

    try:
        with opening(file.path, quiet=quiet, color=color) as told:
            file.watch = told or file.watch
            image = image_in(file, pad=True, format=image_format, diffs=diffs)
    except BaseException:
        file.close()
        raise
    with image:
        if page is not None:
            stored = read_image_page(image, page)
            if as_json:
                print_json(image_page_to_json(stored))
                return
            from migcomp.report.image_terminal import render_image_page

            _draw(lambda console: render_image_page(stored, console), quiet, color)
            return
        with progress(
            "reading", image.pages, image.page_size, quiet=quiet, color=color
        ) as watch:
            contents = read_image(image, watch)
    if as_json:
        print_json(image_to_json(contents))
        return
    from migcomp.report.image_terminal import render_image

    _draw(lambda console: render_image(contents, console), quiet, color)


def _draw(render: Callable[[Console], None], quiet: bool, color: str) -> None:
    if quiet:
        return
    from migcomp.report.console import open_console

    with writing(STANDARD):
        render(open_console(sys.stdout, color))
