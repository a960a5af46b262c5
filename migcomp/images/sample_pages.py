# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makers of guest pages, one per sort of content seen in real Linux guests.

A maker is called with a random generator, a number of pages and the page size in bytes,
and returns that many pages. All of them are algorithmic: nothing here was copied from a
captured guest. Only `randbytes` and `getrandbits` of the generator are used, because
their output for a given seed is the same on every Python.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

PageMaker = Callable[[Random, int, int], bytes]

ANY = bytes(range(256))


def table(*shares: tuple[int, bytes]) -> bytes:
    """Build a translation table which makes uniform random bytes unevenly distributed.

    Each share is (slots out of 256, the byte values which take turns in them); slots
    left over are zero.
    """
    out = bytearray()
    for slots, values in shares:
        out += (values * (slots // len(values) + 1))[:slots]
    return bytes(out.ljust(256, b"\0"))


def same_filled(word: bytes) -> PageMaker:
    """Pages which repeat one 8-byte word, e.g. 0xCC: poison in freed init memory."""

    def make(_rng: Random, pages: int, page_size: int) -> bytes:
        return word * (pages * page_size // 8)

    return make


def noise(rng: Random, pages: int, page_size: int) -> bytes:
    """High-entropy pages, such as compressed files. No codec shrinks them."""
    return rng.randbytes(pages * page_size)


@dataclass(frozen=True)
class Record:
    """An array of equal C structures: slabs, page tables, interpreter heaps."""

    template: bytes  # the constant bytes of one structure
    columns: Mapping[int, bytes]  # byte offset -> table() of the random byte there
    counters: Mapping[int, int] = field(
        default_factory=dict
    )  # byte offset -> step of a 3-byte number

    def __call__(self, rng: Random, pages: int, page_size: int) -> bytes:
        width, size = len(self.template), pages * page_size
        count = -(-size // width)
        out = bytearray(self.template * count)
        for offset, values in self.columns.items():
            out[offset::width] = rng.randbytes(count).translate(values)
        first = rng.getrandbits(22) & ~63
        for offset, step in self.counters.items():
            numbers = array("I", range(first, first + step * count, step))
            if sys.byteorder == "big":
                numbers.byteswap()
            raw = numbers.tobytes()
            for byte in range(3):
                out[offset + byte :: width] = raw[byte::4]
        return bytes(out[:size])


def few_fields(rng: Random, pages: int, page_size: int) -> bytes:
    """Nearly empty pages: a word or two set in a page which is zero otherwise."""
    out = bytearray(pages * page_size)
    for page in range(pages):
        for _ in range(1 + rng.getrandbits(1)):
            place = page * page_size + rng.getrandbits(24) % (page_size // 8) * 8
            out[place : place + 8] = rng.randbytes(3) + b"\x01\x80\x88\xff\xff"
    return bytes(out)


@dataclass(frozen=True)
class Text:
    """Text: tokens from a pool of 4096 places; frequent tokens hold many."""

    tokens: tuple[bytes, ...]

    def __call__(self, rng: Random, pages: int, page_size: int) -> bytes:
        size = pages * page_size
        out = bytearray()
        while len(out) < size:
            count = page_size // 4
            draws = struct.unpack(f"<{count}H", rng.randbytes(2 * count))
            out += b"".join([self.tokens[draw & 4095] for draw in draws])
        return bytes(out[:size])


@dataclass(frozen=True)
class Code:
    """Machine code: bytes of uneven frequencies, with idioms strewn in."""

    frequencies: bytes
    idioms: Mapping[
        int, bytes
    ]  # a byte value drawn from `frequencies` -> the instructions it stands for

    def __call__(self, rng: Random, pages: int, page_size: int) -> bytes:
        size = pages * page_size
        out = rng.randbytes(size).translate(self.frequencies)
        for mark, instructions in self.idioms.items():
            out = out.replace(bytes((mark,)), instructions)
        return out[:size]
