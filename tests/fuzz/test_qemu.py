# SPDX-License-Identifier: LGPL-2.1-or-later
"""Spoilt QEMU migration streams."""

from __future__ import annotations

import pytest

from tests.conftest import make_page
from tests.fuzz.images import survive
from tests.qemu_tools import Writer, a_stream, mapped_stream

RAM = b"pc.ram"


def rounds() -> bytes:
    """Few pages, of every kind, again and again."""
    writer = Writer(blocks=((RAM, 5), (b"rom", 1)))
    writer.start()
    for number in range(4):
        writer.part()
        writer.zero(RAM, 0)
        writer.normal(RAM, 1, make_page("rows", number))
        writer.compressed(RAM, 2, make_page("text", number))
        writer.changed(RAM, 3, bytes([number + 1]) + make_page("spot", number)[1:])
        writer.zero(b"rom", 0)
        writer.end_records()
    writer.end_ram()
    return writer.finish()


@pytest.mark.usefixtures("bounded_memory")
def test_spoilt_streams() -> None:
    small = Writer(blocks=((RAM, 3),))
    small.start()
    small.part()
    small.zero(RAM, 1)
    small.compressed(RAM, 2, make_page("text"))
    small.end_records()
    small.end_ram()
    tally = survive([rounds(), small.finish(), a_stream()[0]], format="qemu")
    assert tally.spoilt


@pytest.mark.usefixtures("bounded_memory")
def test_spoilt_streams_of_mapped_ram() -> None:
    survive([mapped_stream(alignment=1 << 12)[0]], 2000, format="qemu")
