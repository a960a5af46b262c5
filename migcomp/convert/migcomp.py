# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing our own streams, as ``migcomp run -o`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migcomp.choice import Choice
from migcomp.codecs import CODECS as ALL_CODECS
from migcomp.images.image import Image
from migcomp.outputs import OutputFile
from migcomp.pipeline import compress

if TYPE_CHECKING:
    from migcomp.convert.convert import Wish

FORMAT = "migcomp"
CODECS: tuple[str, ...] = ALL_CODECS


def write(image: Image, sink: OutputFile, wish: Wish) -> None:
    choice = Choice(
        codec=wish.codec or CODECS[0], level=wish.level, threads=wish.threads
    )
    compress(image, sink, choice, progress=wish.progress)
