# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parts that several reports on the terminal have in common."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from migcomp.report.classes import Volume, framing_bytes, page_classes
from migcomp.report.memory_map import (
    ASCII_MARKS,
    MARKS,
    MemoryMap,
    format_address,
    legend,
)
from migcomp.report.printable import printable
from migcomp.results import Block
from migcomp.units import format_count, format_share, format_size

INDENT = 2
_ADDRESS_WIDTH = 12
_BLOCKS_SHOWN = 12
_STYLES = {
    "zero": "dim",
    "same-filled": "blue",
    "deduplicated": "cyan",
    "compressed": "green",
    "normal": "red",
    "light": "green",
    "medium": "yellow",
    "dark": "magenta",
    "full": "red",
    "missing": "bold red",
}


def print_indented(
    console: Console, *parts: RenderableType, least_width: int = 0
) -> None:
    """In the width of ``console``; what needs up to ``least_width`` is not cut."""
    options = console.options.update_width(max(console.width, least_width))
    for part in parts:
        padded = Padding(part, (0, 0, 0, INDENT), expand=False)
        for line in console.render_lines(padded, options, pad=False):
            console.print(Segments([*_cut_blanks(line), Segment.line()]))


def _cut_blanks(line: list[Segment]) -> list[Segment]:
    """Without those at its end, with which tables fill up their cells."""
    kept = list(line)
    while kept and not kept[-1].text.rstrip():
        kept.pop()
    if kept:
        kept[-1] = Segment(kept[-1].text.rstrip(), kept[-1].style)
    return kept


def print_text(console: Console, text: str, style: str = "", mark: str = "") -> None:
    """``mark`` stands before the first line, and the others are indented as far."""
    # Not rich's wrapping, which fills lines up with blanks.
    hanging = " " * len(mark)
    for line in textwrap.wrap(
        mark + text, console.width - INDENT, subsequent_indent=hanging
    ):
        console.print(Text(" " * INDENT + line, style=style))


def short_name(path: str, standard: str) -> str:
    """The last part of ``path``, all of a device's, or ``standard`` for ``-``."""
    if path == "-":
        return standard
    return printable(path if path.startswith("/dev/") else path.rpartition("/")[2])


def distinct_names(paths: Iterable[str]) -> dict[str, str]:
    """The short name of each; all of a path where another has the same short name."""
    short = {path: short_name(path, path) for path in paths}
    count = Counter(short.values())
    return {
        path: name if count[name] == 1 else printable(path)
        for path, name in short.items()
    }


def some(names: Sequence[str], most: int) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - most
    return "; ".join(names[:most]) + (f"; and {more} more" if more > 0 else "")


def rate(bytes_in: int, bytes_out: int) -> str:
    """Empty when nothing went out."""
    if not bytes_out:
        return ""
    quotient = bytes_in / bytes_out
    return f"{quotient:.2f}" if quotient < 100 else format_count(quotient)


def plain_table(first: str, *others: str) -> Table:
    """A table without lines; all columns but the first hold numbers."""
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column(first, no_wrap=True, min_width=_ADDRESS_WIDTH)
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def block_table(blocks: Sequence[Block], page_size: int) -> Table:
    """RAM blocks, many small ones summed up."""
    table = plain_table("RAM block", "guest address", "size", "pages")
    for block in blocks[:_BLOCKS_SHOWN]:
        table.add_row(
            Text(printable(block.name)),
            format_address(block.guest_address),
            format_size(block.length),
            format_count(-(-block.length // page_size)),
        )
    rest = blocks[_BLOCKS_SHOWN:]
    if rest:
        table.add_row(
            f"and {len(rest)} more",
            "",
            format_size(sum(block.length for block in rest)),
            format_count(sum(-(-block.length // page_size) for block in rest)),
        )
    return table


def class_table(volume: Volume, page_size: int, *, dedup: bool) -> Table:
    """Pages and bytes by class; ``dedup``: there may be deduplicated pages."""
    table = plain_table("pages", "number", "share", "guest", "stream", "rate")
    total = volume.pages.total
    saved = volume.image_bytes - volume.missing_bytes
    for row in page_classes(volume, page_size):
        off = row.name == "deduplicated" and not dedup
        table.add_row(
            Text(row.name, style=_STYLES[row.name]),
            "off" if off and not row.pages else format_count(row.pages),
            format_share(row.pages, total),
            format_size(row.guest_bytes),
            format_size(row.stream_bytes) if row.stream_bytes else "",
            rate(row.guest_bytes, row.stream_bytes),
        )
    framing = framing_bytes(volume, page_size)
    table.add_row("framing", "", "", "", format_size(framing), "")
    table.add_row(
        "total",
        format_count(total),
        format_share(total, total),
        format_size(saved),
        format_size(volume.stream_bytes - volume.lost_bytes),
        rate(saved, volume.stream_bytes - volume.lost_bytes),
        style="bold",
    )
    if volume.missing_bytes or volume.lost_bytes:
        table.add_row(
            Text("missing", style=_STYLES["missing"]),
            format_count(-(-volume.missing_bytes // page_size)),
            "",
            format_size(volume.missing_bytes),
            format_size(volume.lost_bytes),
        )
    return table


def map_columns(width: int) -> int:
    """Cells that fit into a row of a map ``width`` wide."""
    return max(16, min(64, width - _ADDRESS_WIDTH - 2))


def map_parts(
    chart: MemoryMap, console: Console, *, figures: bool = False
) -> list[RenderableType]:
    """Heading, rows and legend; with ``figures``, what each row takes."""
    if not chart.rows:
        return []
    marks = ASCII_MARKS if console.options.ascii_only else MARKS
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", no_wrap=True, min_width=_ADDRESS_WIDTH)
    grid.add_column(no_wrap=True)
    for _ in range(3 if figures else 0):
        grid.add_column(justify="right", no_wrap=True)
    for row in chart.rows:
        cells = Text()
        for name in row.cells:
            cells.append(marks[name], style=_STYLES[name])
        sizes = (
            format_size(row.guest_bytes),
            format_size(row.stream_bytes),
            rate(row.guest_bytes, row.stream_bytes),
        )
        grid.add_row(row.label, cells, *(sizes if figures else ()))
    heading = Text("memory map", style="cyan")
    heading.append(
        f"  by guest address, {format_size(chart.cell_bytes)} to a cell"
        + ("; guest memory, records, rate" if figures else ""),
        style="default",
    )
    return [heading, grid, *_key(chart, marks, console.width - INDENT)]


def _key(chart: MemoryMap, marks: dict[str, str], width: int) -> list[Text]:
    """In lines that end between two entries."""
    lines = [Text()]
    for name, meaning in legend(chart, marks):
        if lines[-1] and len(lines[-1]) + 2 + len(meaning) > width:
            lines.append(Text())
        lines[-1].append("  " if lines[-1] else "").append(meaning, _STYLES[name])
    return lines
