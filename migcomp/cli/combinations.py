# SPDX-License-Identifier: LGPL-2.1-or-later
"""What of a simulated migration's options has no meaning together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from migcomp.cli.options import given
from migcomp.precopy.parameters import Parameters

if TYPE_CHECKING:
    from migcomp.plan.versions import Qemu

#: Levels that QEMU takes; zlib has no others.
_ZSTD_LEVELS = range(21)

#: Option, and the engines that heed it.
_ENGINES_OF = {
    "compress_threads": ("compress", "packets", "delta", "dedup", "adaptive"),
    "compress_wait_thread": ("compress",),
    "compress_level": ("compress",),
    "multifd_channels": ("multifd",),
    "multifd_compression": ("multifd",),
    "multifd_zlib_level": ("multifd",),
    "multifd_zstd_level": ("multifd",),
    "xbzrle_cache_size": ("xbzrle",),
}
#: Option, and those of which one must be given for it to be heeded.
_NEEDED_BY = {
    "throttle_trigger_threshold": ("auto_converge", "dirty_limit"),
    "cpu_throttle_initial": ("auto_converge",),
    "cpu_throttle_increment": ("auto_converge",),
    "cpu_throttle_tailslow": ("auto_converge",),
    "max_cpu_throttle": ("auto_converge",),
    "vcpu_dirty_limit": ("dirty_limit",),
    "x_vcpu_dirty_limit_period": ("dirty_limit",),
}
#: Our option, and QMP's names for it.
_SAME = {
    "codec": ("multifd_compression",),
    "level": ("compress_level", "multifd_zlib_level", "multifd_zstd_level"),
}
#: Option, and the first QEMU that has it (qapi/migration.json).
_SINCE = {
    "throttle_trigger_threshold": (5, 0),
    "cpu_throttle_tailslow": (5, 1),
    "dirty_limit": (8, 1),
    "avail_switchover_bandwidth": (8, 2),
}


def check_combination(
    engine: str, codec: str | None, level: int | None, parameters: Parameters
) -> None:
    """Raises UsageError."""
    for name, same in _SAME.items():
        for other in same:
            if given(name) and given(other):
                raise click.UsageError(
                    f"{_option(name)} and {_option(other)} say the same; give one of "
                    "them"
                )
    _check_engine(engine, codec, level, parameters)
    for name, engines in _ENGINES_OF.items():
        if given(name) and engine not in engines:
            raise click.UsageError(
                f"{_option(name)} has no meaning with --engine {engine}; it is of "
                f"{', '.join(engines)}"
            )
    for name, others in _NEEDED_BY.items():
        if given(name) and not any(getattr(parameters, other) for other in others):
            raise click.UsageError(
                f"{_option(name)} has no meaning without "
                f"{' or '.join(map(_option, others))}"
            )
    for name, since in _SINCE.items():
        if given(name) and parameters.qemu_version < since:
            first = ".".join(map(str, since))
            raise click.UsageError(
                f"{_option(name)} came with QEMU {first}; leave it out, or give that "
                "as --qemu-version"
            )


def _check_engine(
    engine: str, codec: str | None, level: int | None, parameters: Parameters
) -> None:
    from migcomp.plan.versions import Qemu
    from migcomp.precopy.engines.choice import WITHOUT_CODEC

    if engine in WITHOUT_CODEC and (codec or level is not None):
        raise click.UsageError(
            f"--codec and --level have no meaning with --engine {engine}; "
            "leave them out"
        )
    qemu = Qemu(parameters.qemu_version)
    if engine == "compress" and not qemu.has(engine):
        raise click.UsageError(
            f"{qemu} has no compress, which 9.1 removed; give another --engine or "
            "--qemu-version"
        )
    if engine == "multifd":
        _check_multifd(codec or parameters.multifd_compression, level, qemu)


def _check_multifd(codec: str, level: int | None, qemu: Qemu) -> None:
    for other in ("zlib", "zstd"):
        name = f"multifd_{other}_level"
        if given(name) and codec != other:
            raise click.UsageError(f"{_option(name)} has no meaning with {codec}")
    if codec == "none":
        return
    from migcomp.precopy.engines.choice import CODECS_IN_QEMU

    if codec not in CODECS_IN_QEMU["multifd"]:
        raise click.UsageError(
            f"QEMU's multifd compresses by zlib and zstd, and not by {codec}; "
            "--engine packets takes it"
        )
    if not qemu.has("multifd-compression"):
        raise click.UsageError(
            f"multifd of {qemu} does not compress; leave --codec out, or give another "
            "--qemu-version"
        )
    if codec == "zstd" and level is not None and level not in _ZSTD_LEVELS:
        raise click.UsageError(
            f"QEMU's multifd-zstd-level is 0 to {_ZSTD_LEVELS[-1]}, not {level}; "
            "--engine packets takes it"
        )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
