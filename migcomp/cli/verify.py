# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp verify``: is a stream sound, and the stream of an image?"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from migcomp.cli.files import STANDARD, check_input
from migcomp.cli.options import (
    format_option,
    handler_option,
    report_options,
    threads_option,
)
from migcomp.cli.progress import opening, progress
from migcomp.cli.summary import Summary, print_json, tell
from migcomp.cli.types import FILE
from migcomp.errors import MigcompError, Mismatch, StreamError

if TYPE_CHECKING:
    from migcomp.images.image import Image
    from migcomp.stream.reader import StreamReader


@click.command(short_help="Test a stream, and compare it with an image.")
@click.argument("stream", type=FILE)
@click.argument("image", type=FILE, required=False)
@threads_option
@handler_option
@format_option
@report_options
def command(
    stream: str,
    image: str | None,
    threads: int | None,
    handler: str,
    image_format: str | None,
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    """Decompress all of STREAM and test its checksums; compare it with IMAGE.

    Ends with code 0 when the stream is sound (and, with IMAGE, gives it back bit
    for bit), 4 when it is damaged, and 8 when it is the stream of another image.
    Either may be -, standard input, or a URL.
    """
    from migcomp.images.open import open_image
    from migcomp.restore import codec_of, verify
    from migcomp.stream.reader import open_stream

    if stream == image == STANDARD:
        raise click.UsageError("only one of STREAM and IMAGE can be standard input")
    if image is None and image_format is not None:
        raise click.UsageError("--format is that of IMAGE, which is missing")
    check_input(stream)
    if image is not None:
        check_input(image)
    with ExitStack() as stack:
        with opening(stream, quiet=quiet, color=color) as told:
            reader = stack.enter_context(open_stream(stream, told))
        tell(codec_of(reader, handler).notice, quiet=quiet)
        source = None
        if image is not None:
            with opening(image, quiet=quiet, color=color) as told:
                source = open_image(
                    image,
                    page_size=reader.header.page_size,
                    pad=True,
                    format=image_format,
                    watch=told,
                )
            stack.enter_context(source)
        watch = stack.enter_context(
            progress(
                "verifying",
                reader.pages,
                reader.header.page_size,
                quiet=quiet,
                color=color,
            )
        )
        try:
            if source is not None:
                _check_length(reader, source)
            result = verify(
                reader, source, threads=threads, handler=handler, progress=watch
            )
        except (Mismatch, StreamError) as error:
            if as_json:
                print_json(_refusal(error, stream, image))
            raise
    verdict = "sound" if image is None else "equal"
    Summary(as_json, quiet, color).show(result, verdict=verdict)


def _check_length(reader: StreamReader, source: Image) -> None:
    """Raises Mismatch before any work where both lengths are known to differ."""
    if reader.header.pages is None or source.pages is None:
        return
    expected = sum(block.length for block in reader.header.blocks)
    actual = sum(block.length for block in source.blocks)
    if actual != expected:
        raise Mismatch(
            f"{reader.path} is of an image of {expected} bytes, and {source.path} "
            f"has {actual}"
        )


def _refusal(
    error: MigcompError, stream: str, image: str | None
) -> Mapping[str, object]:
    return {
        "schema": "migcomp.verify/1",
        "operation": "verify",
        "stream": {"path": stream},
        "image": {"path": image or ""},
        "verdict": "different" if isinstance(error, Mismatch) else "damaged",
        "reason": str(error),
    }
