# SPDX-License-Identifier: LGPL-2.1-or-later
"""An explanation of an image as a page, and as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from migcomp.explain.results import ENTROPY_STEPS, Explanation
from migcomp.report.explain import (
    DISTANCES,
    NAMES,
    by_distance,
    classes,
    from_pages,
    headline,
    measured,
    place,
    summary,
)
from migcomp.report.explain_advice import advice
from migcomp.report.html.charts import (
    COLORS,
    NEUTRAL,
    Chart,
    Draw,
    Table,
    chart,
    legend_above,
    png,
    rows_axis,
)
from migcomp.report.html.maps import Color, map_drawing, shade
from migcomp.report.html.page import page
from migcomp.report.parts import short_name
from migcomp.results import Region
from migcomp.units import format_count, format_share, format_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CLASS_COLORS = {
    "zero": NEUTRAL,
    "same-filled": COLORS[0],
    "duplicate": COLORS[4],
    "content": COLORS[1],
}
_ZERO_ALPHA = 0.35
_MIB = 1 << 20


def to_html(found: Explanation) -> bytes:
    """One file that needs nothing else.  Raises ExtraMissing."""
    name = short_name(found.image, "stdin")
    return page(
        "explain.html",
        title=f"{name}: where the memory goes",
        lead=summary(found),
        advice=advice(found),
        charts=[
            _map(found),
            _shares(found),
            *_spread(found),
            _techniques(found),
            _costs(found),
        ],
        measured=measured(found),
    )


def to_png(found: Explanation) -> bytes:
    """All charts of the page in one picture."""
    draws = [
        ("Memory map", _map_drawing(found)),
        ("Classes by address", _shares_drawing(found)),
        ("What would be sent", _techniques_drawing(found)),
        ("What that costs", _costs_drawing(found)),
        ("Entropy of the content", _entropy_drawing(found)),
    ]
    if found.total.duplicate:
        draws.append(("How far duplicates lie apart", _distances_drawing(found)))
    return png(headline(found), draws)


# --- The map ----------------------------------------------------------------------


def _map(found: Explanation) -> Chart:
    rows = []
    for stretch in found.stretches:
        entropy = stretch.tally.entropy
        rows.append(
            (
                f"{stretch.name or 'small blocks'} {place(stretch)}",
                *map(format_count, classes(stretch.tally).values()),
                "" if entropy is None else f"{entropy:.2f}",
            )
        )
    return chart(
        "map",
        "Memory map",
        "Guest memory from top left to bottom right. Grey cells hold zero pages, blue "
        "ones same-filled and duplicate pages; the others have content, and are the "
        "darker the more bits of a byte it uses.",
        _map_drawing(found),
        Table(("address", *classes(found.total), "bits to a byte"), rows),
        height=3.8,
    )


def _map_drawing(found: Explanation) -> Draw:
    from matplotlib.colors import to_rgba

    free = {
        name: to_rgba(color, _ZERO_ALPHA if name == "zero" else 1)
        for name, color in _CLASS_COLORS.items()
        if name != "content"
    }

    def color(regions: Sequence[Region]) -> Color:
        """Of the class that most of the pages have; of content its entropy."""
        sums = {
            "zero": sum(region.pages.zero for region in regions),
            "same-filled": sum(region.pages.same_filled for region in regions),
            "duplicate": sum(region.pages.deduplicated for region in regions),
            "content": sum(region.pages.normal for region in regions),
        }
        name = max(sums, key=sums.__getitem__)
        if name in free:
            return free[name]
        ideal = sum(region.bytes_out for region in regions)
        return shade(ideal / (sums["content"] * found.page_size))

    shades = {f"{bits} bit/byte": shade(bits / 8) for bits in (1, 4, 7)}
    return map_drawing(found.map, found.blocks, found.page_size, color, free | shades)


# --- Classes ----------------------------------------------------------------------


def _shares(found: Explanation) -> Chart:
    rows = [
        (
            place(stretch),
            *(
                format_share(pages, stretch.tally.total)
                for pages in classes(stretch.tally).values()
            ),
        )
        for stretch in found.stretches
    ]
    shown = ", ".join(
        f"{format_share(pages, found.total.total)} {name}"
        for name, pages in classes(found.total).items()
    )
    return chart(
        "classes",
        "Classes of pages by address",
        f"Of all pages {shown}.",
        _shares_drawing(found),
        Table(("address", *classes(found.total)), rows),
        height=1.2 + 0.3 * len(rows),
    )


def _shares_drawing(found: Explanation) -> Draw:
    def draw(axes: Axes, narrow: bool) -> None:
        labels = [place(stretch) for stretch in found.stretches]
        totals = [max(stretch.tally.total, 1) for stretch in found.stretches]
        left = [0.0] * len(labels)
        for name, color in _CLASS_COLORS.items():
            shares = [
                100 * classes(stretch.tally)[name] / total
                for stretch, total in zip(found.stretches, totals, strict=True)
            ]
            alpha = _ZERO_ALPHA if name == "zero" else 1
            axes.barh(
                range(len(labels)),
                shares,
                left=left,
                color=color,
                alpha=alpha,
                label=name,
            )
            left = [a + b for a, b in zip(left, shares, strict=True)]
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("% of the pages")
        legend_above(axes)

    return draw


# --- Entropy and distances ----------------------------------------------------------


def _spread(found: Explanation) -> list[Chart]:
    mean = found.total.entropy
    if mean is None:
        return []
    charts = [
        chart(
            "entropy",
            "Entropy of the content",
            f"How many pages use how many bits of a byte; {mean:.2f} in the mean. From "
            "7.5 on a page is most likely compressed or encrypted already.",
            _entropy_drawing(found),
            Table(
                ("bits to a byte, from", "pages"),
                [
                    (f"{step / ENTROPY_STEPS:.3f}", format_count(pages))
                    for step, pages in enumerate(found.entropies)
                ],
            ),
        )
    ]
    if found.total.duplicate:
        charts.append(_distances(found))
    return charts


def _entropy_drawing(found: Explanation) -> Draw:
    def draw(axes: Axes, narrow: bool) -> None:
        steps = [step / ENTROPY_STEPS for step in range(len(found.entropies))]
        axes.bar(
            steps,
            found.entropies,
            width=1 / ENTROPY_STEPS,
            align="edge",
            color=COLORS[1],
        )
        axes.set_xlim(0, 8)
        axes.set_xlabel("bits to a byte")
        axes.set_ylabel("pages")

    return draw


def _distances(found: Explanation) -> Chart:
    packet = found.sample.packet_pages
    near = sum(found.distances[: packet.bit_length() - 1])
    rows = zip(map(from_pages, DISTANCES), by_distance(found), strict=True)
    return chart(
        "distances",
        "How far duplicates lie apart",
        f"{format_share(near, found.total.duplicate)} of the duplicates lie less than "
        f"{packet} pages behind the page they equal, so that a packet may have both.",
        _distances_drawing(found),
        Table(
            ("pages, at least", "duplicates"), [(a, format_count(b)) for a, b in rows]
        ),
        height=2.6,
    )


def _distances_drawing(found: Explanation) -> Draw:
    def draw(axes: Axes, narrow: bool) -> None:
        axes.bar(range(len(DISTANCES)), by_distance(found), color=COLORS[4])
        axes.set_xticks(range(len(DISTANCES)), map(from_pages, DISTANCES))
        axes.set_xlabel("pages behind the equal one, at least")
        axes.set_ylabel("duplicates")

    return draw


# --- Techniques ---------------------------------------------------------------------


def _techniques(found: Explanation) -> Chart:
    rows = [
        (
            NAMES[each.key],
            format_count(each.pages),
            format_size(each.guest_bytes),
            format_size(each.sent.value),
            format_size(each.sent.error) if each.sent.error else "",
            format_size(each.saved.value),
            f"{each.cpu_seconds_per_gib:.3f}",
        )
        for each in found.techniques
    ]
    headings = (
        "technique",
        "pages",
        "guest memory",
        "sent",
        "±",
        "saved",
        "CPU s/GiB",
    )
    return chart(
        "techniques",
        "What each technique would send",
        "Of the guest memory that a technique is for (grey), what it would send, with "
        "the error of the sample, 19 times of 20.",
        _techniques_drawing(found),
        Table(headings, rows),
    )


def _techniques_drawing(found: Explanation) -> Draw:
    def draw(axes: Axes, narrow: bool) -> None:
        labels = [NAMES[each.key] for each in found.techniques]
        places = range(len(labels))
        guest = [each.guest_bytes / _MIB for each in found.techniques]
        sent = [each.sent.value / _MIB for each in found.techniques]
        errors = [each.sent.error / _MIB for each in found.techniques]
        axes.barh(places, guest, color=NEUTRAL, alpha=0.35, label="guest memory")
        axes.barh(
            places,
            sent,
            xerr=errors,
            color=COLORS[2],
            ecolor=COLORS[5],
            height=0.5,
            label="sent",
        )
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
        axes.set_xlabel("MiB")
        legend_above(axes)

    return draw


def _costs(found: Explanation) -> Chart:
    return chart(
        "costs",
        "What each technique costs",
        "CPU time of all threads for each GiB of the image, and not for each GiB that "
        "the technique is for.",
        _costs_drawing(found),
        Table(
            ("technique", "CPU s/GiB"),
            [
                (NAMES[each.key], f"{each.cpu_seconds_per_gib:.3f}")
                for each in found.techniques
            ],
        ),
    )


def _costs_drawing(found: Explanation) -> Draw:
    def draw(axes: Axes, narrow: bool) -> None:
        costs = [each.cpu_seconds_per_gib for each in found.techniques]
        axes.barh(range(len(costs)), costs, color=COLORS[5], height=0.5)
        rows_axis(axes, [NAMES[each.key] for each in found.techniques])
        axes.set_xlabel("CPU seconds per GiB of the image")

    return draw
