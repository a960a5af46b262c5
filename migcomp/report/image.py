# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a memory image holds, and one of its pages; both in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from migcomp.report.classes import counts_by_name
from migcomp.report.json import block_to_json
from migcomp.results import Block, PageCounts, Region


@dataclass(frozen=True)
class ImageContents:
    """``pages`` are zero, same-filled or normal; ``facts`` are Image.facts."""

    path: str
    format: str
    page_size: int
    blocks: tuple[Block, ...]
    pages: PageCounts
    regions: tuple[Region, ...]
    facts: Mapping[str, object]

    @property
    def image_bytes(self) -> int:
        return sum(block.length for block in self.blocks)


@dataclass(frozen=True)
class ImagePage:
    path: str
    number: int
    page_class: str
    block: str
    guest_address: int
    data: bytes


def image_counts(pages: PageCounts) -> dict[str, int]:
    """By the classes that pages of an image have."""
    counts = counts_by_name(pages)
    return {name: counts[name] for name in ("zero", "same-filled", "normal")}


def image_to_json(contents: ImageContents) -> dict[str, object]:
    """Schema ``migcomp.image/1``; ``facts`` are the format's own."""
    return {
        "schema": "migcomp.image/1",
        "image": {
            "path": contents.path,
            "format": contents.format,
            "bytes": contents.image_bytes,
            "page-size": contents.page_size,
            "blocks": list(map(block_to_json, contents.blocks)),
        },
        "classes": {
            name: {"pages": pages, "guest-bytes": pages * contents.page_size}
            for name, pages in image_counts(contents.pages).items()
        },
        "facts": contents.facts,
        "regions": [
            {"first-page": region.first_page, "pages": image_counts(region.pages)}
            for region in contents.regions
        ],
    }


def image_page_to_json(page: ImagePage) -> dict[str, object]:
    """Schema ``migcomp.image-page/1``; ``data`` in hexadecimal."""
    return {
        "schema": "migcomp.image-page/1",
        "image": page.path,
        "page": page.number,
        "class": page.page_class,
        "block": page.block,
        "guest-address": page.guest_address,
        "data": page.data.hex(),
    }
