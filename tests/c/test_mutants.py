# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs find each defect of mutants.py, and nothing without it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .mutants import HANG, SEED, Mutant
from .mutants_own import OWN
from .programs import (
    CORE,
    CORE_HEADERS,
    CORE_SOURCES,
    RUNNERS,
    Builder,
    compiler,
    need,
    run,
)

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")

MUTANTS = SEED + OWN
USES = sorted({(mutant.program, mutant.build) for mutant in MUTANTS})
SEED_DEFECTS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7")


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("original"))


def copy_of_core(directory: Path, mutant: Mutant) -> Path:
    core = directory / "core"
    core.mkdir()
    for name in CORE_SOURCES + CORE_HEADERS:
        shutil.copy(CORE / name, core / name)
    text = (core / mutant.file).read_text()
    assert text.count(mutant.old) == 1, f"{mutant.file} has changed"
    assert mutant.old != mutant.new
    (core / mutant.file).write_text(text.replace(mutant.old, mutant.new))
    return core


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_is_found(builder: Builder, tmp_path: Path, mutant: Mutant) -> None:
    if mutant.build in RUNNERS:
        need("valgrind")
    core = copy_of_core(tmp_path, mutant)
    executable = Builder(tmp_path, core, builder).program(mutant.program, mutant.build)
    watchdog = 1 if mutant.expected.startswith(HANG) else 30
    outcome = run(executable, mutant.scale, watchdog, stop=True)
    assert not outcome.clean, f"not found: {mutant.defect}"
    assert outcome.code != 0
    assert mutant.expected in outcome.output, outcome.output


@pytest.mark.parametrize(("program", "build"), USES)
def test_original_is_clean(builder: Builder, program: str, build: str) -> None:
    """What finds the mutants does not find them everywhere."""
    if build in RUNNERS:
        need("valgrind")
    scale = max(m.scale for m in MUTANTS if (m.program, m.build) == (program, build))
    outcome = run(builder.program(program, build), scale, watchdog=60, stop=True)
    assert outcome.clean, outcome.output


def test_each_grave_defect_of_the_seed_is_here() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names))
    for defect in SEED_DEFECTS:
        assert any(name.startswith(f"{defect}-") for name in names)
