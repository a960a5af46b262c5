# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that make QEMU migrate in a certain way."""

from __future__ import annotations

import json
from dataclasses import dataclass

from migcomp.plan.candidates import Candidate
from migcomp.plan.versions import LIBVIRT_MULTIFD_COMPRESSION, Qemu
from migcomp.precopy.parameters import Parameters

#: That a way of migrating may need; all others are left as they are.
_CAPABILITIES = ("xbzrle", "auto-converge", "compress", "multifd")
_HERE, _THERE = "tcp:0:PORT", "tcp:DESTINATION:PORT"
_DECOMPRESS_THREADS = 4  # compress-threads to each of them, as libvirt advises
#: Parameters that both hosts must agree on, or that the other host needs.
_BOTH = ("multifd-channels", "multifd-compression")

Setting = int | str | bool


@dataclass(frozen=True)
class Commands:
    """A line each.  ``source`` and ``destination``: for the monitor of that host's
    QEMU, those of the destination, which was started with ``-incoming defer``, first;
    DESTINATION and PORT are to be filled in.  ``virsh``: for libvirt instead, which
    ``libvirt`` (version) and later can, and ``virsh_meanwhile`` while that runs."""

    qmp_source: tuple[str, ...]
    qmp_destination: tuple[str, ...]
    hmp_source: tuple[str, ...]
    hmp_destination: tuple[str, ...]
    virsh: tuple[str, ...]
    virsh_meanwhile: tuple[str, ...]
    libvirt: tuple[int, int] | None


def commands_for(candidate: Candidate, parameters: Parameters, qemu: Qemu) -> Commands:
    """``parameters`` are the candidate's."""
    on = _capabilities(candidate, parameters)
    known = [name for name in _CAPABILITIES if qemu.has(name)]
    settings = _settings(candidate, parameters, qemu)
    theirs = {name: settings[name] for name in _BOTH if name in settings}
    if candidate.method == "compress":
        threads = max(candidate.threads // _DECOMPRESS_THREADS, 1)
        theirs["decompress-threads"] = threads
    other = [name for name in on if name != "auto-converge"]
    others = [name for name in known if name != "auto-converge"]
    return Commands(
        qmp_source=(
            _qmp_capabilities(known, on),
            _qmp_parameters(settings),
            _qmp("migrate", {"uri": _THERE}),
        ),
        qmp_destination=(
            _qmp_capabilities(others, other),
            *([_qmp_parameters(theirs)] if theirs else []),
            _qmp("migrate-incoming", {"uri": _HERE}),
        ),
        hmp_source=(
            *_hmp_capabilities(known, on),
            *_hmp_parameters(settings),
            f"migrate -d {_THERE}",
        ),
        hmp_destination=(
            *_hmp_capabilities(others, other),
            *_hmp_parameters(theirs),
            f"migrate_incoming {_HERE}",
        ),
        virsh=_virsh(candidate, parameters),
        # There is no option for it.
        virsh_meanwhile=(
            f"virsh migrate-setmaxdowntime DOMAIN {parameters.downtime_limit}",
        ),
        libvirt=(
            LIBVIRT_MULTIFD_COMPRESSION
            if candidate.method == "multifd" and candidate.codec != "none"
            else None
        ),
    )


def _capabilities(candidate: Candidate, parameters: Parameters) -> list[str]:
    on = [] if candidate.method == "none" else [candidate.method]
    return [*on, "auto-converge"] if parameters.auto_converge else on


def _settings(
    candidate: Candidate, parameters: Parameters, qemu: Qemu
) -> dict[str, Setting]:
    settings: dict[str, Setting] = {
        "max-bandwidth": parameters.max_bandwidth,
        "downtime-limit": parameters.downtime_limit,
    }
    if candidate.method == "compress":
        settings |= {
            "compress-level": candidate.level,
            "compress-threads": candidate.threads,
            "compress-wait-thread": True,
        }
    elif candidate.method == "multifd":
        settings["multifd-channels"] = candidate.threads
        if qemu.has("multifd-compression"):
            settings["multifd-compression"] = candidate.codec
        if candidate.codec != "none":
            settings[f"multifd-{candidate.codec}-level"] = candidate.level
    elif candidate.method == "xbzrle":
        settings["xbzrle-cache-size"] = parameters.xbzrle_cache_size
    return settings


def _qmp_capabilities(known: list[str], on: list[str]) -> str:
    states = [{"capability": name, "state": name in on} for name in known]
    return _qmp("migrate-set-capabilities", {"capabilities": states})


def _qmp_parameters(settings: dict[str, Setting]) -> str:
    return _qmp("migrate-set-parameters", settings)


def _qmp(command: str, arguments: object) -> str:
    return json.dumps({"execute": command, "arguments": arguments})


def _hmp_capabilities(known: list[str], on: list[str]) -> list[str]:
    """First off, as some exclude each other."""
    return [
        f"migrate_set_capability {name} {'on' if name in on else 'off'}"
        for name in sorted(known, key=lambda name: name in on)
    ]


def _hmp_parameters(settings: dict[str, Setting]) -> list[str]:
    """Without a unit, the monitor takes a bandwidth for MiB/s."""
    lines = []
    for name, value in settings.items():
        if isinstance(value, bool):
            value = "on" if value else "off"
        elif name == "max-bandwidth":
            value = f"{value}B"
        lines.append(f"migrate_set_parameter {name} {value}")
    return lines


def _virsh(candidate: Candidate, parameters: Parameters) -> tuple[str, ...]:
    words = ["virsh migrate --live --verbose"]
    if candidate.method == "multifd":
        words.append(f"--parallel --parallel-connections {candidate.threads}")
    if candidate.method == "multifd" and candidate.codec != "none":
        words.append(f"--compressed --comp-methods {candidate.codec}")
        words.append(f"--comp-{candidate.codec}-level {candidate.level}")
    elif candidate.method == "compress":
        words.append(
            f"--compressed --comp-methods mt --comp-mt-level {candidate.level}"
        )
        words.append(f"--comp-mt-threads {candidate.threads}")
        threads = max(candidate.threads // _DECOMPRESS_THREADS, 1)
        words.append(f"--comp-mt-dthreads {threads}")
    elif candidate.method == "xbzrle":
        words.append("--compressed --comp-methods xbzrle")
        words.append(f"--comp-xbzrle-cache {parameters.xbzrle_cache_size}")
    if parameters.auto_converge:
        words.append("--auto-converge")
    if parameters.max_bandwidth:
        words.append(f"--bandwidth {max(parameters.max_bandwidth >> 20, 1)}")
    words.append("DOMAIN qemu+ssh://DESTINATION/system")
    return (" ".join(words),)
