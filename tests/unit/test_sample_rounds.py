# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rounds of dirty pages of a sample, against those of the real guests."""

from __future__ import annotations

import statistics

import pytest

from migcomp.images.sample import PROFILES, SampleImage
from tests.sample_pages import PAGE, image_bytes

MIB = 1 << 20

# Shares of pages which change in a second, and the bands in which the bytes that change
# in such a page must lie at p10, p50 and p90, about the guests' figures.
DIRTY = [
    ("idle", 256, 0.00055, (1, 4), (5, 25), (60, 115)),
    ("writer", 32, 1256 / 32768, (4, 4), (4, 4), (8, 12)),
    ("heap", 64, 4048 / 262144, (9, 15), (27, 33), (80, 160)),
]


@pytest.mark.parametrize(("profile", "mib", "share", "p10", "p50", "p90"), DIRTY)
def test_a_round_changes_the_guests_share_of_pages_and_bytes(
    profile: str,
    mib: int,
    share: float,
    p10: tuple[int, int],
    p50: tuple[int, int],
    p90: tuple[int, int],
) -> None:
    image = SampleImage(profile, mib * MIB)
    before = image_bytes(image)
    changed = []
    for number in range(1, 7):
        last, pages = -1, 0
        for offset, page in image.dirty_round(number):
            assert offset > last
            assert offset % PAGE == 0
            assert len(page) == PAGE
            old = before[offset : offset + PAGE]
            changed.append(sum(a != b for a, b in zip(old, page, strict=True)))
            before[offset : offset + PAGE] = page
            last = offset
            pages += 1
        assert pages == pytest.approx(share * image.size / PAGE, rel=0.02)
    assert min(changed) > 0
    tenths = statistics.quantiles(changed, n=10)
    assert p10[0] <= tenths[0] <= p10[1]
    assert p50[0] <= statistics.median(changed) <= p50[1]
    assert p90[0] <= tenths[-1] <= p90[1]


def test_a_round_repeats_many_pages_of_the_round_before_and_keeps_their_changes() -> (
    None
):
    image = SampleImage("writer", 16 * MIB)
    content = image_bytes(image)
    rounds = [dict(image.dirty_round(number)) for number in (1, 2, 3)]
    shared = rounds[0].keys() & rounds[1].keys()
    # 774 of 1256 pages changed again in the real guest.
    assert len(shared) / len(rounds[1]) == pytest.approx(774 / 1256, abs=0.1)
    for dirty in rounds:
        for offset, page in dirty.items():
            differing = sum(
                a != b
                for a, b in zip(content[offset : offset + PAGE], page, strict=True)
            )
            assert 0 < differing <= max(PROFILES["writer"].changed_bytes)
            content[offset : offset + PAGE] = page


def test_every_round_can_be_asked_for_alone() -> None:
    image = SampleImage("heap", 8 * MIB)
    assert list(image.dirty_round(4)) == list(
        SampleImage("heap", 8 * MIB).dirty_round(4)
    )


@pytest.mark.parametrize("number", [0, -1])
def test_a_round_before_the_first_is_an_error(number: int) -> None:
    with pytest.raises(ValueError, match=f"numbered from 1, not {number}"):
        SampleImage("idle", MIB).dirty_round(number)
