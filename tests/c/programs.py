# SPDX-License-Identifier: LGPL-2.1-or-later
"""Building and running the C test programs in this directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CORE = HERE.parents[1] / "migcomp" / "_core"
QUEUE_SOURCES = ("event.c", "worker.c", "workqueue.c", "workqueue_life.c")
PAGE_SOURCES = (
    "block.c",
    "classify.c",
    "codec.c",
    "codec_libdeflate.c",
    "codec_lz4.c",
    "codec_lzo.c",
    "codec_snappy.c",
    "codec_zlib.c",
    "codec_zstd.c",
    "compress.c",
    "crc32c.c",
    "decompress.c",
    "dedup.c",
    "guard.c",
    "handlers.c",
    "page_fetch.c",
    "page_hash.c",
    "page_map.c",
    "page_write.c",
    "pages.c",
    "qemu_ram.c",
    "record.c",
    "transfer.c",
    "transfer_life.c",
    "xbzrle.c",
    "xbzrle_cache.c",
    "xbzrle_compare.c",
    "xxh64.c",
)
BENCH_SOURCES = (
    "bench_job.c",
    "bench_one_lock.c",
    "bench_round.c",
    "bench_thread_locks.c",
    "bench_workqueue.c",
    "xxh64.c",
)
CORE_SOURCES = QUEUE_SOURCES + PAGE_SOURCES + BENCH_SOURCES
CORE_HEADERS = tuple(sorted(header.name for header in CORE.glob("*.h")))

PROGRAMS = (
    "bench_counts",
    "bench_designs",
    "delta_faults",
    "event_lost_wakeup",
    "fetch_faults",
    "guard_signals",
    "page_faults",
    "ram_faults",
    "transfer_faults",
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
    "wq_torture",
)
# Functions of the C library that faults.c replaces for the core.
FAULTS = (
    "aligned_alloc",
    "calloc",
    "dlclose",
    "dlopen",
    "dlsym",
    "free",
    "malloc",
    "mmap",
    "munmap",
    "pread",
    "pthread_attr_init",
    "pthread_attr_setaffinity_np",
    "pthread_create",
    "realloc",
    "reallocarray",
    "sigaction",
    "syscall",
)

# What a program is made of besides itself and the queue.
PARTS = {
    "bench_counts": BENCH_SOURCES,
    "bench_designs": BENCH_SOURCES,
    "delta_faults": ("faults.c", "stand_ins.c", *PAGE_SOURCES),
    "fetch_faults": ("faults.c", "stand_ins.c", *PAGE_SOURCES),
    "guard_signals": ("guard.c",),
    "page_faults": ("faults.c", "stand_ins.c", *PAGE_SOURCES),
    "ram_faults": ("faults.c", "stand_ins.c", *PAGE_SOURCES),
    "transfer_faults": ("faults.c", "stand_ins.c", *PAGE_SOURCES),
    "wq_faults": ("faults.c",),
}
WRAPPED: dict[str, tuple[str, ...]] = {
    # It has a replacement of its own for these.
    "bench_designs": ("aligned_alloc", "calloc", "malloc", "pthread_create"),
    "delta_faults": FAULTS,
    "fetch_faults": FAULTS,
    "page_faults": FAULTS,
    "ram_faults": FAULTS,
    "transfer_faults": FAULTS,
    "wq_faults": FAULTS,
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
    "helgrind": ("-O1", "-include", str(HERE / "valgrind_atomics.h")),
    "drd": ("-O1", "-DDRD", "-include", str(HERE / "valgrind_atomics.h")),
}
# What runs the programs of a build; nothing is suppressed.
RUNNERS = {
    tool: ("valgrind", f"--tool={tool}", "-q", "--fair-sched=try", "--error-exitcode=9")
    for tool in ("helgrind", "drd")
}
# wq_idle asks the kernel who sleeps, and valgrind lets all threads sleep but one.
# wq_affinity makes hundreds of threads, and has one refused, which helgrind
# reports.  page_faults and its like map and unmap so much memory that they take many
# minutes, and have one worker only.
_UNDER_NONE = (
    *("delta_faults", "page_faults", "transfer_faults", "wq_affinity", "wq_idle"),
)
# Inside pthread_cond_timedwait, glibc 2.36 signals the condition now and then, to
# give back a signal that it may have taken from another waiter.  helgrind takes
# that for ours and reports that the lock is not held: on a busy machine in each
# run of bench_designs.  drd knows what belongs to the wait.
NOT_UNDER = {"helgrind": (*_UNDER_NONE, "bench_designs"), "drd": _UNDER_NONE}
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


def builds(program: str) -> list[str]:
    return [build for build in BUILDS if program not in NOT_UNDER.get(build, ())]


def need(tool: str) -> None:
    """Of what is to be had by apt under the tool's name."""
    if shutil.which(tool):
        return
    sentence = f"{tool} is not installed: apt install {tool}"
    if os.environ.get("MIGCOMP_REQUIRE_SHARED") == "1":
        pytest.fail(sentence)
    pytest.skip(sentence)


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
            sources = (*QUEUE_SOURCES, f"{name}.c", *PARTS.get(name, ()))
            wrapped: tuple[str, ...] = WRAPPED.get(name, ())
            if build == "jitter":
                sources += ("jitter.c",)
                wrapped += JITTER_WRAPPED
            objects = [self._object(self._source(name), build) for name in sources]
            wrap = [f"-Wl,--wrap={function}" for function in wrapped]
            self._cc(build, *map(str, objects), *wrap, "-o", str(executable))
        return executable

    def _source(self, name: str) -> Path:
        return (self._core if name in CORE_SOURCES else HERE) / name

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


def run(
    executable: Path, scale: float, watchdog: int, *arguments: str, stop: bool = False
) -> Outcome:
    """watchdog: seconds without progress; stop: at the first violation."""
    runner = RUNNERS.get(executable.suffix[1:], ())
    environment = os.environ | SANITIZERS | {"CHECK_WATCHDOG": str(watchdog)}
    if stop:
        environment["CHECK_STOP"] = "1"
    try:
        done = subprocess.run(
            [*runner, str(executable), str(scale), *arguments],
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
