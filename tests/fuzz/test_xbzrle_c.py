# SPDX-License-Identifier: LGPL-2.1-or-later
"""XBZRLE's deltas under sanitizers, and under libFuzzer if it is there.

For longer: ``clang -DLIBFUZZER -fsanitize=fuzzer,address,undefined`` with the
sources below, and ``-max_total_time=`` as long as you like.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.c.programs import CORE, SANITIZERS, compiler
from tests.fuzz.test_c import FLAGS, clang

SOURCES = [
    Path(__file__).with_name("xbzrle.c"),
    CORE / "xbzrle.c",
    CORE / "xbzrle_compare.c",
]
ITERATIONS = 20_000
SECONDS = 10


def build(compiler: str, target: Path, sanitizers: str, *more: str) -> Path:
    command = [compiler, *FLAGS, *more, f"-fsanitize={sanitizers}", f"-I{CORE}"]
    command += ["-fno-sanitize-recover=all", *map(str, SOURCES)]
    subprocess.run([*command, "-o", str(target)], check=True)
    return target


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_every_way_makes_the_same_delta(tmp_path: Path) -> None:
    program = build(compiler() or "", tmp_path / "target", "address,undefined")
    done = subprocess.run(
        [program, str(ITERATIONS)],
        env=os.environ | SANITIZERS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    print(done.stdout)
    found = re.fullmatch(
        r"deltas (\d+), equal (\d+), overflows (\d+), sound (\d+);.* 64-bit words\n",
        done.stdout,
    )
    assert found
    deltas, equal, overflows, sound = map(int, found.groups())
    assert deltas + equal + overflows == ITERATIONS
    assert min(deltas, equal, overflows) > ITERATIONS // 50
    assert sound > 100


@pytest.mark.long
@pytest.mark.skipif(clang() is None, reason="needs clang, for libFuzzer")
def test_libfuzzer(tmp_path: Path) -> None:
    program = build(
        clang() or "", tmp_path / "target", "fuzzer,address,undefined", "-DLIBFUZZER"
    )
    done = subprocess.run(
        [program, f"-max_total_time={SECONDS}", "-max_len=4000"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
