# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing raw images: the RAM blocks back to back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migcomp.convert.flat import write_flat
from migcomp.convert.stored import memory_length
from migcomp.images.image import Image
from migcomp.outputs import OutputFile

if TYPE_CHECKING:
    from migcomp.convert.convert import Wish

FORMAT = "raw"
CODECS: tuple[str, ...] = ()


def write(image: Image, sink: OutputFile, wish: Wish) -> None:
    pieces = [(b"", block) for block in range(len(image.blocks))]
    write_flat(image, sink, wish, pieces, memory_length(image))
