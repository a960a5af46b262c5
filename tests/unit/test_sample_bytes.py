# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the sample generator promises whatever it models: the same bytes everywhere,
whole pages, bounded memory, and a sentence for sizes that cannot be."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pytest

from migcomp.images.sample import EXTENT_BYTES, PROFILES, SampleImage
from migcomp.images.sample_kinds import KINDS
from tests.sample_pages import (
    classify,
    image_bytes,
    is_same_filled,
    zstd_1,
)

PAGE = 4096
MIB = 1 << 20

every_profile = pytest.mark.parametrize("profile", PROFILES)


GOLDEN = {
    "idle": "6885fc1b328d119b4d14766a67990b35dc98ee0d00c02c971521509bb3877843",
    "writer": "daf5dd6742e53b53fce4da8d87b43676852285883d34db4b0b35fdf1e2d18892",
    "heap": "8aefc8dd440ee8699713c4b974b5c5fa8062b2c5ae3aa2b3a7f0f256232a52bc",
}


def digest(pieces: Iterable[tuple[int, bytes]]) -> str:
    total = hashlib.sha256()
    for offset, data in pieces:
        total.update(offset.to_bytes(8, "little") + data)
    return total.hexdigest()


@every_profile
def test_bytes_are_those_of_every_release(profile: str) -> None:
    """A change here changes what users made with a seed: release notes say so."""
    image = SampleImage(profile, MIB, seed=1)
    assert digest([*image.extents(), *image.dirty_round(3)]) == GOLDEN[profile]


@pytest.mark.parametrize(("profile", "mib"), [("heap", 8), ("idle", 4), ("writer", 4)])
def test_shipped_images_are_what_the_generator_makes(profile: str, mib: int) -> None:
    shipped = (
        Path(__file__).resolve().parents[2] / "sample_images" / f"{profile}-{mib}m.raw"
    )
    assert shipped.read_bytes() == image_bytes(SampleImage(profile, mib * MIB, seed=1))


@every_profile
def test_bytes_do_not_depend_on_hash_randomisation(profile: str) -> None:
    program = (
        "import hashlib, sys\n"
        "from migcomp.images.sample import SampleImage\n"
        "image, total = SampleImage(sys.argv[1], 1 << 20, seed=1), hashlib.sha256()\n"
        "for offset, data in [*image.extents(), *image.dirty_round(3)]:\n"
        "    total.update(offset.to_bytes(8, 'little') + data)\n"
        "print(total.hexdigest())\n"
    )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "4711",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    ran = subprocess.run(
        [sys.executable, "-c", program, profile],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == GOLDEN[profile]


@every_profile
def test_iterating_again_gives_the_same_bytes(profile: str) -> None:
    image = SampleImage(profile, 4 * MIB)
    abandoned = list(islice(image.extents(), 3))
    assert list(islice(image.extents(), 3)) == abandoned
    assert digest(image.extents()) == digest(image.extents())


def test_seeds_give_different_images_with_the_same_shares() -> None:
    one, two = (
        classify(image_bytes(SampleImage("heap", 4 * MIB, seed=seed)))
        for seed in (1, 2)
    )
    assert len(one.nonzero) == len(two.nonzero)
    assert one.ratio(zstd_1) == pytest.approx(two.ratio(zstd_1), rel=0.05)
    assert len(set(one.normal) & set(two.normal)) < len(one.normal) / 100


@every_profile
@pytest.mark.parametrize("page_size", [1024, 4096, 65536])
@pytest.mark.parametrize("pages", [1, 2, 3, 7, 64, 130, 513])
def test_extents_ascend_and_hold_whole_nonzero_pages(
    profile: str, page_size: int, pages: int
) -> None:
    end = found = 0
    for offset, data in SampleImage(
        profile, pages * page_size, page_size=page_size
    ).extents():
        assert offset >= end
        assert offset % page_size == 0
        assert 0 < len(data) <= EXTENT_BYTES
        assert len(data) % page_size == 0
        assert all(
            data.count(0, at, at + page_size) < page_size
            for at in range(0, len(data), page_size)
        )
        found += len(data) // page_size
        end = offset + len(data)
    assert end <= pages * page_size
    assert found == pages - round(pages * PROFILES[profile].zero)


def test_an_image_larger_than_the_guest_goes_on_with_other_pages() -> None:
    guest = PROFILES["writer"].guest_bytes
    image = SampleImage("writer", guest + 4 * MIB)
    first = {data for _, data in islice(image.extents(), 20)}
    beyond = [(offset, data) for offset, data in image.extents() if offset >= guest]
    assert sum(len(data) for _, data in beyond) // PAGE == 1024 - round(
        1024 * PROFILES["writer"].zero
    )
    assert not first & {data for _, data in beyond if not is_same_filled(data)}


def test_memory_is_bounded_whatever_the_size() -> None:
    tracemalloc.start()
    try:
        produced = sum(
            len(data) for _, data in SampleImage("heap", 192 * MIB).extents()
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert produced > 90 * MIB
    assert peak < 24 * MIB


@pytest.mark.parametrize("size", [0, -4096, 1, 4095, 4097])
def test_a_size_which_is_no_multiple_of_the_page_size_is_an_error(size: int) -> None:
    with pytest.raises(
        ValueError, match=rf"positive multiple of its page size, 4096, not {size}$"
    ):
        SampleImage("heap", size)


@pytest.mark.parametrize("page_size", [-4096, 0, 512, 3000, 131072])
def test_an_unusual_page_size_is_an_error(page_size: int) -> None:
    with pytest.raises(
        ValueError, match=f"a power of two from 1024 to 65536 bytes, not {page_size}"
    ):
        SampleImage("heap", MIB, page_size=page_size)


def test_an_unknown_profile_is_an_error_which_names_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"no sample profile 'busy'; choose one of idle, writer, heap"
    ):
        SampleImage("busy", MIB)


@every_profile
def test_weights_are_thousandths_and_every_region_named_exists(profile: str) -> None:
    modelled = PROFILES[profile]
    assert sum(modelled.kinds.values()) == 1000
    assert {
        modelled.writable,
        *modelled.copies,
        *modelled.repeats,
    } <= modelled.regions().keys()


def test_every_kind_of_page_is_used_by_a_profile() -> None:
    assert {
        name for profile in PROFILES.values() for name in profile.kinds
    } == KINDS.keys()
