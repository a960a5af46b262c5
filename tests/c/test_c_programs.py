# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each C program in each build: no violation, no report of a sanitizer."""

from __future__ import annotations

import pytest

from .programs import PROGRAMS, RUNNERS, Builder, builds, compiler, need, run

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")

# Of the operations that the programs do by themselves.
FAST = {
    "plain": 0.5,
    "jitter": 0.15,
    "asan": 0.3,
    "tsan": 0.2,
    "helgrind": 0.02,
    "drd": 0.005,
}
LONG = {
    "plain": 10.0,
    "jitter": 10.0,
    "asan": 10.0,
    "tsan": 10.0,
    "helgrind": 0.5,
    "drd": 0.1,
}

RUNS = [(program, build) for program in PROGRAMS for build in builds(program)]

# Threads x requests x CPUs, each under ThreadSanitizer; see wq_torture.c.
COMBINATIONS = [
    f"{size}{cpus}"
    for size in ("1x1", "1x4", "1x64", "2x4", "2x64", "16x4")
    for cpus in ("", "-one-cpu")
]
# Millions of requests under each of wq_torture's conditions.
TORTURE = {
    "1x1": 10,
    "1x1-one-cpu": 10,
    "1x4": 40,
    "1x4-one-cpu": 40,
    "1x64": 200,
    "1x64-one-cpu": 150,
    "2x4": 20,
    "2x4-one-cpu": 40,
    "2x64": 150,
    "2x64-one-cpu": 150,
    "16x4": 30,
    "16x4-one-cpu": 30,
    "64x64": 50,
    "64x64-one-cpu": 50,
    "sleeping": 3,
    "sleeping-one-cpu": 3,
    "stalling": 8,
    "stalling-one-cpu": 8,
    "failing": 4,
    "failing-one-cpu": 4,
}
# Of wq_destroy_midflight, for 100,000 lives.
LIVES_SCALE = 50


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("programs"))


def check(builder: Builder, program: str, build: str, scale: float, *name: str) -> None:
    if build in RUNNERS:
        need("valgrind")
    outcome = run(builder.program(program, build), scale, 300, *name)
    print(outcome.output, end="")
    assert outcome.clean, outcome.output


@pytest.mark.parametrize(("program", "build"), RUNS)
def test_has_no_violations(builder: Builder, program: str, build: str) -> None:
    check(builder, program, build, FAST[build])


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("program", "build"), RUNS)
def test_has_no_violations_for_long(builder: Builder, program: str, build: str) -> None:
    check(builder, program, build, LONG[build])


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_a_million_requests_have_no_race(builder: Builder, combination: str) -> None:
    check(builder, "wq_torture", "tsan", 1, combination)


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_ten_million_requests_have_no_race(builder: Builder, combination: str) -> None:
    check(builder, "wq_torture", "tsan", 10, combination)


def test_the_torture_is_of_a_billion_requests() -> None:
    assert sum(TORTURE.values()) == 1000


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("condition", TORTURE)
def test_torture(builder: Builder, condition: str) -> None:
    check(builder, "wq_torture", "plain", TORTURE[condition], condition)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_hundred_thousand_queues(builder: Builder) -> None:
    check(builder, "wq_destroy_midflight", "plain", LIVES_SCALE)
