# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp convert``: an image in another format."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from migcomp.cli.files import check_distinct, check_input, check_output, writing
from migcomp.cli.options import (
    force_option,
    format_option,
    image_options,
    report_options,
    threads_option,
)
from migcomp.cli.progress import opening, progress
from migcomp.cli.summary import print_json, tell
from migcomp.cli.types import FILE, Name
from migcomp.errors import CodecUnavailable, MigcompError
from migcomp.units import format_size

if TYPE_CHECKING:
    from migcomp.results import Block


def _formats() -> Sequence[str]:
    from migcomp.convert.formats import FORMATS

    return FORMATS


@click.command(short_help="Write an image in another format.")
@click.argument("image", type=FILE)
@click.argument("output", type=FILE)
@click.option(
    "--to",
    type=Name("format", _formats),
    required=True,
    help="The format to write.",
)
@click.option(
    "-c",
    "--codec",
    metavar="CODEC",
    help="Compress pages: none or zlib in a QEMU stream, zlib, zstd or none in "
    "kdump, zstd in seekable-zstd, any in ours.",
)
@click.option(
    "-l", "--level", type=int, metavar="N", help="Compression level.  [default: 1]"
)
@threads_option
@format_option
@image_options
@force_option
@report_options
def command(
    image: str,
    output: str,
    to: str,
    codec: str | None,
    level: int | None,
    threads: int | None,
    image_format: str | None,
    page_size: int,
    layout: tuple[Block, ...],
    diffs: tuple[str, ...],
    pad: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    """Write the memory image IMAGE to OUTPUT in another format.

    A raw image has the RAM blocks back to back, lime and elf have their guest
    addresses, too; zero pages are holes.  In kdump each page is compressed.
    seekable-zstd is the raw image in zstd frames with a seek table: zstd -d restores
    it.  Of a QEMU migration stream written as one, all but the pages stays as it
    was: QEMU loads it (after migrate-set-capabilities with compress on, if --codec
    is zlib).  Either file may be -, standard input or output.
    """
    from migcomp.convert.addresses import warning
    from migcomp.convert.convert import Wish, check_codec, convert
    from migcomp.images.open import image_path, open_image
    from migcomp.outputs import OutputFile

    try:
        check_codec(to, codec, level)
    except CodecUnavailable:
        raise
    except MigcompError as error:
        raise click.UsageError(str(error)) from error
    check_input(image)
    check_output(output)
    for path in (image_path(image), *diffs):
        check_distinct(path, output)
    with opening(image, quiet=quiet, color=color) as told:
        source = open_image(
            image,
            page_size=page_size,
            layout=layout,
            pad=pad,
            format=image_format,
            diffs=diffs,
            watch=told,
        )
    with source:
        with (
            writing(output),
            OutputFile(output, force=force) as sink,
            progress(
                "converting", source.pages, source.page_size, quiet=quiet, color=color
            ) as watch,
        ):
            convert(source, sink, to, Wish(codec, level, threads, watch))
            written = os.fstat(sink.fileno()).st_size if sink.is_regular else None
        tell(warning(source, to), quiet=quiet)
        _report(source.path, source.format, output, to, written, as_json, quiet)


def _report(
    path: str,
    source_format: str,
    output: str,
    to: str,
    written: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    file = sys.stderr if output == "-" else sys.stdout
    if as_json:
        print_json(
            {
                "schema": "migcomp.convert/1",
                "from": {"path": path, "format": source_format},
                "to": {"path": output, "format": to, "bytes": written},
            },
            file,
        )
    elif not quiet:
        from migcomp.report.parts import short_name

        size = "" if written is None else f", {format_size(written)}"
        source, target = short_name(path, "stdin"), short_name(output, "stdout")
        click.echo(f"{source} ({source_format}) written to {target} ({to}{size})", file)
