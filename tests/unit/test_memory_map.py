# SPDX-License-Identifier: LGPL-2.1-or-later
"""The map of memory in reports, and its key."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from migcomp.report.memory_map import MARKS, format_address, legend, memory_map
from migcomp.report.parts import map_parts
from migcomp.report.terminal import render
from migcomp.results import Block, PageCounts, Region
from tests.report_tools import MIB, a_result


def test_each_block_has_rows_of_its_own_and_small_ones_share_one() -> None:
    blocks = (
        Block("low", 64 * MIB, 0),
        Block("high", 63 * MIB, 4 * 2**30),
        Block("vga", MIB // 2, 0xFD000000),
        Block("rom", MIB // 2, 0xFFFC0000),
    )
    chart = memory_map(blocks, a_result().regions, 4096, 64, 8)
    assert [row.label for row in chart.rows] == [
        "0",
        "32 MiB",
        "4 GiB",
        f"{4 * 2**30 + 32 * MIB:#x}",
        "small blocks",
    ]
    assert [len(row.cells) for row in chart.rows] == [64, 64, 64, 62, 2]
    assert sum(row.guest_bytes for row in chart.rows) == 128 * MIB
    assert chart.cell_bytes == MIB // 2


def test_cells_finer_than_regions_repeat_them() -> None:
    regions = (
        Region(0, PageCounts(zero=10), 0),
        Region(10, PageCounts(normal=6), 24800),
    )
    blocks = tuple(Block(str(i), 8 * 4096, i * 8 * 4096) for i in range(2))
    chart = memory_map(blocks, regions, 4096, 64, 8)
    assert [row.cells for row in chart.rows] == [("zero",), ("full",)]


def test_a_row_of_the_map_ends_with_its_block() -> None:
    blocks = (Block("ram", 4996, 0),)
    regions = (Region(0, PageCounts(compressed=2), 83),)
    (row,) = memory_map(blocks, regions, 4096, 64, 8).rows
    assert (row.guest_bytes, row.stream_bytes) == (4996, 83)


def test_the_key_breaks_between_entries() -> None:
    blocks = (Block("ram", 512 * 4096, 0),)
    chart = memory_map(blocks, (Region(0, PageCounts(zero=128), 0),), 4096, 64, 8)
    for width in range(30, 100):
        console = Console(file=io.StringIO(), width=width)
        _, _, *key = map_parts(chart, console)
        lines = [str(line) for line in key]
        assert max(map(len, lines)) <= width - 2
        assert lines[-1].endswith("? not there")
        assert "  ".join(lines) == "  ".join(
            meaning for _, meaning in legend(chart, MARKS)
        )


def test_pages_that_a_damaged_stream_lacks_are_missing() -> None:
    blocks = (Block("ram", 512 * 4096, 0),)
    regions = (Region(0, PageCounts(zero=128), 0),)
    chart = memory_map(blocks, regions, 4096, 64, 8)
    assert chart.rows[0].cells == ("zero", "missing", "missing", "missing")


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (0, "0"),
        (MIB, "1 MiB"),
        (3 * 2**29, "1.5 GiB"),
        (4096, "0x1000"),
        (0xFFFC0000, "0xfffc0000"),
        (2**42, "4 TiB"),
        (2**32 + 4096, "0x100001000"),
    ],
)
def test_an_address_is_short_only_where_that_is_exact(address: int, text: str) -> None:
    assert format_address(address) == text


def test_the_map_needs_no_unicode() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    render(a_result(), Console(file=file, width=80, color_system=None))
    file.seek(0)
    assert "..-=+x%#" in file.read()
