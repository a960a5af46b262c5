# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp run``: compress an image and report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from migcomp.cli.files import check_distinct, check_input, check_output, writing
from migcomp.cli.options import (
    force_option,
    format_option,
    given,
    handler_option,
    image_options,
    max_requests,
    report_options,
    threads_option,
)
from migcomp.cli.progress import opening, progress
from migcomp.cli.summary import Summary, tell
from migcomp.cli.types import FILE, Count, CpuList, Name
from migcomp.errors import MigcompError

if TYPE_CHECKING:
    from migcomp.results import Block


def _codecs() -> Sequence[str]:
    from migcomp.codecs import CODECS

    return CODECS


def _max_channels() -> int:
    from migcomp._core import CHANNELS_MAX

    return CHANNELS_MAX


@click.command(short_help="Compress a memory image and report.")
@click.argument("image", type=FILE)
@click.option(
    "-o",
    "--output",
    metavar="STREAM",
    type=FILE,
    help="Keep the stream there; - is standard output.  Without it the stream is "
    "produced and counted, but not kept.",
)
@click.option(
    "-c",
    "--codec",
    type=Name("codec", _codecs),
    default="zstd",
    show_default=True,
    help="See migcomp codecs.",
)
@click.option(
    "-l",
    "--level",
    "--compress-level",
    "level",
    type=int,
    metavar="N",
    help="Compression level; migcomp codecs shows the range.  [default: 1]",
)
@threads_option
@click.option(
    "-r",
    "--requests-per-thread",
    type=Count(max_requests),
    metavar="N",
    default=4,
    show_default=True,
    help="Requests that each thread has in hand.",
)
@click.option(
    "-g",
    "--grouping",
    type=click.Choice(["page", "packet", "stream"]),
    default="packet",
    show_default=True,
    help="What is compressed together: one page; a packet of pages; or each "
    "channel's packets one after the other with history kept, as multifd does.",
)
@click.option(
    "--packet-pages",
    type=Count(),
    metavar="N",
    help="Pages in a packet.  [default: 512 KiB of them]",
)
@click.option(
    "--request-pages",
    type=Count(),
    metavar="N",
    help="Pages handed to a thread at once, with --grouping page.  [default: a packet]",
)
@click.option(
    "--channels",
    "--multifd-channels",
    "channels",
    type=Count(_max_channels),
    metavar="N",
    default=2,
    show_default=True,
    help="Channels of --grouping stream.",
)
@click.option("--dedup", is_flag=True, help="Send equal pages once.")
@handler_option
@format_option
@image_options
@click.option(
    "--cpus", type=CpuList(), metavar="LIST", help="Pin the threads to 0,1 or 0-3."
)
@force_option
@report_options
def command(
    image: str,
    output: str | None,
    codec: str,
    level: int | None,
    threads: int | None,
    requests_per_thread: int,
    grouping: str,
    packet_pages: int | None,
    request_pages: int | None,
    channels: int,
    dedup: bool,
    handler: str,
    image_format: str | None,
    page_size: int,
    layout: tuple[Block, ...],
    diffs: tuple[str, ...],
    pad: bool,
    cpus: tuple[int, ...] | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    """Compress the memory image IMAGE and report what it cost and brought.

    Its content tells its format; what is none of the known ones is raw guest
    memory.  - is standard input.
    """
    from migcomp.choice import Choice
    from migcomp.codecs import open_codec
    from migcomp.images.open import image_path, open_image
    from migcomp.pipeline import compress

    if handler and given("codec"):
        raise click.UsageError("--handler takes the place of --codec; give one of them")
    if given("channels") and grouping != "stream":
        raise click.UsageError(
            "--channels has a meaning with --grouping stream only; leave it out"
        )
    check_input(image)
    for path in (image_path(image), *diffs):
        check_distinct(path, output)
    library = open_codec(codec, level=level, grouping=grouping, handler=handler)
    tell(library.notice, quiet=quiet)
    choice = Choice(
        codec=codec,
        level=level,
        grouping=grouping,
        threads=threads,
        requests_per_thread=requests_per_thread,
        request_pages=request_pages,
        packet_pages=packet_pages,
        channels=channels,
        dedup=dedup,
        handler=handler,
        cpus=cpus or (),
    )
    try:
        choice.settings(library, page_size)
    except MigcompError as error:
        raise click.UsageError(str(error)) from error
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
    with (
        source,
        progress(
            "compressing", source.pages, source.page_size, quiet=quiet, color=color
        ) as watch,
    ):
        if output is None:
            result = compress(source, None, choice, progress=watch)
        else:
            from migcomp.outputs import OutputFile

            check_output(output)
            with writing(output), OutputFile(output, force=force) as sink:
                result = compress(
                    source, sink, choice, progress=watch, stream_name=output
                )
    Summary(as_json, quiet, color, output).show(result)
