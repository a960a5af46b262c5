# SPDX-License-Identifier: LGPL-2.1-or-later
"""Spoilt streams of ours, read as images: every flipped bit is found."""

from __future__ import annotations

import pytest

from migcomp.pipeline import Choice
from tests.conftest import compressed, make_pages
from tests.fuzz.images import survive


@pytest.mark.usefixtures("bounded_memory")
def test_spoilt_streams() -> None:
    data = make_pages("rows", "zero", "same", "text", "rows", "noise")
    seeds = [
        compressed(data, Choice(grouping=grouping, dedup=dedup, packet_pages=2))[0]
        for grouping, dedup in (("page", True), ("packet", False), ("stream", True))
    ]
    survive(seeds, 2000, format="migcomp")
