# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading what ``migcomp inspect`` shows out of a memory image."""

from __future__ import annotations

from migcomp.choice import Choice
from migcomp.errors import ImageError
from migcomp.images.decode import read_page, readable_again
from migcomp.images.image import Image, pages_in
from migcomp.pipeline import Progress, compress
from migcomp.report.image import ImageContents, ImagePage
from migcomp.results import Block


def read_image(image: Image, progress: Progress | None) -> ImageContents:
    """Every page is looked at.  Raises ImageError."""
    result = compress(image, None, Choice(codec="none"), progress=progress)
    return ImageContents(
        path=image.path,
        format=image.format,
        page_size=image.page_size,
        blocks=result.blocks,
        pages=result.pages,
        regions=result.regions,
        facts=image.facts,
    )


def read_image_page(image: Image, number: int) -> ImagePage:
    """Raises ImageError."""
    if image.pages is None:
        with readable_again(image) as copy:
            return read_image_page(copy, number)
    block, address = _place(image, number)
    data = read_page(image, number)
    return ImagePage(image.path, number, _class_of(data), block.name, address, data)


def _place(image: Image, number: int) -> tuple[Block, int]:
    first = 0
    for block in image.blocks:
        pages = pages_in(block.length, image.page_size)
        if number < first + pages:
            return block, block.guest_address + (number - first) * image.page_size
        first += pages
    raise ImageError(
        f"{image.path} has no page {number}; its pages are 0 to {first - 1}"
    )


def _class_of(data: bytes) -> str:
    if not any(data):
        return "zero"
    return "same-filled" if data[8:] == data[:-8] else "normal"
