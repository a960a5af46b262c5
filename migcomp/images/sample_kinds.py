# SPDX-License-Identifier: LGPL-2.1-or-later
"""The catalogue of page kinds: what the pages of a Linux guest hold, region by region.

Structure sizes, pointer ranges and byte frequencies are those of x86-64 Linux; how many
pages of each kind a guest has is a matter of its profile (`sample.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from migcomp.images.sample_pages import (
    ANY,
    Code,
    PageMaker,
    Record,
    Text,
    few_fields,
    noise,
    same_filled,
    table,
)


def source_tokens() -> tuple[bytes, ...]:
    """Tokens of Python-like source text: 700 invented names, some very frequent."""
    rng = Random(0x736F75726365)
    syllables = (
        b"re se con ta le in ma page dirty ro un me mo ry que ue buf fer size "
        b"co de lo ad"
    ).split()

    def syllable() -> bytes:
        return syllables[rng.getrandbits(16) % len(syllables)]

    names = [
        b"_".join(syllable() + syllable() for _ in range(1 + rng.getrandbits(1)))
        for _ in range(700)
    ]
    joints = (
        b" = self.",
        b"(self, ",
        b")\n        ",
        b")\n            return ",
        b".",
        b", ",
        b" is not None:\n            ",
        b"\n\n    def ",
        b" for ",
        b" in ",
        b"[",
        b"] = ",
        b" + ",
        b'"',
    )
    tokens = []
    for place in range(4096):
        # The square makes the distribution of names Zipf-like.
        rank = (place % 640) ** 2 * len(names) // 640**2
        tokens.append(names[rank] + joints[rng.getrandbits(16) % len(joints)])
    return tuple(tokens)


def counter_tokens() -> tuple[bytes, ...]:
    """Tokens of a program's text-like heap: `word=number;` pairs."""
    rng = Random(0x636F756E746572)
    words = (
        b"page memory kernel guest dirty round queue thread bitmap codec ratio stream"
    ).split()
    return tuple(
        words[rng.getrandbits(16) % 12] + b"=%d;" % (rng.getrandbits(24) % 100000)
        for _ in range(4096)
    )


_ZERO = bytes(8)
_TEXT_POINTER = bytes.fromhex(
    "00000081ffffffff"
)  # into the kernel's text, 0xffffffff81......
_HEAP_POINTER = bytes.fromhex(
    "000030f7ff7f0000"
)  # into a process's mmap area, 0x7ffff7......
_DIRECT_POINTER = bytes.fromhex(
    "000000008088ffff"
)  # into the kernel's direct mapping, 0xffff8880........
_PAGE_POINTER = bytes.fromhex(
    "0800000000eaffff"
)  # to a `struct page`, 0xffffea00........
_ALIGNED8 = bytes(byte & 0xF8 for byte in range(256))
_ALIGNED16 = bytes(byte & 0xF0 for byte in range(256))
_ARENA = table((256, bytes(range(0x30, 0x36))))
_DIGIT = table((256, b"0123456789"))
_LETTER = table((256, b"eeeeetttaaoooinnsshrdlucmpg_ "))
_REFERENCES = table((128, b"\1"), (64, b"\2"), (64, b"\3"))
_IDIOMS = tuple(
    bytes.fromhex(code)
    for code in (
        "4889e5415741564155415453",
        "5b5d415c415d415e415fc36690",
        "4883ec1864488b042528000000",
        "e8000000004885c00f84",
        "31c0c30f1f8000000000",
        "488b442410488d742420",
        "554889fd534889f34883ec08",
        "0f1f440000f30f1efa",
    )
)
_FREQUENT_CODE = bytes.fromhex("488b4889ff0f48850f8424e8ebc7834c89418d")


def _few(values: int) -> bytes:
    """A table of the numbers 0 to values - 1, equally often."""
    return table((256, bytes(range(values))))


def _digits(*places: int) -> dict[int, bytes]:
    return dict.fromkeys(places, _DIGIT)


def _code(zero: int, ones: int, frequent: int, idioms: int, step: int = 1) -> Code:
    """Machine code: fewer byte values and more idioms make it compress better.

    `zero`, `ones` and `frequent` are the slots, out of 256, of 0x00, 0xFF and the
    frequent opcodes; of the other byte values every `step`-th occurs. `idioms` is how
    many of the idioms are strewn in.
    """
    others = bytes(range(1, 256, step))
    frequencies = table(
        (zero, b"\0"),
        (ones, b"\xff"),
        (frequent, _FREQUENT_CODE),
        (256 - zero - ones - frequent, others),
    )
    marks = [byte for byte in others if byte not in _FREQUENT_CODE][3::5]
    return Code(frequencies, dict(zip(marks, _IDIOMS[:idioms], strict=False)))


@dataclass(frozen=True)
class Kind:
    """One kind of page: the region of guest memory it lies in, and its maker."""

    region: str
    make: PageMaker


KINDS: Mapping[str, Kind] = {
    "poison-cc": Kind("poison", same_filled(b"\xcc" * 8)),
    "poison-58": Kind("poison", same_filled(b"\x58" * 8)),
    "poison-ff": Kind("poison", same_filled(b"\xff" * 8)),
    "few-fields": Kind("fresh", few_fields),
    "page-structs": Kind(
        "kernel",
        Record(
            bytes.fromhex("00000000c0ff1700")
            + _PAGE_POINTER * 2
            + _ZERO * 3
            + bytes.fromhex("ffffffff00000000")
            + _ZERO,
            {1: table((12, b"\x08\x10\x40"))},
            {8: 64},
        ),
    ),
    "slab-128": Kind(
        "kernel",
        Record(
            _DIRECT_POINTER * 2
            + _ZERO * 5
            + _TEXT_POINTER
            + bytes.fromhex("01000000ffffffff")
            + _ZERO * 7,
            {0: _ALIGNED8, 1: ANY, 2: _few(2), 8: _ALIGNED8, 9: _few(4), 56: _few(4)},
        ),
    ),
    "slab-96": Kind(
        "kernel",
        Record(
            _DIRECT_POINTER
            + _ZERO
            + _TEXT_POINTER
            + _DIRECT_POINTER
            + _ZERO * 6
            + bytes.fromhex("01000000ffffffff")
            + _ZERO,
            {
                0: _ALIGNED8,
                1: ANY,
                2: _few(8),
                16: _few(8),
                24: _ALIGNED8,
                25: ANY,
                80: _few(3),
            },
        ),
    ),
    "slab-64": Kind(
        "kernel",
        Record(
            _DIRECT_POINTER
            + _ZERO
            + _TEXT_POINTER
            + _DIRECT_POINTER
            + _ZERO * 2
            + bytes.fromhex("01000000ffffffff")
            + _ZERO,
            {
                0: _ALIGNED8,
                1: ANY,
                2: _few(8),
                16: _few(8),
                17: _few(4),
                24: _ALIGNED8,
                25: ANY,
                26: _few(2),
                48: _few(3),
            },
        ),
    ),
    "page-table": Kind(
        "kernel",
        Record(
            bytes.fromhex("6700000000000080"),
            {0: table((250, b"\x67"), (6, b"\x65")), 2: _few(8), 3: _few(4)},
        ),
    ),
    "source-text": Kind("cache", Text(source_tokens())),
    "code-tight": Kind("cache", _code(30, 10, 140, 8)),
    "code": Kind("cache", _code(24, 10, 80, 8)),
    "code-data": Kind("cache", _code(30, 8, 90, 8, 2)),
    "code-loose": Kind("cache", _code(16, 6, 60, 2)),
    "counter-text": Kind("heap", Text(counter_tokens())),
    "json-rows": Kind(
        "heap",
        Record(
            b'{"id": 00000, "name": "user000000", "email": "user000000@example.org", '
            b'"score": 0.0000000000000000, '
            b'"bio": "page queue round dirty guest memory"}\0\0\0\0',
            _digits(*range(7, 12), *range(27, 33), *range(82, 98)),
        ),
    ),
    "objects": Kind(
        "heap",
        Record(
            _ZERO
            + bytes.fromhex("405d9a5555550000")
            + _ZERO
            + _HEAP_POINTER * 2
            + _ZERO,
            {
                0: _REFERENCES,
                16: ANY,
                24: _ALIGNED16,
                25: ANY,
                26: _ARENA,
                32: _ALIGNED16,
                33: ANY,
                34: _ARENA,
            },
        ),
    ),
    "strings": Kind(
        "heap",
        Record(
            _ZERO
            + bytes.fromhex("405d9a55555500001600000000000000")
            + _ZERO
            + b"\xe4\0\0\0\0\0\0\0user000000@example.org\0\0",
            {
                0: _REFERENCES,
                **dict.fromkeys(range(24, 32), ANY),
                **_digits(*range(44, 50)),
            },
        ),
    ),
    "pointer-list": Kind(
        "heap", Record(_HEAP_POINTER, {0: _ALIGNED16, 1: ANY, 2: _ARENA})
    ),
    "dict-entries": Kind(
        "heap",
        Record(
            _ZERO + _HEAP_POINTER * 2,
            {
                **dict.fromkeys(range(8), ANY),
                8: _ALIGNED16,
                9: ANY,
                10: _ARENA,
                16: _ALIGNED16,
                17: ANY,
                18: _ARENA,
            },
        ),
    ),
    "table-rows": Kind(
        "heap",
        Record(
            b"\0\0\0\0\6\0\x17\x33\7user000000user000000@example.org"
            + _ZERO
            + b"page queue round guest\0\0",
            {
                **dict.fromkeys((2, 3, *range(41, 48)), ANY),
                **_digits(*range(13, 19), *range(23, 29)),
                **dict.fromkeys(range(50, 62), _LETTER),
            },
        ),
    ),
    "integers": Kind("heap", Record(bytes(4), {0: ANY, 1: _few(3)})),
    "floats": Kind(
        "heap",
        Record(
            bytes(8),
            {
                **dict.fromkeys(range(7), ANY),
                7: table((100, b"\x3f"), (100, b"\xbf"), (28, b"\x40"), (28, b"\xc0")),
            },
        ),
    ),
    "packed-text": Kind(
        "heap", Code(table((15, b" "), (15, b"0"), (226, bytes(range(30, 256)))), {})
    ),
    "noise": Kind("packed", noise),
}
