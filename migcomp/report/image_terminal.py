# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a memory image holds, and one of its pages, on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migcomp.report.contents_terminal import print_dump
from migcomp.report.image import ImageContents, ImagePage, image_counts
from migcomp.report.memory_map import memory_map
from migcomp.report.parts import (
    block_table,
    map_columns,
    map_parts,
    plain_table,
    print_indented,
    print_text,
    short_name,
)
from migcomp.report.printable import printable
from migcomp.units import format_count, format_share, format_size

_MAP_ROWS = 16
_ROWS_SHOWN = 64  # of a table of the format's own
_LABELS = {"instance": "inst", "version": "ver"}


def render_image(contents: ImageContents, console: Console) -> None:
    console.print(
        Text(
            f"{short_name(contents.path, 'stdin')}: {contents.format} image, "
            f"{format_size(contents.image_bytes)}",
            style="bold",
        )
    )
    console.print()
    facts = {"page size": f"{contents.page_size} bytes", **contents.facts}
    _render_facts(facts, console)
    print_indented(console, block_table(contents.blocks, contents.page_size))
    console.print()
    print_indented(console, _class_table(contents))
    console.print()
    chart = memory_map(
        contents.blocks,
        contents.regions,
        contents.page_size,
        map_columns(console.width - 2),
        _MAP_ROWS,
    )
    print_indented(console, *map_parts(chart, console))


def _render_facts(facts: Mapping[str, object], console: Console) -> None:
    """First what is one value, then lists of values, then tables."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="cyan")
    grid.add_column()
    tables = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            for part, values in value.items():
                shown = (
                    ", ".join(f"{key} {_text(item)}" for key, item in values.items())
                    if isinstance(values, Mapping)
                    else _text(values)
                )
                grid.add_row(Text(printable(str(part))), Text(shown))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            tables[name] = value
        else:
            grid.add_row(Text(printable(name)), Text(_text(value)))
    print_indented(console, grid)
    console.print()
    for rows in tables.values():
        if rows:
            print_indented(console, _fact_table(rows))
            console.print()


def _fact_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Texts to the left, numbers to the right."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="cyan")
    for name, value in rows[0].items():
        left = isinstance(value, str)
        table.add_column(
            _LABELS.get(name, name), justify="left" if left else "right", no_wrap=True
        )
    for row in rows[:_ROWS_SHOWN]:
        table.add_row(*(Text(_text(value)) for value in row.values()))
    if len(rows) > _ROWS_SHOWN:
        table.add_row(f"and {len(rows) - _ROWS_SHOWN} more")
    return table


def _text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return format_count(value)
    return printable(str(value))


def _class_table(contents: ImageContents) -> Table:
    table = plain_table("pages", "number", "share", "guest")
    total = contents.pages.total
    for name, pages in image_counts(contents.pages).items():
        table.add_row(
            name,
            format_count(pages),
            format_share(pages, total),
            format_size(pages * contents.page_size),
        )
    return table


def render_image_page(page: ImagePage, console: Console) -> None:
    """Where a page is and its bytes, as ``hexdump -C`` does."""
    console.print(
        Text(
            f"{short_name(page.path, 'stdin')}: page {page.number}, {page.page_class}",
            style="bold",
        )
    )
    print_text(
        console, f"{printable(page.block)} at guest address {page.guest_address:#x}"
    )
    console.print()
    print_dump(console, page.data)
