# SPDX-License-Identifier: LGPL-2.1-or-later
"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from migcomp.cli.types import FILE, Count, Name, PageSize, RamBlock
from migcomp.units import quoted

_Function = TypeVar("_Function", bound=Callable[..., Any])


def max_threads() -> int:
    from migcomp.workqueue import MAX_THREADS

    return MAX_THREADS


def max_requests() -> int:
    from migcomp.workqueue import MAX_REQUESTS

    return MAX_REQUESTS


def threads_option(function: _Function) -> _Function:
    return click.option(
        "-t",
        "--threads",
        "--compress-threads",
        "threads",
        type=Count(max_threads),
        metavar="N",
        help="Worker threads.  [default: one for each usable CPU]",
    )(function)


def given(name: str) -> bool:
    """Whether the parameter was on the command line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE


def _check_handler(
    _context: click.Context, _parameter: click.Parameter, handler: str
) -> str:
    module, colon, factory = handler.partition(":")
    if handler and not (module and colon and factory):
        raise click.BadParameter(
            f"{quoted(handler)} is not of the form package.module:factory"
        )
    return handler


def handler_option(function: _Function) -> _Function:
    return click.option(
        "--handler",
        callback=_check_handler,
        default="",
        metavar="MODULE:FACTORY",
        help="Use a codec in Python: package.module:factory.",
    )(function)


def _formats() -> Sequence[str]:
    from migcomp.images.open import formats

    return formats()


def _format_option(name: str) -> Callable[[_Function], _Function]:
    return click.option(
        name,
        "image_format",
        type=Name("format", _formats),
        metavar="FORMAT",
        help="Take the image for this format; ? lists them.  [default: what its "
        "content tells]",
    )


format_option = _format_option("--format")

#: Where --format is that of the report.
image_format_option = _format_option("--image-format")


def image_options(function: _Function) -> _Function:
    """--page-size, --block, --diff and --pad: what an image does not tell itself."""
    for option in (pad_option, diff_option, block_option, page_size_option):
        function = option(function)
    return function


def page_size_option(function: _Function) -> _Function:
    return click.option(
        "--page-size",
        type=PageSize(),
        default="4096",
        show_default=True,
        help="Size of the guest's pages, 4KiB to 64KiB, where the image does not tell.",
    )(function)


def pad_option(function: _Function) -> _Function:
    return click.option(
        "--pad", is_flag=True, help="Fill up a last page that is cut off."
    )(function)


def block_option(function: _Function) -> _Function:
    return click.option(
        "--block",
        "layout",
        type=RamBlock(),
        multiple=True,
        metavar="NAME:ADDRESS:SIZE",
        help="A RAM block and its guest address; repeat it for each of the blocks that "
        "lie back to back in a raw image.  [default: one block at 0]",
    )(function)


def diff_option(function: _Function) -> _Function:
    return click.option(
        "--diff",
        "diffs",
        type=FILE,
        multiple=True,
        metavar="FILE",
        help="Lay a diff of a raw image over it: a sparse file of the same size, whose "
        "holes stand for unchanged memory.  Repeat it, the oldest diff first.",
    )(function)


def force_option(function: _Function) -> _Function:
    return click.option(
        "--force", is_flag=True, help="Replace the output if it exists."
    )(function)


def report_options(function: _Function) -> _Function:
    """--json, --quiet and --color: what a command prints, and how."""
    for option in (color_option, quiet_option, json_option):
        function = option(function)
    return function


def quiet_option(function: _Function) -> _Function:
    return click.option(
        "-q", "--quiet", is_flag=True, help="Print errors only (and --json)."
    )(function)


def json_option(function: _Function) -> _Function:
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object instead."
    )(function)


def color_option(function: _Function) -> _Function:
    return click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Colour the report; auto: on a terminal without NO_COLOR.",
    )(function)
