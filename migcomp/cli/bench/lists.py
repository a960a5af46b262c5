# SPDX-License-Identifier: LGPL-2.1-or-later
"""Types of values that only sweeps have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from migcomp.units import quoted

# Generic since click 8.2 only.
if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType

_LEVELS = re.compile(r"(-?[0-9]{1,7})(?:-(-?[0-9]{1,7}))?")
_LEVELS_MOST = 1000


class LevelList(_Type):
    """Levels of codecs, which may be negative: 3, -5,1,3 or 1-9."""

    name = "levels"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        levels: dict[int, None] = {}
        for part in value.split(","):
            match = _LEVELS.fullmatch(part)
            if match is None:
                self.fail(f"{quoted(part)} is not a level, or levels as in 1-9")
            first = int(match[1])
            last = int(match[2] or first)
            if last < first:
                self.fail(f"{quoted(part)} runs backwards")
            if last - first >= _LEVELS_MOST:
                self.fail(f"{quoted(part)} are more than {_LEVELS_MOST} levels")
            levels.update(dict.fromkeys(range(first, last + 1)))
        return tuple(levels)


class Percent(_Type):
    """A share of 1, written in percent: 5%, 2.5% or 5."""

    name = "percent"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?%?", value):
            self.fail(f"{quoted(value)} is not a percentage such as 5% or 2.5%")
        return float(value.removesuffix("%")) / 100
