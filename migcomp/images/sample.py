# SPDX-License-Identifier: LGPL-2.1-or-later
"""Generated guest-memory images that look to a page compressor like real ones.

The profiles are modelled on three stopped Debian 12 guests (x86-64, kernel 6.1): their
shares of zero, same-filled and duplicate pages, lengths of runs, sizes of pages after
zstd-1 and lz4, and the pages they dirty from one second to the next. Image bytes depend
on profile, size, page size and seed alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from random import Random

from migcomp.images.sample_kinds import KINDS
from migcomp.images.sample_layout import Span, apportion, lay_out, shuffled

EXTENT_BYTES = 1 << 20  # the most one extent holds
_CELL_BYTES = 512 << 10  # content is made this much at a time
_SCHEDULE = 1024  # pages after which a region's sequence of page kinds repeats
_STRETCH = 8  # pages of one kind in a row
_NEAR = 16  # how many pages of its kind back a page repeats bytes from


@dataclass(frozen=True)
class Profile:
    """What distinguishes one sort of guest; shares are of all its pages unless said."""

    guest_bytes: int  # memory of the measured guest; larger images are laid out anew
    zero: float  # share of zero pages
    kinds: Mapping[str, int]  # page kind -> thousandths of the non-zero pages
    copies: Mapping[str, float]  # region -> share of its pages that repeat others of it
    repeats: Mapping[str, float]  # region -> share of a page copied from a page before
    runs: int  # runs of non-zero pages in such a guest
    writable: str  # the region whose pages get dirty
    dirty: float  # share of pages which change in a round, of about one second
    hot: float  # pages which change at all, as a multiple of those of one round
    changed_bytes: tuple[int, ...]  # of a dirty page, at p5, p15 ... p95
    changed_run: int  # most changed bytes in a row

    def regions(self) -> dict[str, int]:
        """Region -> thousandths of the non-zero pages."""
        regions: dict[str, int] = {}
        for name, weight in self.kinds.items():
            region = KINDS[name].region
            regions[region] = regions.get(region, 0) + weight
        return regions


PROFILES: Mapping[str, Profile] = {
    "idle": Profile(
        guest_bytes=256 << 20,
        zero=0.694,
        kinds={
            "poison-cc": 186, "poison-ff": 4,
            "few-fields": 13,
            "page-structs": 56, "slab-128": 21, "slab-96": 12, "slab-64": 178,
            "page-table": 27,
            "source-text": 57, "code-tight": 61, "code": 75, "code-data": 62,
            "code-loose": 14,
            "table-rows": 15, "json-rows": 11, "integers": 9,
            "noise": 199,
        },
        copies={"packed": 0.5, "kernel": 0.03},
        repeats={"kernel": 0.4},
        runs=214,
        writable="kernel",
        dirty=0.00055,
        hot=1.5,
        changed_bytes=(1, 3, 5, 6, 8, 20, 35, 44, 65, 110),
        changed_run=3,
    ),
    "writer": Profile(
        guest_bytes=128 << 20,
        zero=0.347,
        kinds={
            "poison-cc": 69, "poison-ff": 3,
            "few-fields": 10,
            "page-structs": 30, "slab-128": 12, "slab-96": 21, "slab-64": 145,
            "page-table": 52,
            "source-text": 50, "code-tight": 58, "code": 56, "code-data": 73,
            "code-loose": 9,
            "counter-text": 129, "table-rows": 125, "integers": 22,
            "noise": 136,
        },
        copies={"kernel": 0.04},
        repeats={"kernel": 0.4, "cache": 0.05, "heap": 0.16},
        runs=204,
        writable="heap",
        dirty=0.0383,
        hot=1.63,
        changed_bytes=(4, 4, 4, 4, 4, 4, 8, 8, 8, 12),
        changed_run=1,
    ),
    "heap": Profile(
        guest_bytes=1 << 30,
        zero=0.483,
        kinds={
            "poison-cc": 178, "poison-58": 7, "poison-ff": 1,
            "few-fields": 6,
            "page-structs": 45, "slab-128": 32, "slab-96": 30, "slab-64": 78,
            "source-text": 40, "code-tight": 40, "code": 27, "code-data": 47,
            "code-loose": 2,
            "json-rows": 46, "objects": 9, "strings": 67, "pointer-list": 27,
            "dict-entries": 73,
            "table-rows": 120, "integers": 3, "floats": 27, "packed-text": 58,
            "noise": 37,
        },
        copies={"kernel": 0.1, "cache": 0.3, "heap": 0.12},
        repeats={"kernel": 0.4, "cache": 0.25, "heap": 0.22},
        runs=255,
        writable="heap",
        dirty=0.0154,
        hot=1.1,
        changed_bytes=(10, 15, 18, 22, 27, 33, 38, 46, 80, 160),
        changed_run=7,
    ),
}  # fmt: skip


@cache
def _schedule(profile: str, region: str) -> tuple[str, ...]:
    """Page kinds of a region in turn, spread so that short parts have their shares."""
    weights = {
        name: weight
        for name, weight in PROFILES[profile].kinds.items()
        if KINDS[name].region == region
    }
    whole = sum(weights.values())
    owed = dict.fromkeys(weights, 0)
    turns = []
    for _ in range(_SCHEDULE // _STRETCH):
        for name, weight in weights.items():
            owed[name] += weight
        turn = max(owed, key=owed.__getitem__)
        owed[turn] -= whole
        turns += [turn] * _STRETCH
    return tuple(turns)


class SampleImage:
    """A memory image of `size` bytes in the manner of `profile`, one for each `seed`.

    `page_size` is in bytes. Raises ValueError when the profile is unknown, when the
    page size is not a power of two from 1 KiB to 64 KiB, and when the size is not a
    positive multiple of the page size.
    """

    def __init__(
        self, profile: str, size: int, *, seed: int = 0, page_size: int = 4096
    ) -> None:
        if profile not in PROFILES:
            raise ValueError(
                f"there is no sample profile {profile!r}; "
                f"choose one of {', '.join(PROFILES)}"
            )
        if not 1024 <= page_size <= 65536 or page_size & (page_size - 1):
            raise ValueError(
                "a page size must be a power of two from 1024 to 65536 bytes, "
                f"not {page_size}"
            )
        if size <= 0 or size % page_size:
            raise ValueError(
                "an image's size must be a positive multiple of its page size, "
                f"{page_size}, not {size}"
            )
        self.profile = profile
        self.size = size
        self.seed = seed
        self.page_size = page_size

    def extents(self) -> Iterator[tuple[int, bytes]]:
        """Yield (byte offset, data) of all that is not zero, ascending, 1 MiB at most.

        Extents are made of whole pages, none of them a zero page, and do not overlap.
        """
        most = EXTENT_BYTES // self.page_size
        for zone in self._zones():
            start, pages, parts = 0, 0, list[bytes]()
            for span in zone.spans:
                first, end = span.page, span.page + span.pages
                if parts and first != start + pages:
                    yield zone.offset + start * self.page_size, b"".join(parts)
                    pages, parts = 0, []
                while first < end:
                    if not parts:
                        start = first
                    count = min(end - first, most - pages)
                    parts += zone.contents(span, first, count)
                    first += count
                    pages += count
                    if pages == most:
                        yield zone.offset + start * self.page_size, b"".join(parts)
                        pages, parts = 0, []
            if parts:
                yield zone.offset + start * self.page_size, b"".join(parts)

    def dirty_round(self, number: int) -> Iterator[tuple[int, bytes]]:
        """Yield (byte offset, page) of what differs from round `number` - 1, ascending.

        Round 0 is `extents()`; a round's changes stay in the rounds after it. Raises
        ValueError when `number` is less than 1.
        """
        if number < 1:
            raise ValueError(f"rounds of dirty pages are numbered from 1, not {number}")
        return self._dirty_pages(number)

    def _dirty_pages(self, number: int) -> Iterator[tuple[int, bytes]]:
        for zone in self._zones():
            now = zone.dirty(number)
            starts = [span.page for span in zone.spans]
            contents = {}
            for page in sorted(now):
                span = zone.spans[bisect_right(starts, page) - 1]
                contents[page] = bytearray(b"".join(zone.contents(span, page, 1)))
            for earlier in range(1, number):
                for page in now & zone.dirty(earlier):
                    zone.change(contents[page], page, earlier)
            for page, content in contents.items():
                zone.change(content, page, number)
                yield zone.offset + page * self.page_size, bytes(content)

    def _zones(self) -> Iterator[_Zone]:
        zone_bytes = PROFILES[self.profile].guest_bytes
        for offset in range(0, self.size, zone_bytes):
            yield _Zone(
                self.profile,
                f"{self.seed}/{offset}",
                offset,
                min(zone_bytes, self.size - offset),
                self.page_size,
            )


class _Zone:
    """As much of an image as the guest had, made on its own to bound memory."""

    def __init__(
        self, name: str, seed: str, offset: int, size: int, page_size: int
    ) -> None:
        self.name, self.seed, self.offset, self.page_size = (
            name,
            seed,
            offset,
            page_size,
        )
        self.pages = size // page_size
        self.profile = profile = PROFILES[name]
        zero = round(self.pages * profile.zero)
        regions = profile.regions()
        totals = dict(
            zip(
                regions,
                apportion(self.pages - zero, list(regions.values())),
                strict=True,
            )
        )
        copies = {
            region: int(totals[region] * share)
            for region, share in profile.copies.items()
        }
        unique = {
            region: total - copies.get(region, 0) for region, total in totals.items()
        }
        self.spans = lay_out(
            self._rng("layout"), self.pages, zero, profile.runs, unique, copies
        )
        writable = (
            page
            for span in self.spans
            if span.region == profile.writable
            for page in range(span.page, span.page + span.pages)
        )
        self._dirty_pages = max(1, round(self.pages * profile.dirty))
        self._hot = list(
            islice(writable, max(1, round(self.pages * profile.dirty * profile.hot)))
        )
        self._cells: dict[tuple[str, bool], tuple[int, bytes]] = {}
        self._cell_pages = _CELL_BYTES // page_size

    def _rng(self, *purpose: object) -> Random:
        # Text seeds through SHA-512: the same on every Python, unlike hash().
        return Random("/".join(map(str, (self.name, self.seed, *purpose))))

    def contents(self, span: Span, page: int, pages: int) -> Iterator[bytes]:
        """Yield `pages` pages of a span, from page `page` on, in pieces."""
        ordinal = span.ordinal + page - span.page
        while pages:
            cell, inside = divmod(ordinal, self._cell_pages)
            count = min(pages, self._cell_pages - inside)
            data = self._cell(span.region, span.copy, cell)
            yield data[inside * self.page_size : (inside + count) * self.page_size]
            ordinal += count
            pages -= count

    def _cell(self, region: str, copy: bool, cell: int) -> bytes:
        # Unique pages and copies each walk a region once from front to back, so one
        # cell of either is enough.
        number, data = self._cells.get((region, copy), (-1, b""))
        if number != cell:
            data = self._make_cell(region, cell)
            self._cells[region, copy] = cell, data
        return data

    def _make_cell(self, region: str, cell: int) -> bytes:
        schedule = _schedule(self.name, region)
        first = cell * self._cell_pages
        turns = [
            schedule[ordinal % _SCHEDULE]
            for ordinal in range(first, first + self._cell_pages)
        ]
        rng = self._rng(region, cell)
        size = self.page_size
        pages: dict[str, Iterator[bytes]] = {}
        for kind in sorted(set(turns)):
            made = self._repeat(
                rng, KINDS[kind].make(rng, turns.count(kind), size), region
            )
            pages[kind] = iter(
                [made[at : at + size] for at in range(0, len(made), size)]
            )
        return b"".join([next(pages[kind]) for kind in turns])

    def _repeat(self, rng: Random, made: bytes, region: str) -> bytes:
        """Let pages share bytes with earlier ones: it is what packets gain from."""
        length = int(self.profile.repeats.get(region, 0.0) * self.page_size)
        if not length:
            return made
        out = bytearray(made)
        for page in range(self.page_size, len(out), self.page_size):
            back = (
                1 + rng.getrandbits(16) % min(_NEAR, page // self.page_size)
            ) * self.page_size
            start = page + rng.getrandbits(24) % (self.page_size - length)
            out[start : start + length] = out[start - back : start - back + length]
        return bytes(out)

    def dirty(self, number: int) -> frozenset[int]:
        """Pages which change in round `number`."""
        return frozenset(
            shuffled(self._rng("round", number), self._hot)[: self._dirty_pages]
        )

    def change(self, content: bytearray, page: int, number: int) -> None:
        """Write to a page what round `number` does; each byte gets another value."""
        rng = self._rng("round", number, page)
        quantiles = self.profile.changed_bytes
        left = quantiles[rng.getrandbits(16) % len(quantiles)]
        places: set[int] = set()
        while left:
            place = rng.getrandbits(24) % (self.page_size // 8) * 8
            if place in places:
                continue
            places.add(place)
            for byte in range(place, place + min(left, self.profile.changed_run)):
                content[byte] = (content[byte] + 1 + rng.getrandbits(16) % 255) & 255
                left -= 1
