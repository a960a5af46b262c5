# SPDX-License-Identifier: LGPL-2.1-or-later
"""Spoilt files of every format: each gives pages, or one clear sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.formats import FORMATS
from tests.fuzz.images import Tally, read_spoilt, survive


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize("name", FORMATS)
def test_spoilt_files(name: str, tmp_path: Path) -> None:
    format = FORMATS[name]()
    tally = survive(format, tmp_path)
    # A mutation that spoils nothing, or everything, shows nothing.
    assert tally.refused
    assert tally.read
    assert bool(tally.spoilt) >= format.decoded


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_spoilt_was_good(name: str, tmp_path: Path) -> None:
    format, tally = FORMATS[name](), Tally()
    for seed in format.seeds:
        read_spoilt(format, seed, tmp_path, tally)
    assert (tally.refused, tally.spoilt, tally.read) == (0, 0, len(format.seeds))
