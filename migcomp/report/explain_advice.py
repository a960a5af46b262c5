# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an explanation of an image comes to, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from migcomp.explain.results import ENTROPY_STEPS, Estimate, Explanation, Technique
from migcomp.units import format_share, format_size, many

_WORTH = 0.02  # of what would be sent: less is no reason to do anything
_DENSE_BITS = 7.5  # of a byte, from which on nothing shrinks
_DENSE_SHARE = 0.05
_FREE_SHARE = 0.05
_IDLE_LOAD = 0.5  # of each usable CPU, by other programs
_LITTLE = 4 << 20
_GIB = 1 << 30


def advice(found: Explanation) -> tuple[str, ...]:
    """Sentences, those that save most first."""
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
    return (
        f"{share} of the pages are zero or same-filled, which next to no CPU time "
        "tells: never send them whole."
    )


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
    size = found.sample.packet_pages
    if packets.gain and _surely(packets.gain, pages.sent.value):
        yield (
            f"Compress packets of {size} pages: {_less(packets.gain, pages)} than page "
            f"by page, for {100 * cost:.0f} % of its CPU time."
        )
    elif cost < 1:
        yield (
            f"Packets of {size} pages come to about the same size as single pages, for "
            f"{100 * cost:.0f} % of their CPU time."
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
            f"With {many(cpus, 'CPU')} to compress, that pays on links slower than "
            f"about {_two_digits(bits / 1e6):,} Mbit/s; on faster ones the pages as "
            "they are would be there sooner."
        )


def _two_digits(number: float) -> int:
    digits = len(str(round(number))) - 2
    return int(round(number, -digits))


def _previous(found: Explanation) -> Iterator[str]:
    delta, previous = found.technique("delta"), found.previous
    if not previous or not delta:
        return
    pages = previous.same + previous.changed + previous.new
    if not previous.same:
        yield "No page with content is as it was."
    else:
        yield (
            f"{format_share(previous.same, pages)} of the pages with content are as "
            "they were; who has the earlier image needs only the others."
        )
    if delta.gain and _surely(delta.gain, delta.sent.value):
        packed = delta.sent.value + delta.gain.value
        yield (
            f"Send what changed in the others: {format_size(delta.sent.value)} instead "
            f"of {format_size(packed)}."
        )


def _deduplication(found: Explanation) -> Iterator[str]:
    dedup, packets = found.technique("deduplication"), found.technique("packet")
    if not (dedup and packets) or not dedup.pages:
        return
    whole = packets.sent.value + (dedup.gain.value if dedup.gain else 0)
    if dedup.gain and _surely(dedup.gain, whole):
        yield (
            f"Deduplicate: that saves {_with_error(dedup.gain)} of what packets would "
            f"send, {format_share(dedup.gain.value, whole)}."
        )
    else:
        yield "Deduplication is not worth it: compression shrinks most of that anyway."


def _dictionary(found: Explanation) -> Iterator[str]:
    pages, trained = found.technique("page"), found.technique("dictionary")
    packets = found.technique("packet")
    if not (pages and packets and trained and trained.gain):
        return
    if not _surely(trained.gain, pages.sent.value):
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
            f"{format_share(dense, found.total.content)} of the content has "
            f"{_DENSE_BITS} bits to a byte or more: compressed or encrypted already, "
            "it will not shrink."
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
    return f"{value}, give or take {error},"
