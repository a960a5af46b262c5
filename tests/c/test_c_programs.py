# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each C program in each build: no violation, no report of a sanitizer."""

from __future__ import annotations

import pytest

from .programs import BUILDS, PROGRAMS, Builder, compiler, run

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")

# Of the operations that the programs do by themselves.
FAST = {"plain": 0.5, "jitter": 0.15, "asan": 0.3, "tsan": 0.2}
LONG = 10.0


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("programs"))


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_has_no_violations(builder: Builder, program: str, build: str) -> None:
    outcome = run(builder.program(program, build), FAST[build], watchdog=120)
    assert outcome.clean, outcome.output


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_has_no_violations_for_long(builder: Builder, program: str, build: str) -> None:
    outcome = run(builder.program(program, build), LONG, watchdog=120)
    assert outcome.clean, outcome.output
