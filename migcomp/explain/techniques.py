# SPDX-License-Identifier: LGPL-2.1-or-later
"""What each way to send less would bring and cost, tried on a sample."""

from __future__ import annotations

from migcomp.explain import dictionary
from migcomp.explain.layout import Packet
from migcomp.explain.results import Dictionary, Estimate
from migcomp.explain.sample import estimate, without
from migcomp.explain.scan import CLASSIFY, CONTENT, DUPLICATE, SAME, ZERO
from migcomp.explain.trial import Trial, fewer
from migcomp.explain.workbench import Workbench, drawn_from, scaled

_REFERENCE = 8  # bytes that stand for a same-filled page, or for a duplicate
_TRAINED_PART = 4  # of the sample's packets one in so many trains the dictionary


def look(bench: Workbench) -> None:
    """Zero and same-filled pages: counted, and timed on some packets."""
    zero, same = bench.scan.total.zero, bench.scan.total.same_filled
    bench.add("zero", zero, Estimate(0), _look_seconds(bench, ZERO))
    sent = Estimate(same * _REFERENCE)
    bench.add("same-filled", same, sent, _look_seconds(bench, SAME))


def deduplicate(bench: Workbench) -> None:
    """Duplicates are few and lie together: packets that have some are a sample of
    their own, lest none were drawn."""
    duplicates = bench.counts(DUPLICATE)
    both = bench.counts(CONTENT, DUPLICATE)
    strata = bench.draw(
        {packet: size for packet, size in both.items() if duplicates[packet]}
    )
    drawn = drawn_from(strata)
    library = bench.codec.library
    before = bench.attempt(bench.pages(drawn, CONTENT, DUPLICATE), library, "packet")
    after = bench.attempt(bench.pages(drawn, CONTENT), library, "packet")
    total = bench.scan.total.duplicate
    sent = Estimate(total * _REFERENCE)
    gain = estimate(strata, duplicates, fewer(before, after), total)
    bench.add(
        "deduplication",
        total,
        sent,
        _look_seconds(bench, DUPLICATE, CONTENT) + bench.scan.resolve_seconds,
        gain.minus(sent.value),
    )


def compress(bench: Workbench) -> Trial:
    """The content, page by page, which is the result, and in packets."""
    contents = bench.counts(CONTENT)
    pages = bench.pages(drawn_from(bench.strata), CONTENT)
    by_page = bench.attempt(pages, bench.codec.library, "page")
    packets = bench.attempt(pages, bench.codec.library, "packet")
    bench.add_trial("page", bench.strata, contents, by_page)
    bench.add_trial("packet", bench.strata, contents, packets, beside=by_page)
    return by_page


def train(bench: Workbench, by_page: Trial) -> Dictionary | None:
    """Some packets train a dictionary, which is tried on the others, and beside
    ``by_page``; None when they are too few for that."""
    contents = bench.counts(CONTENT)
    drawn = drawn_from(bench.strata)
    room = dictionary.TRAINING_BYTES // bench.image.page_size
    training: set[Packet] = set()
    for packet in bench.random.sample(drawn, len(drawn) // _TRAINED_PART):
        room -= contents[packet]
        if room < 0:
            break
        training.add(packet)
    pages = [
        bench.image.read(each.packet.first_page + number, 1)
        for each in bench.pages(sorted(training), CONTENT)
        for number, wanted in enumerate(each.wanted)
        if wanted
    ]
    trained = dictionary.train(pages, bench.codec.level)
    if trained is None:
        return None
    strata = without(bench.strata, training)
    others = bench.pages(drawn_from(strata), CONTENT)
    bench.add_trial(
        "dictionary",
        strata,
        contents,
        bench.attempt(others, trained.library, "page"),
        beside=by_page,
        once_bytes=trained.size,
        once_seconds=trained.training_seconds,
    )
    return Dictionary(trained.size, len(pages), trained.training_seconds)


def _look_seconds(bench: Workbench, *classes: int) -> float:
    """For telling the class of all these pages, and hashing those that are
    neither zero nor in a hole."""
    counts = bench.counts(*classes)
    pages = bench.pages(bench.timed(counts), *classes)
    trial = bench.attempt(pages, bench.codec.library, "page", stage=CLASSIFY)
    return scaled(trial, counts)
