# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a figure is worth nothing without: machine, versions, moment."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.programs import HERE, compiler
from migcomp.codecs import providers
from migcomp.measure import machine

_PACKAGES = ("migcomp", "zstandard", "blosc2", "numpy")
_PROGRAMS = (("zstd", "--version"), ("pigz", "--version"))


def metadata(folder: Path) -> dict[str, object]:
    """``folder`` is where outputs go."""
    return {
        **asdict(machine()),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _first_line(
            ("git", "-C", str(HERE), "describe", "--always", "--dirty")
        ),
        "libc": " ".join(platform.libc_ver()),
        "compiler": _first_line((compiler(), "--version")),
        "output-filesystem": _filesystem(folder),
        "packages": {name: _package(name) for name in _PACKAGES},
        "programs": {command[0]: _first_line(command) for command in _PROGRAMS},
        "codecs": [asdict(provider) for provider in providers()],
    }


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _first_line(command: Sequence[str]) -> str:
    """Of what a command prints; empty when there is no such command."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return (done.stdout.splitlines() or [""])[0] if not done.returncode else ""


def _filesystem(folder: Path) -> str:
    """The type of the file system that holds ``folder``."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, here, *_ = line.split()
        inside = os.path.commonpath([mount, folder.resolve()]) == mount
        if inside and len(mount) >= len(best):
            best, kind = mount, here
    return kind
