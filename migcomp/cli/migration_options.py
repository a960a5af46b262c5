# SPDX-License-Identifier: LGPL-2.1-or-later
"""QMP's migration parameters and capabilities as options."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from migcomp.cli.options import Size, _Type
from migcomp.precopy.parameters import Parameters
from migcomp.units import parse_bit_rate, quoted

_Function = TypeVar("_Function", bound=Callable[..., Any])


class BitRate(_Type):
    """Bits a second, as in 100Mbit or 10Gbit."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_bit_rate(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Version(_Type):
    """Of QEMU, as in 8.2; what follows is of no account."""

    name = "version"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,3})(?:\.[0-9.]*)?", value)
        if match is None:
            self.fail(f"{quoted(value)} is not a version such as 8.2", param, ctx)
        return int(match[1]), int(match[2])


LINK = BitRate()


def _bounded(least: int, most: int) -> click.IntRange:
    return click.IntRange(least, most)


#: Name as in QMP, type, and what it does.
_PARAMETERS: tuple[tuple[str, Any, str], ...] = (
    ("max-bandwidth", Size(), "Bytes a second at most, as in 100MiB; 0: no limit."),
    (
        "avail-switchover-bandwidth",
        Size(),
        "Bytes a second to reckon with when the guest is stopped; 0: as measured.",
    ),
    (
        "downtime-limit",
        _bounded(0, 2_000_000),
        "Milliseconds that the guest may be stopped for.",
    ),
    ("compress-threads", _bounded(1, 255), "Threads of --engine compress."),
    (
        "compress-wait-thread",
        click.Choice(["on", "off", "adaptive"]),
        "Whether "
        "--engine compress waits for a free thread, or sends the page as it is; "
        "adaptive: waits where the bandwidth is used up.",
    ),
    ("multifd-channels", _bounded(1, 255), "Channels of --engine multifd."),
    ("xbzrle-cache-size", Size(), "Of --engine xbzrle."),
    ("max-rounds", _bounded(0, 1_000_000), "Cancel after so many; 0: never."),
    (
        "max-time",
        _bounded(0, 1_000_000_000),
        "Cancel after so many milliseconds; 0: never.",
    ),
    ("qemu-version", Version(), "Whose rules hold."),
)


#: As libvirt has it; QEMU's own default, 128 MiB/s, is less than most links.
_DEFAULTS = {"max_bandwidth": 0}


def migration_options(function: _Function) -> _Function:
    """An option for each of the parameters, by its name in QMP."""
    for name, kind, text in reversed(_PARAMETERS):
        field = name.replace("-", "_")
        default = _DEFAULTS.get(field, getattr(Parameters(), field))
        shown = default
        if field == "qemu_version":
            shown = ".".join(map(str, default))
        function = click.option(
            f"--{name}",
            type=kind,
            default=default,
            metavar="N" if isinstance(kind, click.IntRange) else None,
            help=f"{text}  [default: {shown}]",
        )(function)
    return function


def parameters_of(qmp: dict[str, Any]) -> Parameters:
    return Parameters(**qmp)
