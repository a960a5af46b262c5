# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a stream holds, and one of its pages; both in JSON."""

from __future__ import annotations

from dataclasses import dataclass

from migcomp.report.classes import counts_by_name, framing_bytes, page_classes
from migcomp.report.json import block_to_json
from migcomp.results import Block, PageCounts, Region, Settings


@dataclass(frozen=True)
class Contents:
    """A stream's header and sizes; ``settings`` are those that it was made with.

    ``digest`` and ``problem`` exclude each other: a stream that ends early, or is
    damaged, has the sentence about that and what came before it.
    """

    path: str
    settings: Settings
    provider: str
    blocks: tuple[Block, ...]
    pages: PageCounts
    image_bytes: int
    stream_bytes: int
    compressed_bytes: int
    records: int
    digest: int | None
    problem: str
    regions: tuple[Region, ...]
    # What comes after damage is not looked at.
    missing_bytes: int = 0
    lost_bytes: int = 0


@dataclass(frozen=True)
class StoredPage:
    """``equals`` is the earlier page that a deduplicated page repeats.

    ``stored_bytes`` is what its record takes, together with ``record_pages``.
    """

    path: str
    number: int
    page_class: str
    equals: int | None
    block: str
    guest_address: int
    record_offset: int
    record_pages: int
    stored_bytes: int
    data: bytes


def contents_to_json(contents: Contents) -> dict[str, object]:
    """Schema ``migcomp.inspect/1``; words as in ``migcomp.run/1``."""
    settings = contents.settings
    size = settings.page_size
    return {
        "schema": "migcomp.inspect/1",
        "stream": {
            "path": contents.path,
            "bytes": contents.stream_bytes,
            "records": contents.records,
            "framing-bytes": framing_bytes(contents, size),
        },
        "problem": contents.problem,
        "image": {
            "bytes": contents.image_bytes,
            "digest": None if contents.digest is None else f"{contents.digest:016x}",
            "blocks": list(map(block_to_json, contents.blocks)),
        },
        "settings": {
            "codec": settings.codec,
            "level": settings.level,
            "provider": contents.provider,
            "grouping": settings.grouping,
            "page-size": size,
            "packet-pages": settings.packet_pages,
            "channels": settings.channels,
            "dedup": settings.dedup,
        },
        "classes": {
            row.name: {
                "pages": row.pages,
                "guest-bytes": row.guest_bytes,
                "stream-bytes": row.stream_bytes,
            }
            for row in page_classes(contents, size)
        },
        "regions": [
            {
                "first-page": region.first_page,
                "pages": counts_by_name(region.pages),
                "stream-bytes": region.bytes_out,
                "rate": region.pages.total * size / region.bytes_out
                if region.bytes_out
                else None,
            }
            for region in contents.regions
        ],
    }


def page_to_json(page: StoredPage) -> dict[str, object]:
    """Schema ``migcomp.page/1``; ``data`` in hexadecimal."""
    return {
        "schema": "migcomp.page/1",
        "stream": page.path,
        "page": page.number,
        "class": page.page_class,
        "equals": page.equals,
        "block": page.block,
        "guest-address": page.guest_address,
        "record": {
            "offset": page.record_offset,
            "pages": page.record_pages,
            "bytes": page.stored_bytes,
        },
        "data": page.data.hex(),
    }
