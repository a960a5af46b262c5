# SPDX-License-Identifier: LGPL-2.1-or-later
"""The sample generator against the real guests it is modelled on.

The reference figures are of three stopped Debian 12 guests: 256 MiB idle, 128 MiB
writer, 1 GiB heap.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from migcomp.images.sample import PROFILES, SampleImage
from tests.sample_pages import (
    Pages,
    classify,
    image_bytes,
    is_same_filled,
    zstd_1,
)

PAGE = 4096
MIB = 1 << 20
PACKET_PAGES = 128
PRINTABLE = bytes(range(32, 127))
BUCKET_ENDS = (64, 256, 512, 1024, 1536, 2048, 2560, 3072, 3584, 4000, 4096)


@dataclass(frozen=True)
class Guest:
    """Measured figures of a real guest; shares in per cent of all its pages."""

    zero: float
    same_filled: float
    duplicate: float
    zstd: float
    lz4: float
    incompressible: float  # per cent of the non-zero pages which zstd-1 does not shrink
    packet: float  # bytes of zstd-1 blocks of 128 non-zero pages / bytes page by page
    deduplicated: float  # those blocks without duplicate and same-filled pages / with


GUESTS = {
    "idle": Guest(69.4, 5.8, 3.3, 2.43, 1.99, 19.8, 0.960, 0.750),
    "writer": Guest(34.7, 4.7, 0.7, 2.35, 1.76, 14.0, 0.935, 0.998),
    "heap": Guest(48.3, 9.6, 6.1, 2.77, 2.17, 2.9, 0.856, 0.864),
}
# The shipped sizes and one at which every part of the layout is in play.
SIZES = [
    ("idle", 4),
    ("idle", 64),
    ("writer", 4),
    ("writer", 32),
    ("heap", 8),
    ("heap", 48),
]
sized = pytest.mark.parametrize(("profile", "mib"), SIZES)


@cache
def sample(profile: str, mib: int) -> Pages:
    return classify(image_bytes(SampleImage(profile, mib * MIB)))


def packets(pages: list[bytes]) -> int:
    return sum(
        len(zstd_1(b"".join(pages[at : at + PACKET_PAGES])))
        for at in range(0, len(pages), PACKET_PAGES)
    )


@sized
def test_page_classes_have_the_guests_shares(profile: str, mib: int) -> None:
    pages, guest = sample(profile, mib), GUESTS[profile]
    assert 100 - pages.share(len(pages.nonzero)) == pytest.approx(guest.zero, abs=0.1)
    assert pages.share(pages.same_filled) == pytest.approx(guest.same_filled, abs=0.3)
    assert pages.share(pages.duplicates) == pytest.approx(guest.duplicate, abs=0.3)


@sized
def test_zstd_ratio_is_the_guests(profile: str, mib: int) -> None:
    assert sample(profile, mib).ratio(zstd_1) == pytest.approx(
        GUESTS[profile].zstd, rel=0.07
    )


@sized
def test_lz4_ratio_is_the_guests(profile: str, mib: int) -> None:
    block = pytest.importorskip("lz4.block")
    ratio = sample(profile, mib).ratio(
        lambda page: bytes(block.compress(page, store_size=False))
    )
    assert ratio == pytest.approx(GUESTS[profile].lz4, rel=0.07)


@sized
def test_share_of_pages_which_do_not_shrink_is_the_guests(
    profile: str, mib: int
) -> None:
    pages = sample(profile, mib)
    stubborn = sum(len(zstd_1(page)) >= PAGE for page in pages.nonzero)
    assert 100 * stubborn / len(pages.nonzero) == pytest.approx(
        GUESTS[profile].incompressible, abs=1.5
    )


@pytest.mark.parametrize("mib", [8, 48])
def test_heap_pages_fall_into_the_guests_size_buckets(mib: int) -> None:
    # Per cent, by BUCKET_ENDS.
    measured = (19.1, 3.8, 5.5, 13.5, 13.3, 14.9, 11.3, 7.7, 0.4, 6.3, 1.3, 2.9)
    pages = sample("heap", mib)
    sizes = [len(zstd_1(page)) for page in pages.nonzero]
    ends = (0, *BUCKET_ENDS, sys.maxsize)
    shares = [
        100 * sum(low <= size < high for size in sizes) / len(sizes)
        for low, high in pairwise(ends)
    ]
    assert shares == pytest.approx(measured, abs=3.5)


@pytest.mark.parametrize(
    ("profile", "mib"), [("idle", 64), ("writer", 32), ("heap", 48)]
)
def test_packets_and_deduplication_save_what_they_save_on_the_guest(
    profile: str, mib: int
) -> None:
    pages, guest = sample(profile, mib), GUESTS[profile]
    together = packets(pages.nonzero)
    assert together / sum(
        min(PAGE, len(zstd_1(page))) for page in pages.nonzero
    ) == pytest.approx(guest.packet, abs=0.05)
    assert packets(list(dict.fromkeys(pages.normal))) / together == pytest.approx(
        guest.deduplicated, abs=0.05
    )


@sized
def test_zero_and_printable_bytes_are_in_the_guests_bands(
    profile: str, mib: int
) -> None:
    content = b"".join(sample(profile, mib).nonzero)
    assert 0.20 <= content.count(0) / len(content) <= 0.24
    printable = len(content) - len(content.translate(None, PRINTABLE))
    assert 0.23 <= printable / len(content) <= 0.43


def test_same_filled_pages_are_almost_all_poison() -> None:
    patterns = [page[:8] for page in sample("heap", 48).nonzero if is_same_filled(page)]
    assert set(patterns) == {b"\xcc" * 8, b"\x58" * 8, b"\xff" * 8}
    assert patterns.count(b"\xcc" * 8) / len(patterns) > 0.9


def run_lengths(image: SampleImage) -> tuple[list[int], list[int]]:
    """Lengths in pages of the zero and of the non-zero runs."""
    zero, nonzero, end = [], [0], 0
    for offset, data in image.extents():
        if offset > end:
            zero.append((offset - end) // PAGE)
            nonzero.append(0)
        nonzero[-1] += len(data) // PAGE
        end = offset + len(data)
    if image.size > end:
        zero.append((image.size - end) // PAGE)
    return zero, nonzero


@pytest.mark.parametrize(
    ("profile", "longest_zero", "longest_nonzero"),
    [("idle", 21608, 4108), ("writer", 3071, 4108)],
)
def test_runs_have_the_guests_lengths(
    profile: str, longest_zero: int, longest_nonzero: int
) -> None:
    zero, nonzero = run_lengths(SampleImage(profile, PROFILES[profile].guest_bytes))
    assert len(nonzero) == PROFILES[profile].runs
    assert statistics.median(zero) == 2
    assert 31 <= statistics.quantiles(zero, n=10)[-1] <= 39
    assert longest_zero / 2 <= max(zero) <= longest_zero * 2
    assert 4 <= statistics.median(nonzero) <= 5
    assert 51 <= statistics.quantiles(nonzero, n=10)[-1] <= 430
    assert longest_nonzero / 2 <= max(nonzero) <= longest_nonzero * 2


@sized
def test_runs_of_a_small_image_are_mostly_short_with_a_long_one(
    profile: str, mib: int
) -> None:
    zero, nonzero = run_lengths(SampleImage(profile, mib * MIB))
    assert 2 <= statistics.median(zero) <= 3
    assert 4 <= statistics.median(nonzero) <= 6
    assert max(zero) > sum(zero) / 4


@pytest.mark.long
def test_a_real_guest_has_the_classes_and_ratio_of_the_writer_profile(
    tmp_path: Path,
) -> None:
    captures = Path(__file__).resolve().parents[3] / "shared" / "images"
    if not (captures / "unpack.py").is_file():
        pytest.skip(f"the captured guest is not here: {captures}")
    subprocess.run(
        [sys.executable, str(captures / "unpack.py"), str(tmp_path)], check=True
    )
    real = classify((tmp_path / "paused.raw").read_bytes())
    made = sample("writer", real.total * PAGE // MIB)
    assert made.share(len(made.nonzero)) == pytest.approx(
        real.share(len(real.nonzero)), abs=0.1
    )
    assert made.share(made.same_filled) == pytest.approx(
        real.share(real.same_filled), abs=0.3
    )
    assert made.share(made.duplicates) == pytest.approx(
        real.share(real.duplicates), abs=0.3
    )
    assert made.ratio(zstd_1) == pytest.approx(real.ratio(zstd_1), rel=0.07)
    assert packets(made.nonzero) == pytest.approx(packets(real.nonzero), rel=0.07)
