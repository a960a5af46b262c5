# SPDX-License-Identifier: LGPL-2.1-or-later
"""What there is to know about a machine that samples are taken on."""

from __future__ import annotations

import os
from functools import cache
from hashlib import blake2b
from pathlib import Path

from migcomp import __version__
from migcomp.bench.sweep_results import SweepMachine
from migcomp.codecs import CODECS, open_codec
from migcomp.errors import CodecUnavailable
from migcomp.measure import machine
from migcomp.results import CodecInfo

_CPUS = Path("/sys/devices/system/cpu")


@cache
def sweep_machine() -> SweepMachine:
    """The one that this process runs on, as it was when a sweep first asked."""
    here = machine()
    told = SweepMachine(
        id="",
        host=os.uname().nodename,
        cpu=here.cpu,
        cpus=os.cpu_count() or here.usable_cpus,
        cores=_cores(),
        usable_cpus=here.usable_cpus,
        memory_bytes=here.memory_bytes,
        governor=_governor(),
        kernel=here.kernel,
        python=here.python,
        migcomp=__version__,
        codecs=_codecs(),
    )
    digest = blake2b(repr(told).encode(), digest_size=4).hexdigest()
    return SweepMachine(**{**vars(told), "id": digest})


def _codecs() -> tuple[CodecInfo, ...]:
    found = []
    for name in CODECS:
        try:
            found.append(open_codec(name).info)
        except CodecUnavailable:
            continue
    return tuple(found)


def _cores() -> int:
    """Threads of one core are told by the same list of siblings."""
    siblings = {
        _line(path) for path in _CPUS.glob("cpu[0-9]*/topology/thread_siblings_list")
    }
    return len(siblings - {""}) or os.cpu_count() or 1


def _governor() -> str:
    """Of all CPUs, those that differ with commas between them."""
    governors = {
        _line(path) for path in _CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor")
    }
    return ",".join(sorted(governors - {""}))


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
