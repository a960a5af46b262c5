# SPDX-License-Identifier: LGPL-2.1-or-later
"""What to sweep over: named sets, a TOML file, and lists that take their place."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from migcomp.bench.sweep_results import Setting
from migcomp.codecs import CODECS, GROUPINGS, Codec, open_codec
from migcomp.errors import CodecUnavailable
from migcomp.units import quoted
from migcomp.workqueue import MAX_THREADS, usable_cpus

#: Fewer cannot tell noise from differences.
ROUNDS_LEAST = 5
ROUNDS_MOST = 1000
SETTINGS_MOST = 10_000

_FILE_MOST = 1 << 20

#: What a TOML file's values are called.
_WORDS: Mapping[type, str] = {
    int: "a whole number",
    str: "a name in quotes",
    bool: "true or false",
}

_Value = TypeVar("_Value")


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


# --- TOML ----------------------------------------------------------------------


@dataclass(frozen=True)
class PlanFile:
    """``rounds`` is None where the file does not tell."""

    products: tuple[Product, ...]
    rounds: int | None


def read_plan(path: str) -> PlanFile:
    """A TOML file: ``rounds``, and one or more tables ``[[sweep]]``, each a cross
    product of ``codec``, ``level``, ``grouping``, ``threads`` and ``dedup``, which are
    values or arrays of them.

    Raises ValueError with a sentence, and OSError.
    """
    with Path(path).open("rb") as file:
        text = file.read(_FILE_MOST + 1)
    if len(text) > _FILE_MOST:
        raise ValueError(f"{path} is too long for a plan")
    try:
        content = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    _check_keys(path, content, ("rounds", "sweep"))
    tables = content.get("sweep")
    if not isinstance(tables, list) or not tables:
        raise ValueError(f"{path} has no table [[sweep]]")
    products: list[Product] = []
    for table in tables:
        if not isinstance(table, dict):
            raise ValueError(f"{path} has no table [[sweep]]")
        products += _of_table(path, table)
    rounds = content.get("rounds")
    if rounds is not None and not ROUNDS_LEAST <= _integer(rounds) <= ROUNDS_MOST:
        raise ValueError(
            f"{path}: rounds must be {ROUNDS_LEAST} to {ROUNDS_MOST}, "
            f"not {quoted(str(rounds))}"
        )
    return PlanFile(tuple(products), rounds)


def _of_table(path: str, table: dict[str, object]) -> list[Product]:
    _check_keys(path, table, ("codec", "level", "grouping", "threads", "dedup"))
    codecs = _list(path, table, "codec", str, ["zstd"])
    levels = _list(path, table, "level", int, [])
    groupings = _list(path, table, "grouping", str, ["packet"])
    threads = _list(path, table, "threads", int, [min(usable_cpus(), MAX_THREADS)])
    for what, names, known in (
        ("codec", codecs, CODECS),
        ("grouping", groupings, GROUPINGS),
    ):
        for name in names:
            if name not in known:
                raise ValueError(
                    f"{path}: there is no {what} {quoted(name)}; there are "
                    f"{', '.join(known)}"
                )
    for number in threads:
        if not 1 <= number <= MAX_THREADS:
            raise ValueError(
                f"{path}: threads must be 1 to {MAX_THREADS}, not {quoted(str(number))}"
            )
    return [
        Product(
            codec,
            tuple(levels) or None,
            tuple(groupings),
            tuple(threads),
            tuple(_list(path, table, "dedup", bool, [False])),
        )
        for codec in codecs
    ]


def _list(
    path: str,
    table: dict[str, object],
    key: str,
    kind: type[_Value],
    default: list[_Value],
) -> list[_Value]:
    value = table.get(key, default)
    values = value if isinstance(value, list) else [value]
    known: list[_Value] = [v for v in values if type(v) is kind]
    if (key in table and not known) or len(known) < len(values):
        raise ValueError(f"{path}: {key} must be {_WORDS[kind]}, or an array of such")
    return known


def _integer(value: object) -> int:
    return value if type(value) is int else 0


def _check_keys(path: str, table: dict[str, object], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(
                f"{path}: nothing is called {quoted(key)}; there are {', '.join(known)}"
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
    and not left out.  Raises CodecUnavailable, and ValueError for too many.
    """
    found: dict[Setting, None] = {}
    left_out: dict[str, None] = {}
    notices: dict[str, None] = {}
    for product in products:
        for grouping in product.groupings:
            try:
                codecs = _codecs(product, grouping, levels)
            except CodecUnavailable as error:
                if needed:
                    raise
                left_out[str(error)] = None
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
        raise CodecUnavailable("; ".join(left_out))
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
