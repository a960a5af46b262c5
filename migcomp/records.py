# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plain data as JSON, and back.

A dataclass becomes an object whose keys are its fields' names with hyphens, a
tuple an array.  Of what is read, every type is checked; keys that nobody knows are
passed over, and a field that has a default may be missing.
"""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

_Data = TypeVar("_Data")

#: No size, count or time of ours is as large.
_NUMBER_MOST = 1 << 64


def to_record(value: object) -> Any:
    """``value`` in types that ``json.dumps`` takes."""
    if is_dataclass(value):
        return {
            hyphened(field.name): to_record(getattr(value, field.name))
            for field in fields(value)
        }
    if isinstance(value, tuple):
        return [to_record(part) for part in value]
    return value


def from_record(kind: type[_Data], content: object) -> _Data:
    """The ``kind`` that ``content`` describes.  Raises ValueError."""
    return cast(_Data, _read(kind, content, ""))


def hyphened(name: str) -> str:
    return name.replace("_", "-")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, content: object, where: str) -> Any:
    if is_dataclass(kind):
        return _read_object(cast(type, kind), content, where)
    if get_origin(kind) is tuple:
        if not isinstance(content, list):
            raise ValueError(f"{where} is no array")
        (part, _) = get_args(kind)
        return tuple(_read(part, c, f"{where}[{i}]") for i, c in enumerate(content))
    if isinstance(kind, types.UnionType):
        (some,) = (k for k in get_args(kind) if k is not types.NoneType)
        return None if content is None else _read(some, content, where)
    known = (int, float) if kind is float else kind
    if not isinstance(content, known) or (
        kind is not bool and isinstance(content, bool)
    ):
        raise ValueError(f"{where} is no {kind.__name__}")
    if isinstance(content, int | float) and not abs(content) < _NUMBER_MOST:
        raise ValueError(f"{where} is too large")
    if isinstance(content, str) and not _is_text(content):
        raise ValueError(f"{where} has half of a surrogate pair")
    return float(content) if kind is float else content


def _is_text(content: str) -> bool:
    """It can be written again, as the name of a file can that is no UTF-8: JSON's
    escapes can name what is no character."""
    try:
        content.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _read_object(kind: type, content: object, where: str) -> object:
    if not isinstance(content, dict):
        raise ValueError(f"{where or 'it'} is no object")
    values = {}
    for field in fields(kind):
        key = hyphened(field.name)
        inner = f"{where}.{key}".lstrip(".")
        if key in content:
            values[field.name] = _read(_hints(kind)[field.name], content[key], inner)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{inner} is missing")
    return kind(**values)
