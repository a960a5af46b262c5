# SPDX-License-Identifier: LGPL-2.1-or-later
"""What to sweep over, from a TOML file.

It has ``rounds``, and one or more tables ``[[sweep]]``, each a cross product of
``codec``, ``level``, ``grouping``, ``threads`` and ``dedup``, which are values or
arrays of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from migcomp.bench.sweep_plan import ROUNDS_LEAST, ROUNDS_MOST, Product
from migcomp.codecs import CODECS, GROUPINGS, open_codec
from migcomp.errors import CodecUnavailable, LevelUnknown, SetupError
from migcomp.toml_file import read_toml
from migcomp.toml_table import Table, flag, integer, one_of, several, tables, whole
from migcomp.workqueue import MAX_THREADS, usable_cpus

_FILE_MOST = 1 << 20
_ARRAY_MOST = 1000
_T = TypeVar("_T")


@dataclass(frozen=True)
class PlanFile:
    """``rounds`` is None where the file does not tell."""

    products: tuple[Product, ...]
    rounds: int | None


def read_plan(path: str) -> PlanFile:
    """Raises SetupError."""
    content = read_toml(path, _FILE_MOST)
    top = Table(path, "the file", content)
    rounds = top.take("rounds", whole(ROUNDS_LEAST, ROUNDS_MOST), None)
    top.take("sweep", lambda value: value, None)
    top.end()
    products = tuple(
        product
        for table in tables(path, content, "sweep", _ARRAY_MOST)
        for product in _of_table(table)
    )
    if not products:
        raise SetupError(f"{path}: has no table [[sweep]]")
    return PlanFile(products, rounds)


def _of_table(table: Table) -> list[Product]:
    codecs = table.take("codec", _each_once(one_of(*CODECS)), ("zstd",))
    levels = table.take("level", _each_once(integer), ())
    groupings = table.take("grouping", _each_once(one_of(*GROUPINGS)), ("packet",))
    threads = table.take(
        "threads",
        _each_once(whole(1, MAX_THREADS)),
        (min(usable_cpus(), MAX_THREADS),),
    )
    dedup = table.take("dedup", _each_once(flag), (False,))
    table.end()
    for codec in codecs:
        _check_levels(table, codec, levels, groupings)
    return [
        Product(codec, levels or None, groupings, threads, dedup) for codec in codecs
    ]


def _each_once(kind: Callable[[object], _T]) -> Callable[[object], tuple[_T, ...]]:
    """Those that repeat would be tried again and again, and add no setting."""
    check = several(kind, _ARRAY_MOST)
    return lambda value: tuple(dict.fromkeys(check(value)))


def _check_levels(
    table: Table, codec: str, levels: Sequence[int], groupings: Sequence[str]
) -> None:
    for level in levels:
        for grouping in groupings:
            try:
                open_codec(codec, level=level, grouping=grouping)
            except LevelUnknown as error:
                table.fail(f"level: {error}")
            except CodecUnavailable:
                return  # told when it is known that the sweep needs it
