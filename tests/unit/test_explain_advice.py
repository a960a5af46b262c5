# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is advised for images that call for it, and only for them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from migcomp.explain.results import (
    Estimate,
    Explanation,
    Previous,
    Sample,
    Tally,
    Technique,
)
from migcomp.report.explain_advice import advice
from migcomp.results import CodecInfo, Machine

MIB = 1 << 20
PAGES = 25600  # 100 MiB


def technique(
    key: str,
    sent: float,
    cpu: float = 1.0,
    gain: tuple[float, float] | None = None,
    pages: int = PAGES,
) -> Technique:
    """Sizes in MiB; the gain with its error."""
    return Technique(
        key,
        pages,
        pages * 4096,
        Estimate(sent * MIB),
        cpu,
        None if gain is None else Estimate(gain[0] * MIB, gain[1] * MIB),
    )


def explanation(
    *techniques: Technique, zero: int = PAGES, **changes: object
) -> Explanation:
    """Half zero pages, half content."""
    found = Explanation(
        image="guest.raw",
        format="raw",
        page_size=4096,
        image_bytes=1 << 30,
        blocks=(),
        total=Tally(zero=zero, duplicate=100, content=PAGES),
        stretches=(),
        map=(),
        entropies=(PAGES, *(0,) * 63),
        distances=(100,),
        techniques=techniques,
        sample=Sample(0, 128, 100, 200, PAGES // 2, PAGES, 16, PAGES // 2),
        dictionary=None,
        previous=None,
        codec=CodecInfo("zstd", "libzstd", "1.5.7", ""),
        level=1,
        machine=Machine("CPU", 4, 1 << 34, "Linux", "3.11", 0.0),
        wall_seconds=1.0,
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def said(about: str, *techniques: Technique, **changes: object) -> str:
    """The sentence about something; empty if there is none."""
    sentences = advice(explanation(*techniques, **changes))  # type: ignore[arg-type]
    found = [sentence for sentence in sentences if about in sentence]
    assert len(found) < 2
    return found[0] if found else ""


PAGE = technique("page", 50, cpu=2.0)
PACKET = technique("packet", 40, cpu=1.0, gain=(10, 1))


def test_zero_pages() -> None:
    assert said("zero") == (
        "Leave out zero and same-filled pages, 49.9 % of all: that is nearly free."
    )
    assert said("zero", zero=100).startswith("Only 0.4 % of the pages")
    assert said("zero", zero=0).startswith("No page is zero")


def test_packets() -> None:
    assert said("packets", PAGE, PACKET) == (
        "Compress in packets: 20.0 % less than page by page, at 50 % of the CPU time."
    )
    unsure = technique("packet", 49, cpu=1.0, gain=(1, 2))
    assert "about as small as page by page" in said("packets", PAGE, unsure)
    slow = technique("packet", 49, cpu=3.0, gain=(-1, 0))
    assert said("Packets bring nothing", PAGE, slow)


def test_links() -> None:
    """100 MiB of content that 4 CPUs compress in 0.25 s: 3,355 Mbit/s."""
    assert said("links", PAGE, PACKET) == (
        "With 4 CPUs that pays on links slower than about 3,400 Mbit/s."
    )


def test_what_does_not_shrink() -> None:
    page = technique("page", 99)
    packet = technique("packet", 99, gain=(0, 0))
    assert said("Do not compress", page, packet)
    assert not said("links", page, packet)
    dense = (*(0,) * 63, PAGES)
    assert said("encrypted", entropies=dense).startswith("100.0 % of the content")
    assert not said("encrypted")


@pytest.mark.parametrize(
    ("gain", "worth"), [((10.0, 1.0), True), ((10.0, 9.5), False), ((0.2, 0.0), False)]
)
def test_deduplication(gain: tuple[float, float], worth: bool) -> None:
    dedup = technique("deduplication", 0, gain=gain, pages=100)
    sentence = said("edup", PAGE, PACKET, dedup)
    if worth:
        assert sentence == (
            "Deduplicate: that takes 20.0 % off packets, 10.0 MiB give or take "
            "1.00 MiB."
        )
    else:
        assert sentence.startswith("Deduplication does not help")


def test_no_duplicates() -> None:
    dedup = technique("deduplication", 0, gain=(0, 0), pages=0)
    assert said("edup", PAGE, PACKET, dedup).endswith("no page equals another.")


def test_dictionaries() -> None:
    def about(sent: float, gain: tuple[float, float]) -> str:
        trained = technique("dictionary", sent, gain=gain)
        return said("ictionary", PAGE, PACKET, trained)

    assert about(51, (-1, 0)) == "A trained dictionary does not help."
    assert about(30, (20, 1)).startswith("Train a dictionary: 40.0 % less")
    assert "packets outdo" in about(45, (5, 1))
    assert "too little content" in said("ictionary", PAGE, PACKET)


def test_an_earlier_image() -> None:
    told = {"previous": Previous("old.raw", 900, 50, 50)}
    assert said("Send only", **told) == (
        "Send only pages that changed since the earlier image, 10.0 % of the content."
    )
    none = {"previous": Previous("old.raw", 0, 50, 50)}
    assert said("as it was", **none)
    all_of_them = {"previous": Previous("old.raw", 50, 0, 0)}
    assert said("has changed", **all_of_them).startswith("No page with content")


def test_deltas() -> None:
    told = {"previous": Previous("old.raw", 900, 50, 50)}
    delta = technique("delta", 2, gain=(8, 1), pages=5000)
    xbzrle = technique("xbzrle", 1, gain=(9, 1), pages=5000)
    assert said("deltas", delta, xbzrle, **told) == (
        "Send them as deltas: 2.00 MiB by zstd, 1.00 MiB by XBZRLE, 10.0 MiB without."
    )
    assert "zstd" not in said("deltas", xbzrle, **told)
    assert not said("eltas", delta, xbzrle, previous=Previous("old.raw", 9, 0, 1))


@pytest.mark.parametrize("gain", [(-5.0, 0.0), (0.1, 0.0), (3.0, 2.9)])
def test_deltas_that_do_not_help(gain: tuple[float, float]) -> None:
    """For all of the ways, and less than 2 % is no help."""
    told = {"previous": Previous("old.raw", 900, 50, 50)}
    useless = technique("delta", 9, gain=gain, pages=5000)
    worse = technique("xbzrle", 90, gain=(-80, 1), pages=5000)
    assert said("eltas", useless, worse, **told).startswith(
        "Deltas of them do not help: 9.00 MiB by zstd, 90.0 MiB by XBZRLE, "
    )


def test_doubts() -> None:
    busy = Machine("CPU", 2, 1 << 34, "Linux", "3.11", 3.0)
    assert "load 3.0 on 2 CPUs" in said("busy", machine=busy)
    assert not said("busy")
    little = Sample(0, 128, 1, 1, 10, 10, 1, 10)
    assert said("rough", sample=little).startswith("Only 40.0 KiB")
    assert not said("rough")


def test_advice_can_be_made_of_any_figures() -> None:
    """Whatever numbers a sample gives, all sentences can be made of them."""
    generator = random.Random(5)
    for _ in range(200):
        parts = [
            technique(
                key,
                generator.choice((0, 0.001, 50, 200)),
                generator.choice((0.0, 1e-9, 3.0)),
                generator.choice((None, (0, 0), (-5, 1), (5, 1))),
                generator.choice((0, 1, PAGES)),
            )
            for key in (
                "page",
                "packet",
                "dictionary",
                "deduplication",
                "delta",
                "xbzrle",
            )
        ]
        previous = Previous("x", generator.choice((0, 1)), 1, 0)
        for sentence in advice(explanation(*parts, previous=previous)):
            assert sentence.endswith(".")
            assert "nan" not in sentence
