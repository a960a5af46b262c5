# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a stream holds, and one of its pages, on the terminal and in JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migcomp.report.classes import counts_by_name, framing_bytes, page_classes
from migcomp.report.memory_map import memory_map
from migcomp.report.parts import (
    block_table,
    block_to_json,
    class_table,
    many,
    map_columns,
    map_parts,
    print_indented,
    print_text,
    rate,
    short_name,
)
from migcomp.report.printable import printable
from migcomp.results import Block, PageCounts, Region, Settings
from migcomp.units import format_count, format_size

_MAP_ROWS = 16
_FIGURES_WIDTH = 34  # beside the map
_DUMP_BYTES = 16  # of the page in a line


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


def render(contents: Contents, console: Console) -> None:
    """Print header, blocks, classes and map; what is wrong is for the caller."""
    settings = contents.settings
    console.print(
        Text(
            f"{short_name(contents.path, 'stdin')}: "
            f"{format_size(contents.image_bytes)} in "
            f"{format_size(contents.stream_bytes)}",
            style="bold",
        )
    )
    console.print()
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True, style="cyan")
    facts.add_column()
    codec = f"{settings.codec} level {settings.level}, written by {contents.provider}"
    facts.add_row("codec", printable(codec))
    facts.add_row("grouping", _grouping(settings))
    facts.add_row(
        "records",
        f"{format_count(contents.records)}; pages of {settings.page_size} bytes",
    )
    digest = "unknown" if contents.digest is None else f"{contents.digest:016x}"
    facts.add_row("image digest", digest)
    print_indented(console, facts)
    console.print()
    print_indented(console, block_table(contents.blocks, settings.page_size))
    console.print()
    print_indented(
        console, class_table(contents, settings.page_size, dedup=settings.dedup)
    )
    console.print()
    chart = memory_map(
        contents.blocks,
        contents.regions,
        settings.page_size,
        map_columns(console.width - _FIGURES_WIDTH),
        _MAP_ROWS,
    )
    print_indented(console, *map_parts(chart, console, figures=True))


def _grouping(settings: Settings) -> str:
    match settings.grouping:
        case "packet":
            text = f"packets of {many(settings.packet_pages, 'page')}"
        case "stream":
            text = (
                f"{many(settings.channels, 'stream')}, flushed every "
                f"{many(settings.packet_pages, 'page')}"
            )
        case _:
            text = "page by page"
    return text + (", deduplicated" if settings.dedup else "")


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


def render_page(page: StoredPage, console: Console) -> None:
    """Print where a page is and its bytes, as ``hexdump -C`` does."""
    equals = "" if page.equals is None else f", equal to page {page.equals}"
    console.print(
        Text(
            f"{short_name(page.path, 'stdin')}: page {page.number}, "
            f"{page.page_class}{equals}",
            style="bold",
        )
    )
    of = "it alone" if page.record_pages == 1 else many(page.record_pages, "page")
    shrunk = rate(page.record_pages * len(page.data), page.stored_bytes)
    print_text(
        console,
        f"{printable(page.block)} at guest address {page.guest_address:#x}; record of "
        f"{of} at byte {page.record_offset}, {format_size(page.stored_bytes)}, "
        f"rate {shrunk}",
    )
    console.print()
    print_dump(console, page.data)


def print_dump(console: Console, data: bytes) -> None:
    """As ``hexdump -C``, whatever the width."""
    for line in _dump(data):
        console.print(line, soft_wrap=True)


def _dump(data: bytes) -> Iterator[str]:
    before, skipping = None, False
    for offset in range(0, len(data), _DUMP_BYTES):
        piece = data[offset : offset + _DUMP_BYTES]
        if piece == before:
            if not skipping:
                yield "*"
            skipping = True
            continue
        before, skipping = piece, False
        half = _DUMP_BYTES // 2
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        digits = f"{piece[:half].hex(' ')}  {piece[half:].hex(' ')}"
        yield f"{offset:08x}  {digits}  |{text}|"
    yield f"{len(data):08x}"


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
