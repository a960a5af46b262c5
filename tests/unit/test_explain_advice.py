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
        sample=Sample(0, 128, 100, 200, PAGES // 2, PAGES, 16),
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
    assert said("zero").startswith("49.9 % of the pages are zero or same-filled")
    assert said("zero", zero=100).startswith("Only 0.4 % of the pages")
    assert said("zero", zero=0).startswith("No page is zero")


def test_packets() -> None:
    assert said("packets", PAGE, PACKET) == (
        "Compress packets of 128 pages: 20.0 % less than page by page, for 50 % of its "
        "CPU time."
    )
    unsure = technique("packet", 49, cpu=1.0, gain=(1, 2))
    assert said("same size", PAGE, unsure).startswith("Packets of 128 pages")
    slow = technique("packet", 49, cpu=3.0, gain=(-1, 0))
    assert said("Packets bring nothing", PAGE, slow)


def test_links() -> None:
    """100 MiB of content that 4 CPUs compress in 0.25 s: 3,355 Mbit/s."""
    assert "slower than about 3,400 Mbit/s" in said("links", PAGE, PACKET)
    assert "With 4 CPUs" in said("links", PAGE, PACKET)


def test_what_does_not_shrink() -> None:
    page = technique("page", 99)
    packet = technique("packet", 99, gain=(0, 0))
    assert said("hardly shrinks", page, packet)
    assert not said("links", page, packet)
    dense = (*(0,) * 63, PAGES)
    assert said("7.5 bits", entropies=dense).startswith("100.0 % of the content")
    assert not said("7.5 bits")


@pytest.mark.parametrize(
    ("gain", "worth"), [((10.0, 1.0), True), ((10.0, 9.5), False), ((0.2, 0.0), False)]
)
def test_deduplication(gain: tuple[float, float], worth: bool) -> None:
    dedup = technique("deduplication", 0, gain=gain, pages=100)
    sentence = said("edup", PAGE, PACKET, dedup)
    assert sentence.startswith("Deduplicate:") == worth
    if worth:
        assert "10.0 MiB, give or take 1.00 MiB, " in sentence
        assert sentence.endswith("send, 20.0 %.")


def test_dictionaries() -> None:
    def about(sent: float, gain: tuple[float, float]) -> str:
        trained = technique("dictionary", sent, gain=gain)
        return said("ictionary", PAGE, PACKET, trained)

    assert about(51, (-1, 0)) == "A trained dictionary does not help."
    assert about(30, (20, 1)).startswith("Train a dictionary: 40.0 % less")
    assert "packets outdo" in about(45, (5, 1))
    assert not said("ictionary", PAGE, PACKET)


def test_an_earlier_image() -> None:
    previous = Previous("old.raw", 900, 50, 50)
    delta = technique("delta", 1, gain=(9, 1), pages=5000)
    told = {"previous": previous}
    assert said("as they were", delta, **told).startswith("90.0 % of the pages")
    assert said("Send what changed", delta, **told) == (
        "Send what changed in the others: 1.00 MiB instead of 10.0 MiB."
    )
    useless = technique("delta", 9, gain=(-1, 0), pages=5000)
    assert not said("Send what changed", useless, **told)
    none = {"previous": Previous("old.raw", 0, 50, 50)}
    assert said("as it was", delta, **none) == "No page with content is as it was."


def test_doubts() -> None:
    busy = Machine("CPU", 2, 1 << 34, "Linux", "3.11", 3.0)
    assert "load 3.0 on 2 CPUs" in said("busy", machine=busy)
    assert not said("busy")
    little = Sample(0, 128, 1, 1, 10, 10, 1)
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
            for key in ("page", "packet", "dictionary", "deduplication", "delta")
        ]
        previous = Previous("x", generator.choice((0, 1)), 1, 0)
        for sentence in advice(explanation(*parts, previous=previous)):
            assert sentence.endswith(".")
            assert "nan" not in sentence
