# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp restore``: a stream back into the image it was made from."""

from __future__ import annotations

from collections.abc import Sequence

import click

from migcomp.cli.files import check_distinct, check_input, check_output, writing
from migcomp.cli.options import (
    force_option,
    handler_option,
    report_options,
    threads_option,
)
from migcomp.cli.progress import opening, progress
from migcomp.cli.summary import Summary, tell
from migcomp.cli.types import FILE
from migcomp.errors import StreamError
from migcomp.units import format_count

_RANGES_NAMED = 8


@click.command(short_help="Turn a stream back into the image.")
@click.argument("stream", type=FILE)
@click.option(
    "-o",
    "--output",
    metavar="IMAGE",
    type=FILE,
    required=True,
    help="The raw image to write; - is standard output.",
)
@click.option(
    "--salvage",
    is_flag=True,
    help="Restore what is sound of a damaged or cut-off stream, zeros for the rest; "
    "ends with code 4 when pages are missing.",
)
@threads_option
@handler_option
@force_option
@report_options
def command(
    stream: str,
    output: str,
    salvage: bool,
    threads: int | None,
    handler: str,
    force: bool,
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    """Restore the memory image in STREAM, bit for bit.

    STREAM is what migcomp run -o wrote; - is standard input, and it may be a URL.
    """
    from migcomp.outputs import OutputFile
    from migcomp.restore import codec_of, restore
    from migcomp.stream.reader import open_stream

    check_input(stream)
    check_output(output)
    check_distinct(stream, output)
    with opening(stream, quiet=quiet, color=color) as told:
        reader = open_stream(stream, told)
    with reader:
        tell(codec_of(reader, handler).notice, quiet=quiet)
        with (
            writing(output),
            OutputFile(output, force=force) as target,
            progress(
                "restoring",
                reader.pages,
                reader.header.page_size,
                quiet=quiet,
                color=color,
            ) as watch,
        ):
            result, missing = restore(
                reader,
                target,
                threads=threads,
                salvage=salvage,
                handler=handler,
                progress=watch,
                target_name=output,
            )
    more: dict[str, object] = {}
    if salvage:
        more["missing-pages"] = [
            {"first-page": pages.start, "pages": len(pages)} for pages in missing
        ]
    Summary(as_json, quiet, color, output).show(result, **more)
    if missing:
        raise StreamError(
            f"{stream} is damaged, and {output} has zeros for {_describe(missing)}"
        )


def _describe(missing: Sequence[range]) -> str:
    count = sum(map(len, missing))
    shown = ", ".join(
        str(pages.start) if len(pages) == 1 else f"{pages.start} to {pages.stop - 1}"
        for pages in missing[:_RANGES_NAMED]
    )
    if len(missing) > _RANGES_NAMED:
        shown += f" and {len(missing) - _RANGES_NAMED} more ranges (--json lists all)"
    noun = "page" if count == 1 else "pages"
    return f"{format_count(count)} missing {noun}: {shown}"
