# SPDX-License-Identifier: LGPL-2.1-or-later
"""A table of a TOML file, whose keys are taken one by one, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any, NoReturn, TypeVar

from migcomp.errors import SetupError
from migcomp.units import (
    SIZE_MAX,
    format_size,
    parse_bit_rate,
    parse_size,
    quoted,
)

_T = TypeVar("_T")
_NAME_MAX = 200
#: Keys at the most that are looked at for one that is misspelt.
_LOOKED_AT = 1000
_REQUIRED: Any = object()


class Table:
    """``where`` names it in messages, such as ``[[host]] 2``."""

    def __init__(self, path: str, where: str, content: object) -> None:
        self._path, self._where = path, where
        self._known: list[str] = []
        if not isinstance(content, dict):
            raise SetupError(f"{path}: {where} must be a table")
        self._content: dict[str, object] = content

    def fail(self, problem: str) -> NoReturn:
        raise SetupError(f"{self._path}: {self._where}: {problem}")

    def named(self, name: str) -> None:
        """From now on messages tell the name, too."""
        self._where = f"{self._where} ({quoted(name)})"

    def has(self, key: str) -> bool:
        return key in self._content

    def take(
        self, key: str, kind: Callable[[object], _T], default: Any = _REQUIRED
    ) -> _T:
        """What ``kind`` makes of the value; it raises ValueError.  Without a default
        the key must be there.  Raises SetupError."""
        self._known.append(key)
        if key not in self._content:
            if default is _REQUIRED:
                self._missing(key)
            value: _T = default
            return value
        try:
            return kind(self._content[key])
        except ValueError as error:
            self.fail(f"{key} {error}")

    def end(self) -> None:
        """Raises SetupError for keys that nobody took."""
        for key in self._unknown():
            absent = [name for name in self._known if name not in self._content]
            self._no_such(key, _likest(key, absent))

    def _unknown(self) -> list[str]:
        """Keys that nobody took so far."""
        return [key for key in self._content if key not in self._known]

    def _missing(self, key: str) -> NoReturn:
        misspelt = _likest(key, self._unknown())
        if misspelt is not None:
            self._no_such(misspelt, key)
        self.fail(f"{key} is missing")

    def _no_such(self, key: str, meant: str | None) -> NoReturn:
        if meant is not None:
            self.fail(f"there is no key {quoted(key)}; did you mean {quoted(meant)}?")
        known = ", ".join(self._known)
        self.fail(f"there is no key {quoted(key)}; there are {known}")


def _likest(key: str, others: list[str]) -> str | None:
    """The one of them that ``key`` may be a misspelling of, or that of ``key``."""
    if len(key) > _NAME_MAX:
        return None
    short = (other for other in others if len(other) <= _NAME_MAX)
    return next(iter(get_close_matches(key, islice(short, _LOOKED_AT), 1)), None)


def tables(
    path: str, content: Mapping[str, object], name: str, most: int
) -> Iterator[Table]:
    """Those in the array ``name`` of a file's content.  Raises SetupError."""
    found = content.get(name, [])
    if not isinstance(found, list):
        raise SetupError(f"{path}: {name} must be an array of tables, [[{name}]]")
    if len(found) > most:
        raise SetupError(f"{path}: has more than {most:,} tables [[{name}]]")
    for index, table in enumerate(found, 1):
        yield Table(path, f"[[{name}]] {index}", table)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a very large number"
    return quoted(value) if isinstance(value, str) else str(value).lower()


def text(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > _NAME_MAX:
        raise ValueError(
            f"must be a text of 1 to {_NAME_MAX} characters, and is {_shown(value)}"
        )
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def several(
    kind: Callable[[object], _T], most: int
) -> Callable[[object], tuple[_T, ...]]:
    """One, or an array of ``most`` at the most."""

    def check(value: object) -> tuple[_T, ...]:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError("must not be empty")
        if len(values) > most:
            raise ValueError(f"has more than {most:,} values")
        return tuple(map(kind, values))

    return check


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, and is {_shown(value)}")
    return value


def integer(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"must be a whole number, and is {_shown(value)}")
    return value


def whole(least: int, most: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(
                f"must be a whole number from {least:,} to {most:,}, and is "
                f"{_shown(value)}"
            )
        return value

    return check


def number(least: float, most: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        # NaN compares with nothing.
        if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
            raise ValueError(
                f"must be a number from {least:g} to {most:g}, and is {_shown(value)}"
            )
        return float(value)  # type: ignore[arg-type]

    return check


def one_of(*names: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in names:
            raise ValueError(
                f"must be one of {', '.join(names)}, and is {_shown(value)}"
            )
        return str(value)

    return check


def parsed(parse: Callable[[str], _T], what: str) -> Callable[[object], _T]:
    """A text that ``parse`` takes; ``what`` is as in 'a rate such as "10Gbit"'."""

    def check(value: object) -> _T:
        if not isinstance(value, str):
            raise ValueError(f"must be {what}, and is {_shown(value)}")
        try:
            return parse(value)
        except ValueError as error:
            raise ValueError(f"is wrong: {error}") from error

    return check


def size(least: int, most: int = SIZE_MAX) -> Callable[[object], int]:
    """Bytes, as a number or as in 64KiB."""
    parse = parsed(parse_size, 'a size such as "4GiB" or 4096')

    def check(value: object) -> int:
        found = parse(str(value) if type(value) is int else value)
        if found < least:
            raise ValueError(f"must be {least:,} B or more, and is {_shown(value)}")
        if found > most:
            raise ValueError(
                f"must be {format_size(most)} or less, and is {_shown(value)}"
            )
        return found

    return check


#: Bits a second, as in 10Gbit.
rate = parsed(parse_bit_rate, 'a rate such as "10Gbit"')
