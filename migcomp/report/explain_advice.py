# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an explanation of an image comes to, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from migcomp.explain.results import ENTROPY_STEPS, Estimate, Explanation, Technique
from migcomp.units import format_share, format_size, many

_WORTH = 0.02  # of what would be sent: less is no reason to do anything
_DENSE_BITS = 7.5  # of a byte; text and code have fewer
_DENSE_SHARE = 0.05
_FREE_SHARE = 0.05
_IDLE_LOAD = 0.5  # of each usable CPU, by other programs
_LITTLE = 4 << 20
_GIB = 1 << 30


def advice(found: Explanation) -> tuple[str, ...]:
    """Sentences: what nearly always helps first, doubts last."""
    if not found.total.content + found.total.duplicate:
        return ("There is nothing to compress: no page has any content.",)
    return (
        _free(found),
        *_compression(found),
        *_previous(found),
        *_deduplication(found),
        *_dictionary(found),
        *_dense(found),
        *_doubts(found),
    )


def sent_bytes(found: Explanation) -> float:
    """Of the whole image, with all that is told apart, in packets."""
    parts = [
        found.technique(key)
        for key in ("zero", "same-filled", "deduplication", "packet")
    ]
    return sum(part.sent.value for part in parts if part)


def _free(found: Explanation) -> str:
    free = found.total.zero + found.total.same_filled
    share = format_share(free, found.total.total)
    if not free:
        return "No page is zero or same-filled: nothing is free here."
    if free < _FREE_SHARE * found.total.total:
        return (
            f"Only {share} of the pages are zero or same-filled: little is free here."
        )
    return f"Leave out zero and same-filled pages, {share} of all: that is nearly free."


def _compression(found: Explanation) -> Iterator[str]:
    pages, packets = found.technique("page"), found.technique("packet")
    if not (pages and packets):
        return
    if packets.sent.value > (1 - _WORTH) * packets.guest_bytes:
        yield "Do not compress: the content hardly shrinks."
        return
    yield from _packets(found, pages, packets)
    yield from _link(found, packets)


def _packets(found: Explanation, pages: Technique, packets: Technique) -> Iterator[str]:
    cost = packets.cpu_seconds_per_gib / (pages.cpu_seconds_per_gib or 1)
    if packets.gain and _surely(packets.gain, pages.sent.value):
        yield (
            f"Compress in packets: {_less(packets.gain, pages)} than page by page, at "
            f"{100 * cost:.0f} % of the CPU time."
        )
    elif cost < 1:
        yield (
            "Compress in packets: about as small as page by page, at "
            f"{100 * cost:.0f} % of the CPU time."
        )
    else:
        yield "Packets bring nothing here: compress page by page."


def _link(found: Explanation, packets: Technique) -> Iterator[str]:
    """Where the link takes as long for the pages as they are as the CPUs take to
    compress them."""
    cpus = found.machine.usable_cpus
    seconds = packets.cpu_seconds_per_gib * found.image_bytes / _GIB / cpus
    if seconds:
        bits = packets.guest_bytes * 8 / seconds
        yield (
            f"With {many(cpus, 'CPU')} that pays on links slower than about "
            f"{_two_digits(bits / 1e6):,} Mbit/s."
        )


def _two_digits(number: float) -> int:
    digits = len(str(round(number))) - 2
    return int(round(number, -digits))


def _previous(found: Explanation) -> Iterator[str]:
    previous = found.previous
    if not previous:
        return
    others = previous.changed + previous.new
    if not others:
        yield "No page with content has changed since the earlier image."
    elif not previous.same:
        yield "No page with content is as it was in the earlier image."
    else:
        yield (
            "Send only pages that changed since the earlier image, "
            f"{format_share(others, previous.same + others)} of the content."
        )
    if previous.changed:
        yield from _deltas(found)


def _deltas(found: Explanation) -> Iterator[str]:
    tried = {
        name: technique
        for name, key in (("zstd", "delta"), ("XBZRLE", "xbzrle"))
        if (technique := found.technique(key)) and technique.gain
    }
    if not tried:
        return
    best = min(tried.values(), key=lambda each: each.sent.value)
    assert best.gain
    packed = best.sent.value + best.gain.value
    sizes = ", ".join(
        f"{format_size(each.sent.value)} by {name}" for name, each in tried.items()
    )
    worth = _surely(best.gain, packed)
    yield (
        f"{'Send them as deltas' if worth else 'Deltas of them do not help'}: {sizes}, "
        f"{format_size(packed)} without."
    )


def _deduplication(found: Explanation) -> Iterator[str]:
    dedup, packets = found.technique("deduplication"), found.technique("packet")
    if not (dedup and packets and dedup.gain):
        return
    whole = packets.sent.value + dedup.sent.value + dedup.gain.value
    if not dedup.pages:
        yield "Deduplication does not help: no page equals another."
    elif _surely(dedup.gain, whole):
        yield (
            f"Deduplicate: that takes {format_share(dedup.gain.value, whole)} off "
            f"packets, {_with_error(dedup.gain)}."
        )
    else:
        yield "Deduplication does not help: packets shrink equal pages nearly as well."


def _dictionary(found: Explanation) -> Iterator[str]:
    pages, trained = found.technique("page"), found.technique("dictionary")
    packets = found.technique("packet")
    if not (pages and packets):
        return
    if not (trained and trained.gain):
        yield "There is too little content to train a dictionary."
    elif not _surely(trained.gain, pages.sent.value):
        yield "A trained dictionary does not help."
    elif trained.sent.value < packets.sent.value:
        yield f"Train a dictionary: {_less(trained.gain, pages)} than without."
    else:
        yield (
            f"A trained dictionary makes it {_less(trained.gain, pages)} page by page, "
            "which packets outdo: use one only where pages must be read alone."
        )


def _dense(found: Explanation) -> Iterator[str]:
    dense = sum(found.entropies[int(_DENSE_BITS * ENTROPY_STEPS) :])
    if dense >= _DENSE_SHARE * found.total.content:
        yield (
            f"{format_share(dense, found.total.content)} of the content looks "
            "compressed or encrypted, and will hardly shrink."
        )


def _doubts(found: Explanation) -> Iterator[str]:
    size = found.sample.pages * found.page_size
    if size < _LITTLE:
        yield f"Only {format_size(size)} could be compressed: CPU times are rough."
    cpus = found.machine.usable_cpus
    if found.machine.load_average > _IDLE_LOAD * cpus:
        yield (
            f"The machine was busy (load {found.machine.load_average:.1f} on "
            f"{many(cpus, 'CPU')}): CPU times may be too high."
        )


def _surely(gain: Estimate, of: float) -> bool:
    return gain.value - gain.error > _WORTH * of


def _less(gain: Estimate, than: Technique) -> str:
    return f"{format_share(gain.value, than.sent.value)} less"


def _with_error(estimate: Estimate) -> str:
    if not estimate.error:
        return format_size(estimate.value)
    value, error = format_size(estimate.value), format_size(estimate.error)
    return f"{value} give or take {error}"
