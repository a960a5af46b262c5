# SPDX-License-Identifier: LGPL-2.1-or-later
"""House rules of the C sources that a compiler does not check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .programs import CORE, HERE

SPDX = "/* SPDX-License-Identifier: LGPL-2.1-or-later */\n"
LINES_MOST = 400
ATOMICS = re.compile(
    r"\b(memory_order_\w+|__atomic_\w+|__sync_\w+"
    r"|atomic_(?:load|store|exchange|compare|fetch|thread_fence|signal_fence)\w*)"
)
PYTHON = re.compile(r"#\s*include\s*[<\"]Python\.h[>\"]")

CORE_FILES = sorted(CORE.rglob("*.[ch]"))
FILES = CORE_FILES + sorted(HERE.parent.rglob("*.[ch]"))


def name(path: Path) -> str:
    return str(path.relative_to(HERE.parents[1]))


def found(pattern: re.Pattern[str], path: Path) -> list[str]:
    return [match.group() for match in pattern.finditer(path.read_text())]


def test_there_are_sources() -> None:
    assert CORE / "atomics.h" in CORE_FILES
    assert CORE / "module.c" in CORE_FILES


@pytest.mark.parametrize("path", CORE_FILES, ids=name)
def test_is_built_and_shipped(path: Path) -> None:
    """What pyproject.toml does not name is in no archive of the sources."""
    settings = (HERE.parents[1] / "pyproject.toml").read_text()
    assert f'"{name(path)}"' in settings


@pytest.mark.parametrize("path", FILES, ids=name)
def test_starts_with_licence(path: Path) -> None:
    assert path.read_text().startswith(SPDX)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_fits_in_the_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_MOST


@pytest.mark.parametrize("path", FILES, ids=name)
def test_atomics_in_one_header(path: Path) -> None:
    if path not in (CORE / "atomics.h", HERE / "valgrind_atomics.h"):
        assert found(ATOMICS, path) == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_python_in_one_file(path: Path) -> None:
    if path != CORE / "module.c":
        assert found(PYTHON, path) == []
