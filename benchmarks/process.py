# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes, measured from start to exit."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

#: Between two looks at a process's memory.
_LOOK_SECONDS = 0.002

#: Python may keep it, as it does for installed programs: compiling at each start,
#: where this variable is set to something, is no part of what is measured.
_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}


class ProcessError(Exception):
    """A process that should have succeeded did not."""


@dataclass(frozen=True)
class Finished:
    """``cpu_seconds``: of the process and its children, user and system."""

    wall_seconds: float
    cpu_seconds: float
    stdout: str


@contextmanager
def _started(
    command: Sequence[str],
    stdout: IO[bytes] | int,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, which the body waits for.  Raises ProcessError if it fails."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=complaints,
            env={**os.environ, **_BYTECODE, **(environment or {})},
        )
        try:
            yield process
        except BaseException:
            # Or it would go on, and disturb whatever is measured next.
            process.kill()
            process.wait()
            raise
        if process.returncode:
            complaints.seek(0)
            raise ProcessError(
                f"{' '.join(command)} ended with {process.returncode}: "
                f"{complaints.read().decode(errors='replace').strip()}"
            )


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    stdout: Path | None = None,
) -> Finished:
    """``environment`` is added to this process's; ``stdout`` takes the output."""
    with tempfile.TemporaryFile() if stdout is None else stdout.open("wb") as out:
        start = time.perf_counter()
        with _started(command, out, environment) as process:
            # Not Popen.wait: only wait4 tells the CPU time of this one process.
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        text = ""
        if stdout is None:
            out.seek(0)
            text = out.read().decode()
    return Finished(wall, usage.ru_utime + usage.ru_stime, text)


def anonymous_bytes(pid: int) -> int:
    """Anonymous memory of a process; 0 once it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return 0
    for line in text.splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) << 10
    return 0


def anonymous_peak(command: Sequence[str]) -> int:
    """The most anonymous memory seen while the command runs.

    Looking costs the process time, so nothing else is measured meanwhile.
    """
    peak = 0
    with _started(command, subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, anonymous_bytes(process.pid))
            time.sleep(_LOOK_SECONDS)
    return peak


def anonymous_of_interpreter(python: str, module: str) -> int:
    """Anonymous memory of an interpreter that has imported ``module``."""
    with subprocess.Popen(
        [python, "-c", f"import {module}, sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        size = anonymous_bytes(process.pid)
        process.communicate()
    return size
