# SPDX-License-Identifier: LGPL-2.1-or-later
"""What to sweep over: named sets, or a file's, and lists that take their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from migcomp.bench.sweep_results import Setting
from migcomp.codecs import GROUPINGS, Codec, open_codec
from migcomp.errors import CodecUnavailable, LevelUnknown
from migcomp.workqueue import MAX_THREADS, usable_cpus

#: Fewer cannot tell noise from differences.
ROUNDS_LEAST = 5
ROUNDS_MOST = 1000
SETTINGS_MOST = 10_000


@dataclass(frozen=True)
class Product:
    """A cross product; ``levels`` None stands for the codec's default."""

    codec: str
    levels: tuple[int, ...] | None
    groupings: tuple[str, ...]
    threads: tuple[int, ...]
    dedup: tuple[bool, ...] = (False,)


@dataclass(frozen=True)
class Lists:
    """What takes the place of a set's own lists; None leaves one as it is."""

    codecs: tuple[str, ...] | None = None
    levels: tuple[int, ...] | None = None
    groupings: tuple[str, ...] | None = None
    threads: tuple[int, ...] | None = None
    dedup: tuple[bool, ...] | None = None


# --- Named sets ----------------------------------------------------------------

_Levels = Mapping[str, tuple[int, ...]]

_QUICK: _Levels = {"zstd": (1,), "lz4": (1,), "zlib": (1,)}
_STANDARD: _Levels = {"zstd": (1, 3, 6), "lz4": (1,), "zlib": (1, 6)}
_FULL: _Levels = {
    "none": (0,),
    "zstd": (-5, -1, 1, 2, 3, 4, 6, 9, 12),
    "lz4": (-9, 1, 3, 9),
    "zlib": (1, 3, 6, 9),
}
SETS = ("quick", "standard", "full")


def named_set(name: str) -> tuple[Product, ...]:
    """One of SETS, with numbers of threads for this machine."""
    cpus = min(usable_cpus(), MAX_THREADS)
    doubled = {1 << power for power in range(cpus.bit_length()) if 1 << power <= cpus}
    if name == "quick":
        return _products(_QUICK, ("page", "packet"), {1, cpus})
    if name == "standard":
        return _products(_STANDARD, GROUPINGS, doubled | {cpus})
    return _products(_FULL, GROUPINGS, doubled | {cpus}, dedup=(False, True))


def _products(
    levels: _Levels,
    groupings: tuple[str, ...],
    threads: set[int],
    dedup: tuple[bool, ...] = (False,),
) -> tuple[Product, ...]:
    return tuple(
        Product(codec, of_codec, groupings, tuple(sorted(threads)), dedup)
        for codec, of_codec in levels.items()
    )


# --- Settings ------------------------------------------------------------------


def narrowed(products: tuple[Product, ...], lists: Lists) -> tuple[Product, ...]:
    """The set with the lists that were given instead of its own.

    A codec that the set does not have gets its default level, and else the lists
    of the set's first.
    """
    if lists.codecs is not None:
        products = tuple(
            product
            for codec in lists.codecs
            for product in [p for p in products if p.codec == codec]
            or [replace(products[0], codec=codec, levels=None)]
        )
    return tuple(
        replace(
            product,
            groupings=lists.groupings or product.groupings,
            threads=lists.threads or product.threads,
            dedup=lists.dedup or product.dedup,
        )
        for product in products
    )


@dataclass(frozen=True)
class Expansion:
    """``left_out``: why some of a set cannot be had here; ``notices``: what to know
    of the codecs that can."""

    settings: tuple[Setting, ...]
    left_out: tuple[str, ...]
    notices: tuple[str, ...]


def settings_of(
    products: Iterable[Product], levels: tuple[int, ...] | None, *, needed: bool
) -> Expansion:
    """All settings of the products, each once.

    ``levels``, where given, take the place of the products' own; of them, each codec
    takes those that it has.  ``needed``: a codec that is not available is an error,
    and not left out.  Raises CodecUnavailable, LevelUnknown where only the levels
    are to blame, and ValueError for too many.
    """
    found: dict[Setting, None] = {}
    left_out: dict[str, CodecUnavailable] = {}
    notices: dict[str, None] = {}
    for product in products:
        for grouping in product.groupings:
            try:
                codecs = _codecs(product, grouping, levels)
            except CodecUnavailable as error:
                if needed:
                    raise
                left_out[str(error)] = error
                continue
            notices.update((codec.notice, None) for codec in codecs if codec.notice)
            settings = (
                Setting(product.codec, codec.level, grouping, threads, dedup)
                for codec in codecs
                for dedup in product.dedup
                for threads in product.threads
            )
            for setting in settings:
                found[setting] = None
                if len(found) > SETTINGS_MOST:
                    raise ValueError(
                        f"a sweep has at most {SETTINGS_MOST:,} settings; "
                        "give shorter lists"
                    )
    if not found:
        kinds = set(map(type, left_out.values()))
        kind = LevelUnknown if kinds == {LevelUnknown} else CodecUnavailable
        raise kind("; ".join(left_out))
    return Expansion(tuple(found), tuple(left_out), tuple(notices))


def _codecs(
    product: Product, grouping: str, levels: tuple[int, ...] | None
) -> tuple[Codec, ...]:
    """The product's codec at each level."""
    if levels is None:
        own: tuple[int | None, ...] = product.levels or (None,)
        return tuple(
            open_codec(product.codec, level=level, grouping=grouping) for level in own
        )
    known: list[Codec] = []
    problems: list[CodecUnavailable] = []
    for level in levels:
        try:
            known.append(open_codec(product.codec, level=level, grouping=grouping))
        except CodecUnavailable as error:
            problems.append(error)
    if not known:
        raise problems[0]
    return tuple(known)
