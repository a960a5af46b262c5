# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing LiME images: the RAM blocks by guest address, a header before each.

images/lime.py tells where the format is described.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migcomp.convert.flat import block_lengths, by_address, write_flat
from migcomp.images.image import Image
from migcomp.images.lime import FORMAT as FORMAT
from migcomp.images.lime import HEADER, VERSION
from migcomp.images.signatures import LIME
from migcomp.outputs import OutputFile

if TYPE_CHECKING:
    from migcomp.convert.convert import Wish

CODECS: tuple[str, ...] = ()


def write(image: Image, sink: OutputFile, wish: Wish) -> None:
    lengths = block_lengths(image)

    def header(block: int) -> bytes:
        start = image.blocks[block].guest_address
        return HEADER.pack(LIME, VERSION, start, start + lengths[block] - 1, b"")

    pieces = [(header(block), block) for block in by_address(image)]
    write_flat(image, sink, wish, pieces)
