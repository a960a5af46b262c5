# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who takes part: the bare loop, migcomp, and what one would use instead."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import process
from benchmarks.contenders import (
    Contender,
    Engine,
    Limit,
    Memory,
    Program,
    QueueCost,
)
from benchmarks.programs import build_limit, limit_command
from benchmarks.python_peers import PEERS
from migcomp.codecs import providers

#: Of all contenders.
LEVEL = 1

#: Of all that do not say otherwise: the targets are for machines with 2 CPUs.
THREADS = 2

#: More than CPUs.
MANY_THREADS = 8


@dataclass(frozen=True)
class Setup:
    """Everybody's image, and the folder for all outputs."""

    image: Path
    folder: Path

    def run(
        self,
        codec: str = "zstd",
        grouping: str = "page",
        *options: str,
        threads: int = THREADS,
    ) -> list[str]:
        """``migcomp run``."""
        return [
            *(sys.executable, "-m", "migcomp", "run", str(self.image)),
            *("--codec", codec, "--level", str(LEVEL), "--grouping", grouping),
            *("--threads", str(threads), "--json", *options),
        ]

    def restore(self, stream: Path, output: Path, threads: int = THREADS) -> list[str]:
        """``migcomp restore``."""
        return [
            *(sys.executable, "-m", "migcomp", "restore", str(stream)),
            *("-o", str(output), "--threads", str(threads), "--json"),
        ]

    def zstd(self, output: Path, threads: int) -> list[str]:
        return [
            *("zstd", f"-{LEVEL}", f"-T{threads}", "--quiet"),
            *("-o", str(output), str(self.image)),
        ]

    @property
    def zst(self) -> Path:
        return self.folder / "image.zst"

    def stream(self, variant: str) -> Path:
        return self.folder / f"image.{variant}.migc"


#: Options of the streams that are restored.
_STREAMS: dict[str, tuple[str, ...]] = {
    "page": ("zstd", "page"),
    "packet": ("zstd", "packet"),
    "packet-dedup": ("zstd", "packet", "--dedup"),
}


def _make_stream(setup: Setup, variant: str) -> None:
    stream = setup.stream(variant)
    if not stream.exists():
        process.run([*setup.run(*_STREAMS[variant]), "-o", str(stream)])


def _make_streams(setup: Setup) -> None:
    for variant in _STREAMS:
        _make_stream(setup, variant)


def _make_zst(setup: Setup) -> None:
    process.run(setup.zstd(setup.zst, THREADS))


def contenders(setup: Setup) -> list[Contender]:
    """In the order of the report."""
    return [
        *_limits(setup),
        *_engines(setup),
        *_runs(setup),
        *_restores(setup),
        *_tools(setup),
        *_packages(setup),
        *_costs(setup),
    ]


def _limits(setup: Setup) -> list[Contender]:
    limit = build_limit(setup.folder)
    # What migcomp binds is the last of its provider, and so the one that stays.
    libraries = {
        p.provider: p
        for p in sorted(providers(), key=lambda p: p.chosen)
        if not p.problem
    }

    def loop(
        name: str, codec: str, provider: str, grouping: str, threads: int
    ) -> Contender:
        library = libraries.get(provider)
        version = f" ({provider} {library.version})" if library else ""
        return Contender(
            name,
            f"bare loop, {codec} {grouping}, {_threads(threads)}{version}",
            Limit(
                limit_command(
                    limit,
                    setup.image,
                    codec=codec,
                    library=library.path if library else "",
                    level=LEVEL,
                    grouping=grouping,
                    threads=threads,
                )
            ),
            missing="" if library or not provider else f"{provider} is not installed",
        )

    return [
        loop("limit-memcpy", "memcpy", "", "page", THREADS),
        loop("limit-zstd-page", "zstd", "libzstd", "page", THREADS),
        loop("limit-zstd-page-1t", "zstd", "libzstd", "page", 1),
        loop("limit-zstd-packet", "zstd", "libzstd", "packet", THREADS),
        loop("limit-lz4-page", "lz4", "liblz4", "page", THREADS),
        loop("limit-zlib-page", "zlib", "libz", "page", THREADS),
        loop("limit-libdeflate-page", "libdeflate", "libdeflate", "page", THREADS),
    ]


def _engines(setup: Setup) -> list[Contender]:
    def engine(name: str, grouping: str, threads: int) -> Contender:
        return Contender(
            name,
            f"migcomp's engine, zstd {grouping}, {_threads(threads)}",
            Engine(setup.run("zstd", grouping, threads=threads)),
        )

    return [
        engine("engine-zstd-page", "page", THREADS),
        engine("engine-zstd-page-1t", "page", 1),
        engine("engine-zstd-page-8t", "page", MANY_THREADS),
        engine("engine-zstd-packet", "packet", THREADS),
    ]


def _runs(setup: Setup) -> list[Contender]:
    output = setup.folder / "output.migc"
    libz = {"MIGCOMP_LIBDEFLATE": "none"}
    libdeflate = any(p.provider == "libdeflate" and not p.problem for p in providers())

    def run(
        name: str,
        description: str,
        *choice: str,
        environment: dict[str, str] | None = None,
        missing: str = "",
    ) -> Contender:
        command = [*setup.run(*choice), "-o", str(output)]
        return Contender(
            name,
            f"migcomp run, {description}, {_threads(THREADS)}",
            Program(command, output, environment=environment or {}),
            missing,
        )

    return [
        run("run-zstd-page", "zstd page", "zstd", "page"),
        run("run-zstd-packet", "zstd packet", "zstd", "packet"),
        run(
            "run-zstd-packet-dedup",
            "zstd packet --dedup",
            *("zstd", "packet", "--dedup"),
        ),
        run("run-lz4-page", "lz4 page", "lz4", "page"),
        run("run-zlib-page", "zlib page (libz)", "zlib", "page", environment=libz),
        run(
            "run-libdeflate-page",
            "zlib page (libdeflate)",
            *("zlib", "page"),
            missing="" if libdeflate else "libdeflate is not installed",
        ),
    ]


def _restores(setup: Setup) -> list[Contender]:
    output = setup.folder / "output.raw"
    return [
        Contender(
            f"restore-{variant}",
            f"migcomp restore, {' '.join(choice)}, {_threads(THREADS)}",
            Program(setup.restore(setup.stream(variant), output), output),
            prepare=partial(_make_stream, setup, variant),
        )
        for variant, choice in _STREAMS.items()
    ]


def _tools(setup: Setup) -> list[Contender]:
    zst, raw, gz = (setup.folder / f"output.{end}" for end in ("zst", "raw", "gz"))
    decompress = ["zstd", "-d", "--quiet", "-o", str(raw), str(setup.zst)]
    pigz = ["pigz", f"-{LEVEL}", f"-p{THREADS}", "--stdout", str(setup.image)]

    def tool(name: str, description: str, program: Program) -> Contender:
        command = program.command[0]
        missing = "" if shutil.which(command) else f"{command} is not installed"
        return Contender(name, description, program, missing)

    return [
        tool("zstd-T2", "zstd -1 -T2", Program(setup.zstd(zst, THREADS), zst)),
        tool("zstd-T1", "zstd -1 -T1", Program(setup.zstd(zst, 1), zst)),
        replace(
            tool("zstd-d", "zstd -d of zstd -1", Program(decompress, raw)),
            prepare=partial(_make_zst, setup),
        ),
        tool("pigz-p2", "pigz -1 -p2", Program(pigz, gz, to_stdout=True)),
    ]


def _packages(setup: Setup) -> list[Contender]:
    output = setup.folder / "output.peer"

    def package(name: str, description: str, *needed: str) -> Contender:
        absent = [m for m in needed if importlib.util.find_spec(m) is None]
        return Contender(
            name,
            f"{description}, {_threads(THREADS)}",
            Program(
                [
                    *(sys.executable, "-m", "benchmarks.python_peers", name),
                    *(str(setup.image), str(output), str(THREADS)),
                ],
                output,
            ),
            f"{' and '.join(absent)} cannot be imported" if absent else "",
        )

    described = [
        package(
            "zstandard-multi",
            "zstandard multi_compress_to_buffer, page",
            *("zstandard", "numpy"),
        ),
        package(
            "executor-zstandard",
            "ThreadPoolExecutor and zstandard, page, 64 pages a task",
            *("zstandard", "numpy"),
        ),
        package("blosc2-zstd", "blosc2 SChunk, zstd, 4 KiB blocks", "blosc2"),
    ]
    assert {contender.name for contender in described} == set(PEERS)
    return described


def _costs(setup: Setup) -> list[Contender]:
    stream, raw = setup.folder / "output.migc", setup.folder / "output.raw"
    commands = [
        [*setup.run(*choice, threads=MANY_THREADS), "-o", str(stream)]
        for choice in _STREAMS.values()
    ] + [
        setup.restore(setup.stream(variant), raw, MANY_THREADS) for variant in _STREAMS
    ]
    return [
        Contender(
            "memory",
            f"anonymous memory of run and restore, {_threads(MANY_THREADS)}",
            Memory(commands, (stream, raw), sys.executable),
            prepare=partial(_make_streams, setup),
        ),
        Contender(
            "queue",
            "an empty request of the workqueue, one worker",
            QueueCost("workqueue", requests=1_000_000),
        ),
        Contender(
            "executor",
            "an empty task of ThreadPoolExecutor, one worker",
            QueueCost("executor", requests=10_000),
        ),
    ]


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"
