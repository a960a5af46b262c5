# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scanner of QEMU's records under sanitizers, and under libFuzzer if it is there.

For longer: ``clang -DLIBFUZZER -fsanitize=fuzzer,address,undefined`` with the
sources below, and ``-max_total_time=`` as long as you like.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.c.programs import CORE, SANITIZERS, compiler
from tests.conftest import make_page
from tests.qemu_tools import BLOCKS, Writer

SOURCES = [
    Path(__file__).with_name("qemu_ram.c"),
    *(
        CORE / f"{name}.c"
        for name in (
            "qemu_ram",
            "page_map",
            "page_fetch",
            "pages",
            "xbzrle",
            "crc32c",
            "xxh64",
        )
    ),
    *(CORE / f"{name}.c" for name in ("codec", "guard", "handlers")),
    *sorted(CORE.glob("codec_*.c")),
]
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-pthread"]
ITERATIONS = 30_000
SECONDS = 10


def records(folder: Path) -> Path:
    """The records of a small stream, without its framing."""
    writer = Writer(last=b"")
    for number in range(3):
        for name, _ in BLOCKS:
            writer.zero(name, 0)
            writer.normal(name, 1, make_page("rows", number))
            writer.compressed(name, 2, make_page("spot", number))
            for page in (1, 3):
                old = writer.pages.get((name, page), bytes(4096))
                writer.changed(name, page, bytes([number + 1]) + old[1:])
        writer.put("Q", 0x200)
        writer.put("Q", 0x10)
    path = folder / "records"
    path.write_bytes(writer.data)
    return path


def build(compiler: str, target: Path, sanitizers: str, *more: str) -> Path:
    command = [compiler, *FLAGS, *more, f"-fsanitize={sanitizers}", f"-I{CORE}"]
    command += ["-fno-sanitize-recover=all", *map(str, SOURCES), "-ldl"]
    subprocess.run([*command, "-o", str(target)], check=True)
    return target


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_spoilt_records(tmp_path: Path) -> None:
    program = build(compiler() or "", tmp_path / "target", "address,undefined")
    done = subprocess.run(
        [program, str(ITERATIONS), records(tmp_path)],
        env=os.environ | SANITIZERS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = re.fullmatch(
        r"sections (\d+), refused (\d+), spoilt pages (\d+)\n", done.stdout
    )
    assert found
    sections, refused, spoilt = map(int, found.groups())
    assert sections > ITERATIONS
    assert ITERATIONS // 10 < refused < ITERATIONS
    # Those that a codec would have to decode, and deltas.
    assert spoilt > ITERATIONS


def clang() -> str | None:
    return next(
        filter(None, map(shutil.which, ("clang", "clang-16", "clang-14"))), None
    )


@pytest.mark.long
@pytest.mark.skipif(clang() is None, reason="needs clang, for libFuzzer")
def test_libfuzzer(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    records(corpus)
    program = build(
        clang() or "", tmp_path / "target", "fuzzer,address,undefined", "-DLIBFUZZER"
    )
    done = subprocess.run(
        [program, f"-max_total_time={SECONDS}", "-max_len=40000", corpus],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
