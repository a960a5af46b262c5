# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stream's header: names and RAM blocks that have room in it, or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migcomp.errors import StreamError
from migcomp.results import Block
from migcomp.stream.header import StreamHeader, unpack_header
from tests.conftest import (
    PAGE,
)


@pytest.mark.parametrize("length", [254, 255, 256, 400])
def test_long_texts_are_cut_between_letters(length: int) -> None:
    text = "x" + "\N{GREEK SMALL LETTER MU}" * length
    block = Block("\N{GREEK SMALL LETTER BETA}" * 300, PAGE, (1 << 64) - 1)
    header = StreamHeader(PAGE, "page", 1, 0, False, "zstd", 1, text, text, (block,))
    back = unpack_header(header.pack())
    assert text.startswith(back.provider)
    assert 253 <= len(back.provider.encode()) <= 255
    assert back.blocks == (block,)


def test_a_codecs_name_is_not_cut() -> None:
    header = StreamHeader(
        PAGE,
        "page",
        1,
        0,
        False,
        "python:" + "m" * 255,
        1,
        "",
        "",
        (Block("", PAGE, 0),),
    )
    with pytest.raises(StreamError, match="too long"):
        header.pack()
    with pytest.raises(StreamError, match="too long"):
        replace(header, codec="zstd", blocks=(Block("b" * 70000, PAGE, 0),)).pack()
    many = tuple(Block(f"b{n:010}", PAGE, 0) for n in range(150_000))
    with pytest.raises(StreamError, match=r"150000 RAM blocks.* room for 4194304"):
        replace(header, codec="zstd", blocks=many).pack()


def test_as_many_blocks_as_readers_of_images_give() -> None:
    """At the addresses that have the longest names."""
    addresses = range(1 << 63, (1 << 63) + (PAGE << 17), PAGE << 1)
    blocks = tuple(Block(f"ram@{a:#x}", PAGE, a) for a in addresses)
    header = StreamHeader(PAGE, "page", 1, 0, False, "zstd", 1, "", "", blocks)
    assert len(blocks) == 1 << 16
    assert unpack_header(header.pack()) == header
