# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a build makes, and what it says when something is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from migcomp import _core

ROOT = Path(__file__).parents[2]
EXTENSION = Path(str(_core.__file__))

long = pytest.mark.long
needs_setuptools = pytest.mark.skipif(
    int(pytest.importorskip("setuptools").__version__.partition(".")[0]) < 77,
    reason="needs setuptools 77",
)


def copy_of_the_source(tmp_path: Path) -> Path:
    """Without what a build leaves behind, so that every build is a first one."""
    target = tmp_path / "source"
    target.mkdir()
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, target)
    junk = shutil.ignore_patterns("*.so", "__pycache__", "*.o")
    shutil.copytree(ROOT / "migcomp", target / "migcomp", ignore=junk)
    if not (target / "README.md").exists():
        (target / "README.md").write_text("migcomp\n")
    return target


def test_the_source_folder_says_that_it_is_not_built(tmp_path: Path) -> None:
    """It shadows the installed package for who works in it."""
    source = copy_of_the_source(tmp_path)
    for arguments in (["-c", "import migcomp.pipeline"], ["-m", "migcomp", "--help"]):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=source,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert "without its compiled core: run migcomp outside of it, or" in last
        assert last == done.stderr.strip() or arguments[0] == "-c"


def build(
    source: Path, hook: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Calls a hook of the build backend, as pip does."""
    script = (
        "import sys; from setuptools import build_meta; "
        f"print('made', build_meta.{hook}(sys.argv[1]))"
    )
    (source / "made").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", script, str(source / "made")],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def made(source: Path, hook: str) -> Path:
    done = build(source, hook)
    assert done.returncode == 0, done.stderr
    return source / "made" / done.stdout.rstrip().rpartition(" ")[2].rpartition("\n")[2]


def output_of(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# --- The extension ---


def test_no_codec_is_linked() -> None:
    needed = re.findall(r"NEEDED.*\[(.*)\]", output_of("readelf", "-d", str(EXTENSION)))
    assert not [n for n in needed if re.match(r"lib(zstd|lz4|z|deflate)\.", n)]


def test_one_symbol_is_exported() -> None:
    lines = output_of("nm", "-D", "--defined-only", str(EXTENSION)).splitlines()
    names = {line.split()[-1] for line in lines}
    # A sanitizer, and the linker of some systems, add names that begin so.
    assert {name for name in names if not name.startswith("_")} == {"PyInit__core"}


# --- Builds ---


@long
@needs_setuptools
def test_the_sdist_holds_all_that_a_build_needs(tmp_path: Path) -> None:
    source = copy_of_the_source(tmp_path)
    archive = made(source, "build_sdist")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
        tar.extractall(tmp_path / "unpacked", filter="data")
    for path in (source / "migcomp" / "_core").rglob("*"):
        if path.suffix in (".c", ".h", ".py"):
            assert str(path.relative_to(source)) in names
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wheel = made(unpacked, "build_wheel")
    with zipfile.ZipFile(wheel) as archive_of_wheel:
        inside = archive_of_wheel.namelist()
    assert [name for name in inside if name.endswith(".so")] == [
        f"migcomp/{EXTENSION.name}"
    ]
    assert {"migcomp/py.typed", "migcomp/_core.pyi"} <= set(inside)
    assert not [name for name in inside if name.endswith((".c", ".h", ".o"))]


@needs_setuptools
@pytest.mark.parametrize("compiler", ["/nonexistent", "/nonexistent -pthread"])
def test_a_missing_compiler(tmp_path: Path, compiler: str) -> None:
    done = build(copy_of_the_source(tmp_path), "build_wheel", CC=compiler)
    assert done.returncode != 0
    assert "'/nonexistent' is not there" in done.stderr
    assert "apt install gcc libc6-dev" in done.stderr
    assert "dnf install gcc" in done.stderr


@needs_setuptools
def test_missing_headers_of_python(tmp_path: Path) -> None:
    source = copy_of_the_source(tmp_path)
    hide = "import sysconfig; sysconfig.get_path = lambda *_, **__: '/nonexistent'\n"
    module = source / "migcomp" / "_core" / "build.py"
    text = module.read_text()
    marker = "from setuptools import Extension\n"
    assert marker in text
    module.write_text(text.replace(marker, marker + hide))
    done = build(source, "build_wheel")
    assert done.returncode != 0
    assert "/nonexistent/Python.h is not there" in done.stderr
    assert "apt install python3-dev" in done.stderr
    assert "dnf install python3-devel" in done.stderr


@needs_setuptools
def test_missing_headers_of_the_c_library(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'pthread.h: no such file' >&2\nexit 1\n")
    compiler.chmod(0o755)
    done = build(copy_of_the_source(tmp_path), "build_wheel", CC=str(compiler))
    assert done.returncode != 0
    assert "apt install libc6-dev" in done.stderr
    assert "dnf install glibc-devel" in done.stderr
