# SPDX-License-Identifier: LGPL-2.1-or-later
"""What to sweep over, from a TOML file.

It has ``rounds``, and one or more tables ``[[sweep]]``, each a cross product of
``codec``, ``level``, ``grouping``, ``threads`` and ``dedup``, which are values or
arrays of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from migcomp.bench.sweep_plan import ROUNDS_LEAST, ROUNDS_MOST, Product
from migcomp.codecs import CODECS, GROUPINGS, open_codec
from migcomp.errors import CodecUnavailable, LevelUnknown
from migcomp.toml_file import read_toml
from migcomp.units import quoted
from migcomp.workqueue import MAX_THREADS, usable_cpus

_FILE_MOST = 1 << 20
_ARRAY_MOST = 1000

#: What a TOML file's values are called.
_WORDS: Mapping[type, str] = {
    int: "a whole number",
    str: "a name in quotes",
    bool: "true or false",
}

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class PlanFile:
    """``rounds`` is None where the file does not tell."""

    products: tuple[Product, ...]
    rounds: int | None


def read_plan(path: str) -> PlanFile:
    """Raises ValueError with a sentence that names file, table and key, and OSError."""
    content = read_toml(path, _FILE_MOST)
    _check_keys(path, content, ("rounds", "sweep"))
    tables = content.get("sweep")
    if not isinstance(tables, list) or not tables:
        raise ValueError(f"{path} has no table [[sweep]]")
    products: list[Product] = []
    for number, table in enumerate(tables, 1):
        if not isinstance(table, dict):
            raise ValueError(f"{path} has no table [[sweep]]")
        products += _of_table(f"{path}: [[sweep]] number {number}", table)
    rounds = content.get("rounds")
    if rounds is not None and not ROUNDS_LEAST <= _integer(rounds) <= ROUNDS_MOST:
        raise ValueError(
            f"{path}: rounds must be {ROUNDS_LEAST} to {ROUNDS_MOST}, "
            f"not {quoted(str(rounds))}"
        )
    return PlanFile(tuple(products), rounds)


def _of_table(where: str, table: dict[str, object]) -> list[Product]:
    _check_keys(where, table, ("codec", "level", "grouping", "threads", "dedup"))
    codecs = _list(where, table, "codec", str, ["zstd"])
    levels = _list(where, table, "level", int, [])
    groupings = _list(where, table, "grouping", str, ["packet"])
    threads = _list(where, table, "threads", int, [min(usable_cpus(), MAX_THREADS)])
    dedup = _list(where, table, "dedup", bool, [False])
    for what, names, known in (
        ("codec", codecs, CODECS),
        ("grouping", groupings, GROUPINGS),
    ):
        for name in names:
            if name not in known:
                raise ValueError(
                    f"{where}: there is no {what} {quoted(name)}; there are "
                    f"{', '.join(known)}"
                )
    for number in threads:
        if not 1 <= number <= MAX_THREADS:
            raise ValueError(
                f"{where}: threads must be 1 to {MAX_THREADS}, "
                f"not {quoted(str(number))}"
            )
    for codec in codecs:
        _check_levels(where, codec, levels, groupings)
    return [
        Product(
            codec, tuple(levels) or None, tuple(groupings), tuple(threads), tuple(dedup)
        )
        for codec in codecs
    ]


def _check_levels(
    where: str, codec: str, levels: Sequence[int], groupings: Sequence[str]
) -> None:
    for level in levels:
        for grouping in groupings:
            try:
                open_codec(codec, level=level, grouping=grouping)
            except LevelUnknown as error:
                raise ValueError(f"{where}: level: {error}") from error
            except CodecUnavailable:
                return  # told when it is known that the sweep needs it


def _list(
    where: str,
    table: dict[str, object],
    key: str,
    kind: type[_Value],
    default: list[_Value],
) -> list[_Value]:
    value = table.get(key, default)
    values = value if isinstance(value, list) else [value]
    known: list[_Value] = [v for v in values if type(v) is kind]
    if (key in table and not known) or len(known) < len(values):
        raise ValueError(f"{where}: {key} must be {_WORDS[kind]}, or an array of such")
    if len(known) > _ARRAY_MOST:
        raise ValueError(f"{where}: {key} has more than {_ARRAY_MOST:,} values")
    return known


def _integer(value: object) -> int:
    return value if type(value) is int else 0


def _check_keys(where: str, table: dict[str, object], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(
                f"{where}: nothing is called {quoted(key)}; there are "
                f"{', '.join(known)}"
            )
