# SPDX-License-Identifier: LGPL-2.1-or-later
"""What techniques would send, against what they do send."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from migcomp.choice import Choice
from migcomp.explain.explain import explain
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from tests.conftest import make_page, memory_file
from tests.core_tools import PAGE, noise
from tests.explain_tools import explained, technique_of

SAMPLES = Path(__file__).parents[2] / "sample_images"


@pytest.mark.parametrize("grouping", ["page", "packet"])
def test_what_is_measured_whole_is_what_a_run_sends(grouping: str) -> None:
    path = SAMPLES / "heap-8m.raw"
    with open_image(str(path)) as image:
        found = explain(image, threads=1)
        assert found.sample.whole
        run = compress(
            image,
            None,
            Choice("zstd", 1, grouping, threads=1, dedup=True),
        )
    technique = technique_of(found, grouping)
    assert technique is not None
    assert technique.sent.value == run.compressed_bytes + run.normal_bytes
    assert technique.sent.error == 0
    assert technique.pages == run.pages.compressed + run.pages.normal
    assert found.total.duplicate == run.pages.deduplicated
    assert technique.cpu_seconds_per_gib > 0


def test_a_gain_is_over_the_same_pages() -> None:
    with open_image(str(SAMPLES / "heap-8m.raw")) as image:
        found = explain(image, threads=1)
        plain = compress(image, None, Choice("zstd", 1, "packet", threads=1))
    pages, packets = technique_of(found, "page"), technique_of(found, "packet")
    dedup = technique_of(found, "deduplication")
    assert packets.gain
    assert dedup.gain
    assert packets.gain.value == pages.sent.value - packets.sent.value
    before = plain.compressed_bytes + plain.normal_bytes
    assert dedup.gain.value == before - packets.sent.value - dedup.sent.value


def test_a_dictionary_helps_pages_that_share_words() -> None:
    generator = random.Random(3)
    words = [generator.randbytes(60) for _ in range(300)]
    content = b"".join(
        b"".join(generator.choices(words, k=69))[:PAGE] for _ in range(2000)
    )
    found = explained(content)
    trained = technique_of(found, "dictionary")
    assert found.dictionary
    assert trained.gain
    assert trained.gain.value - trained.gain.error > 0
    assert found.dictionary.pages <= found.total.content / 4


def test_too_little_for_a_dictionary() -> None:
    found = explained(noise(3))
    assert found.dictionary is None
    assert found.technique("dictionary") is None


def test_nothing_but_zeros() -> None:
    found = explained(bytes(300 * PAGE))
    assert found.total.zero == found.total.total == 300
    packets = technique_of(found, "packet")
    assert (packets.pages, packets.sent.value) == (0, 0)
    assert found.sample.packets == found.sample.packets_of == 0


def test_duplicates_are_few_and_lie_together() -> None:
    """A sample of all packets seldom has any of them, and would say they are none."""
    content = bytearray()
    for packet in range(300):
        content += make_page("text", packet) + bytes(127 * PAGE)
    content += noise(128) + noise(128)
    found = explained(bytes(content), sample_bytes=8 * PAGE)
    assert found.total.duplicate == 128
    assert not found.sample.whole
    dedup = technique_of(found, "deduplication")
    assert dedup.gain
    assert dedup.gain.error == 0  # the packet that has them is drawn
    assert dedup.gain.value == pytest.approx(128 * PAGE, rel=0.01)


def test_a_page_that_is_cut_off_counts_whole() -> None:
    with (
        memory_file(bytes(PAGE) + b"x" * 1000) as path,
        open_image(path, pad=True) as image,
    ):
        found = explain(image, threads=1)
    assert found.image_bytes == found.total.total * PAGE == 2 * PAGE
    assert technique_of(found, "page").guest_bytes == PAGE


@pytest.mark.parametrize("page_size", [4096, 65536])
@pytest.mark.parametrize("kind", ["zero", "same", "noise", "text"])
def test_an_image_of_one_page(kind: str, page_size: int) -> None:
    """Also as its own earlier image."""
    content = make_page(kind, 1, page_size)
    with memory_file(content) as path, ExitStack() as stack:
        one, other = (
            stack.enter_context(open_image(path, page_size=page_size)) for _ in "ab"
        )
        found = explain(one, other, sample_bytes=0)
    assert found.total.total == 1
    assert found.sample.whole
    sendable = kind in ("noise", "text")
    assert technique_of(found, "unchanged").pages == sendable
    assert technique_of(found, "xbzrle").pages == 0
    assert technique_of(found, "packet").guest_bytes == sendable * page_size
