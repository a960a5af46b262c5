# SPDX-License-Identifier: LGPL-2.1-or-later
"""The program as its users start it, and small images to feed it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

PAGE = 4096
GUEST_PAGES = 512
COMMAND = [sys.executable, "-m", "migcomp"]


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def errors(self) -> str:
        return self.stderr.decode()

    @property
    def json(self) -> Any:
        """Fails unless standard output is exactly one JSON object."""
        return json.loads(self.stdout)


def environment(**changes: str) -> dict[str, str]:
    """Ours without what would change the output."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "MIGCOMP_DEBUG")
        and not name.startswith("MIGCOMP_")
    }
    return kept | {"TERM": "xterm-256color"} | changes


def program(
    *arguments: str | Path,
    stdin: bytes = b"",
    stdout: int | None = None,
    **changes: str,
) -> Outcome:
    """A process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        env=environment(**changes),
        timeout=60,
        check=False,
    )
    return Outcome(done.returncode, done.stdout or b"", done.stderr)


def command(*arguments: str | Path) -> Outcome:
    """The same within this process, which is faster."""
    from migcomp.cli.main import commands

    result = CliRunner().invoke(
        commands, [str(argument) for argument in arguments], prog_name="migcomp"
    )
    return Outcome(result.exit_code, result.stdout_bytes, result.stderr_bytes)


def image_bytes(pages: int = 300, seed: int = 1) -> bytes:
    """Pages of all classes, some of them equal."""
    rng = random.Random(seed)
    words = [rng.randbytes(8) for _ in range(40)]
    content = bytearray()
    for page in range(pages):
        match page % 6:
            case 0 | 1:
                content += bytes(PAGE)
            case 2:
                content += b"\xcc" * PAGE
            case 3:
                content += rng.randbytes(PAGE)
            case 4:
                content += b"".join(rng.choice(words) for _ in range(PAGE // 8))
            case _:
                content += b"equal page! %4d " % (page % 5) * (PAGE // 17 + 1)
                del content[(page + 1) * PAGE :]
    return bytes(content)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "guest.raw"
    path.write_bytes(image_bytes())
    return path


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """Of GUEST_PAGES pages, half of them zero; a simulation's."""
    content = b"".join(
        bytes(PAGE) if page % 2 else b"%08d" % page * (PAGE // 8)
        for page in range(GUEST_PAGES)
    )
    (tmp_path / "guest.raw").write_bytes(content)
    return tmp_path / "guest.raw"


@pytest.fixture
def make_stream(tmp_path: Path, image: Path) -> Callable[..., Path]:
    """Makes a stream of ``image`` with the options given."""

    def make(*options: str, name: str = "guest.migc") -> Path:
        path = tmp_path / name
        done = command("run", image, "-o", path, "-q", *options)
        assert done.code == 0, done.errors
        return path

    return make


@pytest.fixture
def stream(make_stream: Callable[..., Path]) -> Path:
    return make_stream()


def sentence(outcome: Outcome) -> str:
    """The one line that an error consists of."""
    lines = outcome.errors.splitlines()
    assert len(lines) == 1, outcome.errors
    who, _, what = lines[0].partition(": ")
    if outcome.code == 2 and what.endswith(" --help)"):
        assert who.startswith("migcomp")
        assert what.endswith(f" (see {who} --help)")
    else:
        assert who == "migcomp"
    assert outcome.stdout == b""
    return what
