# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a stream holds, and one of its pages, on the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migcomp.report.contents import Contents, StoredPage
from migcomp.report.memory_map import memory_map
from migcomp.report.parts import (
    block_table,
    class_table,
    map_columns,
    map_parts,
    print_indented,
    print_text,
    rate,
    short_name,
)
from migcomp.report.printable import printable
from migcomp.results import Settings
from migcomp.units import format_count, format_size, many

_MAP_ROWS = 16
_FIGURES_WIDTH = 34  # beside the map
_DUMP_BYTES = 16  # of the page in a line


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
