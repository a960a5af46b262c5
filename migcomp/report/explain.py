# SPDX-License-Identifier: LGPL-2.1-or-later
"""An explanation of an image on the terminal: one screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migcomp.explain.layout import SMALL
from migcomp.explain.results import ENTROPY_STEPS, FEWEST, Explanation, Stretch, Tally
from migcomp.report.explain_advice import advice, sent_bytes
from migcomp.report.memory_map import format_address
from migcomp.report.parts import (
    print_indented,
    print_text,
    short_name,
)
from migcomp.report.printable import printable
from migcomp.units import format_count, format_seconds, format_size, many

_BAR = 18
_MARKS = {"zero": "·", "same-filled": "-", "duplicate": "=", "content": "█"}
_ASCII_MARKS = {"zero": ".", "same-filled": "-", "duplicate": "=", "content": "#"}
_STYLES = {
    "zero": "dim",
    "same-filled": "blue",
    "duplicate": "cyan",
    "content": "green",
}
#: Distances of duplicates, as powers of two from which a column counts.
DISTANCES = (0, 1, 4, 7, 10, 13, 16)
NAMES = {
    "zero": "zero pages left out",
    "same-filled": "same-filled by pattern",
    "deduplication": "equal pages once",
    "page": "zstd page by page",
    "packet": "zstd in packets",
    "dictionary": "zstd with dictionary",
    "unchanged": "unchanged left out",
    "delta": "changed: zstd deltas",
    "xbzrle": "changed: XBZRLE",
}


def render(found: Explanation, console: Console) -> None:
    """Print all of it in the width that ``console`` has, 80 columns at least: what to
    do first, then why."""
    console.print(Text(headline(found), style="bold"))
    console.print()
    for sentence in advice(found):
        print_text(console, sentence, mark="- ")
    console.print()
    print_indented(console, *_stretches(found, console.options.ascii_only))
    console.print()
    print_indented(console, *_spread(found))
    console.print()
    print_indented(console, _techniques(found, console.options.ascii_only))
    console.print()
    for line in measured(found):
        print_text(console, line, style="dim")


def headline(found: Explanation) -> str:
    return f"{short_name(found.image, 'stdin')}: {summary(found)}"


def summary(found: Explanation) -> str:
    about = "" if found.sample.whole else "about "
    return (
        f"{format_size(found.image_bytes)} of memory, {about}"
        f"{format_size(sent_bytes(found))} to send when compressed"
    )


def classes(tally: Tally) -> dict[str, int]:
    """Pages by the names that reports print."""
    return {
        "zero": tally.zero,
        "same-filled": tally.same_filled,
        "duplicate": tally.duplicate,
        "content": tally.content,
    }


def place(stretch: Stretch) -> str:
    if stretch.guest_address is None:
        return f"{stretch.blocks} small"
    return format_address(stretch.guest_address)


def _stretches(found: Explanation, ascii_only: bool) -> tuple[Table, Text]:
    marks = _ASCII_MARKS if ascii_only else _MARKS
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("address", justify="right", no_wrap=True, min_width=9)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=_BAR)
    for heading in ("zero", "same", "dup.", "content", "bits/B"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stretch in found.stretches:
        table.add_row(place(stretch), *_cells(stretch.tally, found.page_size, marks))
    table.add_row("all", *_cells(found.total, found.page_size, marks), style="bold")
    legend = Text()
    for name, mark in marks.items():
        legend.append("  " if legend else "").append(f"{mark} {name}", _STYLES[name])
    if small := [each for each in found.stretches if each.guest_address is None]:
        legend.append(
            f"\n{place(small[0])}: RAM blocks below 1/{SMALL} of the image, as one row",
            "dim",
        )
    return table, legend


def _cells(tally: Tally, page_size: int, marks: dict[str, str]) -> Sequence[str | Text]:
    return (
        format_size(tally.total * page_size),
        _bar(tally, marks),
        *(_percent(pages, tally.total) for pages in classes(tally).values()),
        "" if tally.entropy is None else f"{tally.entropy:.2f}",
    )


def _bar(tally: Tally, marks: dict[str, str]) -> Text:
    bar, passed = Text(), 0
    for name, pages in classes(tally).items():
        start = round(_BAR * passed / max(tally.total, 1))
        passed += pages
        end = round(_BAR * passed / max(tally.total, 1))
        bar.append(marks[name] * (end - start), _STYLES[name])
    return bar


def _percent(part: int, whole: int) -> str:
    """Whole percents, as few columns as they take; of very little the fact."""
    if part and part * 200 < whole:
        return "<1 %"
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def _spread(found: Explanation) -> Sequence[Table]:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("content by entropy", no_wrap=True, min_width=22)
    for bits in range(8):
        table.add_column(f"{bits}-{bits + 1}", justify="right", width=5)
    by_bits = [
        sum(found.entropies[n * ENTROPY_STEPS : (n + 1) * ENTROPY_STEPS])
        for n in range(8)
    ]
    table.add_row(
        "bits to a byte",
        *(_percent(pages, found.total.content) for pages in by_bits),
    )
    if not found.total.duplicate:
        return (table,)
    behind = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="cyan")
    behind.add_column("duplicates by distance", no_wrap=True, min_width=22)
    for first in DISTANCES:
        behind.add_column(from_pages(first), justify="right", width=5)
    behind.add_row(
        "pages, at least",
        *(_percent(pages, found.total.duplicate) for pages in by_distance(found)),
    )
    return table, behind


def from_pages(power: int) -> str:
    """A heading of DISTANCES."""
    return f"{1 << power}" if power < 10 else f"{1 << power - 10}Ki"


def by_distance(found: Explanation) -> list[int]:
    """Duplicates in each column of DISTANCES."""
    ends = (*DISTANCES[1:], len(found.distances))
    return [
        sum(found.distances[start:end])
        for start, end in zip(DISTANCES, ends, strict=True)
    ]


def _techniques(found: Explanation, ascii_only: bool) -> Table:
    sign = "+-" if ascii_only else "±"
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="cyan")
    table.add_column("technique", no_wrap=True)
    for heading in ("of guest", "sent", "", "saved", "CPU s/GiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for technique in found.techniques:
        if technique.key == "page":
            table.add_row(Text("and for the content", style="cyan"))
        if technique.key == "unchanged" and found.previous:
            earlier = short_name(found.previous.path, "stdin")
            table.add_row(Text(f"since {earlier}", style="cyan"))
        error = technique.sent.error
        table.add_row(
            NAMES[technique.key],
            format_size(technique.guest_bytes),
            format_size(technique.sent.value),
            f"{sign} {format_size(error)}" if error else "",
            format_size(technique.saved.value),
            _cost(technique.cpu_seconds_per_gib),
        )
    return table


def _cost(seconds: float) -> str:
    """What is measured is not nothing."""
    return "<0.01" if 0 < seconds < 0.005 else f"{seconds:.2f}"


def measured(found: Explanation) -> list[str]:
    """How far the figures can be trusted, and whence they come."""
    sample, codec = found.sample, found.codec
    library = " ".join(filter(None, (codec.provider, codec.version)))
    packets = f"{many(sample.packets_of, 'packet')} of {sample.packet_pages} pages"
    size = format_size(sample.pages * found.page_size)
    if not sample.packets:
        tried = "There was nothing to try compression on."
    elif sample.whole:
        tried = f"Compression was tried on everything: {packets} ({size})."
    else:
        tried = (
            f"Compression was tried on {format_count(sample.packets)} of {packets} "
            f"({size} of {format_size(sample.pages_of * found.page_size)}; seed "
            f"{sample.seed}): 19 times of 20 the true value is as near as said."
        )
        if sample.raised:
            tried += f" Fewer than {FEWEST} packets, as asked for, would not tell that."
    lines = [tried]
    if found.dictionary:
        lines.append(
            f"The dictionary ({format_size(found.dictionary.size)}) was trained on "
            f"{many(found.dictionary.pages, 'page')} and tried on others."
        )
    machine = found.machine
    lines.append(
        f"CPU times are for each GiB of the image; zstd level {found.level} by "
        f"{printable(library)}, in {format_seconds(found.wall_seconds)} on "
        f"{machine.cpu}, {many(machine.usable_cpus, 'usable CPU')}."
    )
    return lines
