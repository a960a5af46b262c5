# SPDX-License-Identifier: LGPL-2.1-or-later
"""QMP's migration parameters and capabilities as options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from migcomp.cli.types import Milliseconds, Size, ValueType
from migcomp.plan.versions import KNOWN_SPAN, parse_version
from migcomp.precopy.parameters import Parameters
from migcomp.units import parse_bit_rate, quoted

_Function = TypeVar("_Function", bound=Callable[..., Any])


class BitRate(ValueType):
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


class CacheSize(Size):
    """Bytes, a power of two of 4 KiB or more."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        size = super().convert(value, param, ctx)
        if size < 4096 or size & (size - 1):
            self.fail(
                f"{quoted(str(value))} is not a power of two, of 4KiB or more",
                param,
                ctx,
            )
        return size


class Version(ValueType):
    """Of QEMU, as in 8.2; what follows is of no account."""

    name = "version"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        try:
            return parse_version(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def link_option(*, required: bool) -> Callable[[_Function], _Function]:
    """``required``: unless there may be no image."""
    return click.option(
        "--link",
        "bandwidth",
        type=BitRate(),
        metavar="RATE",
        required=required,
        help="The bandwidth that a migration may take, as in 100Mbit or 10Gbit."
        + ("" if required else "  [required with IMAGE]"),
    )


def _number(least: int, most: int) -> click.IntRange:
    return click.IntRange(least, most)


_FLAG = click.BOOL

#: Name as in QMP, type, metavar, and what it does.
_PARAMETERS: tuple[tuple[str, Any, str, str], ...] = (
    (
        "max-bandwidth",
        Size(),
        "SIZE",
        "Bytes a second at most, as in 100MiB; 0: no limit, as libvirt has it.",
    ),
    (
        "avail-switchover-bandwidth",
        Size(),
        "SIZE",
        "Bytes a second to reckon with for the stopped guest; 0: as measured.",
    ),
    (
        "downtime-limit",
        Milliseconds(0, 2_000_000),
        "MS",
        "Milliseconds that the guest may be stopped for, as in 300, 300ms or 0.3s.",
    ),
    (
        "compress-threads",
        _number(1, 255),
        "N",
        "Threads of --engine compress, packets, delta, dedup and adaptive.",
    ),
    (
        "compress-wait-thread",
        click.Choice(["on", "off", "adaptive"]),
        "",
        "Whether --engine compress waits for a free thread or sends the page as it "
        "is; adaptive: waits only while the link, or what max-bandwidth allows so far, "
        "is used up.",
    ),
    ("compress-level", _number(0, 9), "N", "--level of --engine compress."),
    ("multifd-channels", _number(1, 255), "N", "Channels of --engine multifd."),
    (
        "multifd-compression",
        click.Choice(["none", "zlib", "zstd"]),
        "",
        "--codec of --engine multifd.",
    ),
    ("multifd-zlib-level", _number(0, 9), "N", "--level of multifd's zlib."),
    ("multifd-zstd-level", _number(0, 20), "N", "--level of multifd's zstd."),
    ("xbzrle-cache-size", CacheSize(), "SIZE", "Of --engine xbzrle."),
    ("auto-converge", _FLAG, "", "Slow the guest down where it does not converge."),
    (
        "throttle-trigger-threshold",
        _number(1, 100),
        "PERCENT",
        "Dirty bytes, of those transferred, from which on it does not.",
    ),
    ("cpu-throttle-initial", _number(1, 99), "PERCENT", "First throttling."),
    ("cpu-throttle-increment", _number(1, 99), "PERCENT", "Each one after it."),
    ("cpu-throttle-tailslow", _FLAG, "", "Smaller steps near the end."),
    ("max-cpu-throttle", _number(1, 99), "PERCENT", "Throttling at most."),
    ("dirty-limit", _FLAG, "", "Slow down vCPUs that write too much instead."),
    (
        "vcpu-dirty-limit",
        _number(1, 1 << 20),
        "MB/S",
        "Of each vCPU, in MiB/s; the guest is taken to have one.",
    ),
    (
        "x-vcpu-dirty-limit-period",
        _number(1, 1000),
        "MS",
        "How often dirty-limit measures.",
    ),
    ("max-rounds", _number(0, 1_000_000), "N", "Cancel after so many; 0: never."),
    (
        "max-time",
        Milliseconds(0, 1_000_000_000),
        "MS",
        "Cancel after so many milliseconds; 0: never.",
    ),
    ("qemu-version", Version(), "VERSION", f"Whose rules hold, {KNOWN_SPAN}."),
)

#: As libvirt has it; QEMU's own default, 128 MiB/s, is less than most links.
_DEFAULTS = {"max_bandwidth": 0}


def migration_options(function: _Function) -> _Function:
    """An option for each of the parameters, by its name in QMP."""
    for name, kind, metavar, text in reversed(_PARAMETERS):
        field = name.replace("-", "_")
        default = _DEFAULTS.get(field, getattr(Parameters(), field))
        shown = ".".join(map(str, default)) if isinstance(default, tuple) else default
        if kind is _FLAG:
            function = click.option(f"--{name}", is_flag=True, help=text)(function)
            continue
        function = click.option(
            f"--{name}",
            type=kind,
            default=default,
            metavar=metavar or None,
            help=f"{text}  [default: {shown}]",
        )(function)
    return function


def parameters_of(qmp: dict[str, Any]) -> Parameters:
    """Of what ``migration_options`` gave.  Raises UsageError for what does not go
    together."""
    parameters = Parameters(**qmp)
    if parameters.auto_converge and parameters.dirty_limit:
        raise click.UsageError(
            "--auto-converge and --dirty-limit exclude each other; give one of them"
        )
    # As QEMU has it (migrate_params_check).
    least, most = parameters.cpu_throttle_initial, parameters.max_cpu_throttle
    if most < least:
        raise click.UsageError(
            f"--max-cpu-throttle is {most}, less than --cpu-throttle-initial, which is "
            f"{least}; give at least as much, or less of that"
        )
    return parameters
