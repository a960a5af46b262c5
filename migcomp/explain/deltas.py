# SPDX-License-Identifier: LGPL-2.1-or-later
"""What sending only changes since an earlier image would bring and cost."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping
from statistics import median

from migcomp import _core
from migcomp.errors import CodecUnavailable, ImageError, PageError
from migcomp.explain.layout import Packet
from migcomp.explain.previous import Earlier, Versions
from migcomp.explain.results import Estimate, Previous
from migcomp.explain.sample import Pages
from migcomp.explain.scan import CONTENT, DUPLICATE
from migcomp.explain.trial import ROUNDS, Trial
from migcomp.explain.workbench import Workbench, drawn_from, scaled

Marks = Mapping[Packet, bytes]


def changes(
    bench: Workbench,
    earlier: Earlier,
    progress: Callable[[int], None],
    trying: Callable[[], None],
) -> Previous:
    """Pages that are as they were, and what changed in the others.

    ``progress`` is told the pages that were compared, and ``trying`` when all were.
    """
    total = bench.scan.total
    sendable = bench.pages(bench.scan.classes, CONTENT, DUPLICATE)
    marked = {each.packet: each.wanted for each in sendable}
    compared = earlier.compare(marked, progress)
    trying()
    same = _unchanged(bench, earlier, _both(marked, compared.same))
    changed = _changed(bench, earlier, _both(marked, compared.changed))
    new = total.content + total.duplicate - same - changed
    return Previous(earlier.path, same, changed, new)


def _unchanged(bench: Workbench, earlier: Earlier, same: Marks) -> int:
    """How many there are; the core is timed at comparing some of them."""
    counts = _counts(same)
    total = sum(counts.values())
    pages = [Pages(packet, same[packet]) for packet in bench.timed(counts)]
    trial = _xbzrle(bench, pages, earlier.versions(pages))
    bench.add("unchanged", total, Estimate(0), scaled(trial, counts))
    return total


def _changed(bench: Workbench, earlier: Earlier, changed: Marks) -> int:
    """How many there are; deltas of some of them are tried, beside packets."""
    counts = _counts(changed)
    strata = bench.draw(counts)
    pages = [Pages(packet, changed[packet]) for packet in sorted(drawn_from(strata))]
    versions = earlier.versions(pages)
    packed = bench.attempt(pages, bench.codec.library, "packet")
    tried = {
        "delta": _compress(bench, pages, versions),
        "xbzrle": _xbzrle(bench, pages, versions),
    }
    for key, trial in tried.items():
        if trial is not None:
            bench.add_trial(key, strata, counts, trial, beside=packed)
    return sum(counts.values())


def _compress(bench: Workbench, pages: list[Pages], versions: Versions) -> Trial | None:
    """Each page against what it was; None if the codec's library cannot do that."""
    previous = versions.before_map(bench.image)
    try:
        return bench.attempt(pages, bench.codec.library, "page", previous=previous)
    except CodecUnavailable:
        return None


def _xbzrle(bench: Workbench, pages: list[Pages], versions: Versions) -> Trial:
    """By QEMU's encoder, whose cache has all pages as they were."""
    size = bench.image.page_size
    count = len(versions.numbers)
    numbers = struct.pack(f"={count}Q", *range(count))
    sizes, spent = b"", []
    for _ in range(ROUNDS):
        cache = _core.XbzrleCache(1 << (max(count, 2) * size - 1).bit_length(), size)
        try:
            cache.save(versions.before, numbers, 1, False)
            _, sizes, _, ns = cache.save(versions.now, numbers, 2, False)
        except PageError as error:
            raise ImageError(f"{bench.image.path}: {error}") from error
        spent.append(ns)
    lengths = iter(array("I", sizes))
    bytes_out = {
        each.packet: sum(next(lengths) for _ in range(each.count)) for each in pages
    }
    return Trial(bytes_out, median(spent) / 1e9)


def _both(some: Marks, others: Mapping[Packet, bytearray]) -> dict[Packet, bytes]:
    """Pages that both mark, by packets that have any of ``others``."""
    return {
        packet: bytes(map(min, some[packet], marks)) for packet, marks in others.items()
    }


def _counts(marks: Marks) -> dict[Packet, int]:
    return {packet: pages.count(1) for packet, pages in marks.items()}
