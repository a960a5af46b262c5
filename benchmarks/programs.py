# SPDX-License-Identifier: LGPL-2.1-or-later
"""The C programs of this folder: building them, and the commands to run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CORE = HERE.parent / "migcomp" / "_core"

_STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread")
_QUEUE = ("event.c", "worker.c", "workqueue.c", "workqueue_life.c")

#: The bare loop runs inside an interpreter: see limit.c.
_CALL_MAIN = (
    "import ctypes, os, sys;"
    "words = [os.fsencode(word) for word in sys.argv[1:]];"
    "main = ctypes.CDLL(sys.argv[1]).main;"
    "sys.exit(main(len(words), (ctypes.c_char_p * len(words))(*words)))"
)


class BuildError(Exception):
    """The compiler's own words."""


def compiler() -> str:
    return os.environ.get("CC", "cc")


def _compile(output: Path, *arguments: str | Path) -> Path:
    command = [compiler(), *_STRICT, "-o", str(output), *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{compiler()} cannot be run: {error}") from error
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stderr}")
    return output


def build_limit(folder: Path) -> Path:
    """The bare loop, optimised for this very CPU: a limit should be one."""
    return _compile(
        folder / "limit.so",
        "-O3",
        "-march=native",
        "-shared",
        "-fPIC",
        HERE / "limit.c",
        HERE / "limit_codec.c",
        "-ldl",
    )


def build_queue_constants(folder: Path) -> Path:
    """With the optimisation that the package is built with."""
    return _compile(
        folder / "queue_constants",
        "-O2",
        f"-I{CORE}",
        HERE / "queue_constants.c",
        *(CORE / name for name in _QUEUE),
    )


def build_xbzrle(folder: Path) -> Path:
    """With the optimisation that the package is built with."""
    return _compile(
        folder / "xbzrle",
        "-O2",
        f"-I{CORE}",
        HERE / "xbzrle.c",
        CORE / "xbzrle.c",
        CORE / "xbzrle_compare.c",
    )


def limit_command(
    limit: Path,
    image: Path,
    *,
    codec: str,
    library: str = "",
    level: int = 1,
    grouping: str = "page",
    threads: int = 2,
) -> list[str]:
    """``codec`` is limit.c's: libdeflate is one of its own."""
    return [
        sys.executable,
        "-c",
        _CALL_MAIN,
        str(limit),
        str(image),
        codec,
        library,
        str(level),
        grouping,
        str(threads),
    ]
