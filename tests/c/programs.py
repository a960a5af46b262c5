# SPDX-License-Identifier: LGPL-2.1-or-later
"""Building and running the C test programs in this directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORE = HERE.parents[1] / "migcomp" / "_core"
CORE_SOURCES = ("event.c", "worker.c", "workqueue.c", "workqueue_life.c")
CORE_HEADERS = ("atomics.h", "event.h", "workqueue.h", "workqueue_private.h")

# Of the core, what a program needs besides.
MORE_SOURCES = {
    "bench_designs": (
        "bench_job.c",
        "bench_one_lock.c",
        "bench_round.c",
        "bench_thread_locks.c",
        "bench_workqueue.c",
        "xxh64.c",
    )
}

PROGRAMS = (
    "bench_designs",
    "event_lost_wakeup",
    "wq_affinity",
    "wq_destroy_midflight",
    "wq_error",
    "wq_fairness",
    "wq_faults",
    "wq_fork",
    "wq_idle",
    "wq_limits",
    "wq_order",
    "wq_reserve",
    "wq_signals",
    "wq_stress",
)
# Functions that a program replaces for the core.
WRAPPED = {
    "bench_designs": ("aligned_alloc", "calloc", "malloc", "pthread_create"),
    "wq_faults": ("aligned_alloc", "free", "pthread_create"),
}

FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-pthread")
BUILDS = {
    "plain": ("-O2",),
    # Threads are held up around each step of an event: see jitter.c.
    "jitter": ("-O1",),
    "asan": (
        "-O1",
        "-fno-omit-frame-pointer",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ),
    "tsan": ("-O1", "-fsanitize=thread"),
}
JITTER_WRAPPED = ("event_reset", "event_set", "event_wait")

# Whatever the environment says, nothing is turned off or suppressed.
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
    "LSAN_OPTIONS": "report_objects=1",
    "TSAN_OPTIONS": "halt_on_error=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


# Of a whole run, in seconds, in case that the watchdog fails.
TIMEOUT = 1200


def compiler() -> str | None:
    return shutil.which(os.environ.get("CC", "cc"))


@dataclass(frozen=True)
class Outcome:
    code: int
    output: str

    @property
    def clean(self) -> bool:
        found = re.findall(r"^violations: (\d+)$", self.output, re.MULTILINE)
        return self.code == 0 and found == ["0"]


class Builder:
    """Compiles what is needed, once, into one directory."""

    def __init__(
        self, directory: Path, core: Path = CORE, original: Builder | None = None
    ) -> None:
        self._directory = directory
        self._core = core
        self._original = original
        self._objects: dict[tuple[Path, str], Path] = {}

    def program(self, name: str, build: str) -> Path:
        executable = self._directory / f"{name}.{build}"
        if not executable.exists():
            names = CORE_SOURCES + MORE_SOURCES.get(name, ())
            sources = [self._core / source for source in names]
            sources.append(HERE / f"{name}.c")
            wrapped: tuple[str, ...] = WRAPPED.get(name, ())
            if build == "jitter":
                sources.append(HERE / "jitter.c")
                wrapped += JITTER_WRAPPED
            objects = [self._object(source, build) for source in sources]
            wrap = [f"-Wl,--wrap={function}" for function in wrapped]
            self._cc(build, *map(str, objects), *wrap, "-o", str(executable))
        return executable

    def _object(self, source: Path, build: str) -> Path:
        if self._original and not self._differs(source):
            same = source if source.parent == HERE else CORE / source.name
            return self._original._object(same, build)
        made = self._objects.get((source, build))
        if made is None:
            made = self._directory / f"{source.stem}.{build}.o"
            include = f"-I{self._core}"
            self._cc(build, include, "-c", str(source), "-o", str(made))
            self._objects[source, build] = made
        return made

    def _differs(self, source: Path) -> bool:
        """Whether the object would be another one than the original's."""
        files = [self._core / header for header in CORE_HEADERS]
        if source.parent == self._core:
            files.append(source)
        return any(
            file.read_bytes() != (CORE / file.name).read_bytes() for file in files
        )

    def _cc(self, build: str, *arguments: str) -> None:
        command = [compiler() or "cc", *FLAGS, *BUILDS[build], *arguments]
        if self._original:
            command.append("-Wno-error")  # a mutant may leave things unused
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def run(executable: Path, scale: float, watchdog: int, stop: bool = False) -> Outcome:
    """watchdog: seconds without progress; stop: at the first violation."""
    environment = os.environ | SANITIZERS | {"CHECK_WATCHDOG": str(watchdog)}
    if stop:
        environment["CHECK_STOP"] = "1"
    try:
        done = subprocess.run(
            [str(executable), str(scale)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout or b""
        return Outcome(-1, f"{output!r}\nhang in spite of the watchdog")
    return Outcome(done.returncode, done.stdout)
