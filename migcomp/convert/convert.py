# SPDX-License-Identifier: LGPL-2.1-or-later
"""Converting an image: pages -> workqueue -> writer of the wanted format.

A writer is a module of this package with the attributes of :class:`Writer`, named
as its format in FORMATS, and imported only when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from migcomp.codecs import open_codec
from migcomp.errors import MigcompError
from migcomp.images.decode import readable_again
from migcomp.images.image import Image
from migcomp.outputs import OutputFile
from migcomp.pipeline import copied_to


@dataclass(frozen=True)
class Wish:
    """How pages shall be stored; None stands for the format's default.

    ``progress`` is called with the pages and bytes done so far.
    """

    codec: str | None = None
    level: int | None = None
    threads: int | None = None
    progress: Callable[[int, int], None] | None = None


class Writer(Protocol):
    """What a module that writes a format has.

    ``CODECS`` are those that it can store pages with, the default first.
    """

    FORMAT: str
    CODECS: tuple[str, ...]

    def write(self, image: Image, sink: OutputFile, wish: Wish) -> None:
        """``image`` is no pipe.  Raises ImageError, CodecUnavailable, WorkerError
        and the sink's OSError."""


def check_codec(to: str, codec: str | None, level: int | None = None) -> None:
    """Raises MigcompError if the format cannot store pages so, LevelUnknown and
    CodecUnavailable."""
    codecs = _writer(to).CODECS
    if not codecs and (codec, level) != (None, None):
        raise MigcompError(f"format {to} has no codecs")
    if codec is not None and codec not in codecs:
        raise MigcompError(
            f"format {to} has codecs {', '.join(codecs)}, and not {codec}"
        )
    if level is not None:
        open_codec(codec or codecs[0], level=level)


def convert(image: Image, sink: OutputFile, to: str, wish: Wish) -> None:
    """Writes ``image`` to ``sink`` in the format ``to``, one of FORMATS.

    Raises what check_codec and Writer.write do.
    """
    check_codec(to, wish.codec, wish.level)
    writer = _writer(to)
    if image.page_map is not None:
        writer.write(image, sink, wish)
        return
    with readable_again(image, copied_to(wish.progress)) as copy:
        writer.write(copy, sink, wish)


def _writer(to: str) -> Writer:
    return cast(Writer, import_module(f"{__package__}.{to.replace('-', '_')}"))
