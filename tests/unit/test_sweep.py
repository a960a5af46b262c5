# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a sweep runs, in which order, and what it keeps; no test looks at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from migcomp.bench import sweep_machine as sweep_machine_module
from migcomp.bench import sweep_run
from migcomp.bench.page_cache import cached_share, read_through
from migcomp.bench.results_file import ResultsFile, read_results
from migcomp.bench.sweep import State, run_sweep, swept_image, tasks
from migcomp.bench.sweep_machine import sweep_machine
from migcomp.bench.sweep_results import Setting
from migcomp.bench.sweep_run import Task, take
from migcomp.errors import ResultsError
from migcomp.measure import PageSizes, coarser
from migcomp.results import PageCounts, Region
from tests.cli.conftest import image_bytes
from tests.sweeps import MACHINE, make_sweep, setting

# --- Order and time ------------------------------------------------------------------

PLAN = make_sweep(
    {setting(level=level): (1000, [1.0] * 5) for level in range(1, 7)}
).plan


def test_each_round_has_every_setting_and_starts_elsewhere() -> None:
    plan = replace(PLAN, images=(*PLAN.images, replace(PLAN.images[0], path="two")))
    everything = list(tasks(plan))
    assert len(everything) == 6 * 6 * 2
    rounds = [everything[i : i + 12] for i in range(0, 72, 12)]
    starts = []
    for number, round in enumerate(rounds):
        assert {task.round for task in round} == {number}
        for image, half in enumerate((round[:6], round[6:])):
            assert {task.image_number for task in half} == {image}
            assert sorted(task.setting_number for task in half) == list(range(6))
            assert all(t.setting == plan.settings[t.setting_number] for t in half)
        starts.append(round[0].setting_number)
    assert sorted(starts) == list(range(6))


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_of_few_settings_each_round_starts_at_another_too(count: int) -> None:
    """Than the one before; there are not enough for each to have its own."""
    plan = replace(PLAN, settings=PLAN.settings[:count])
    starts = [task.setting_number for task in list(tasks(plan))[::count]]
    assert len(starts) == 6
    assert all(one != other for one, other in pairwise(starts))
    assert set(starts) == set(range(count))


def fake(task: Task, seconds: float = 1.0) -> Any:
    (sample,) = (
        s
        for s in make_sweep({task.setting: (1000, [seconds] * 5)}).samples
        if s.round == task.round
    )
    return MACHINE, replace(
        sample, image=task.image_number, setting=task.setting_number
    )


def test_the_time_left_is_that_of_the_settings_left(tmp_path: Path) -> None:
    # Setting n takes n + 1 seconds, twice that to warm up, and half as long again
    # to open its image.
    passed = 1000.0

    def runner(todo: Iterable[Task]) -> Iterator[Any]:
        nonlocal passed
        for task in todo:
            machine, sample = fake(task, 1.0 + task.setting_number)
            passed += 1.5 * sample.result.wall_seconds
            yield machine, sample

    told: list[State] = []
    with ResultsFile(str(tmp_path / "results"), PLAN) as file:
        run_sweep(file, runner, told=told.append, now=lambda: passed)
    assert [state.done for state in told] == list(range(37))
    assert all(state.wanted == 36 for state in told)
    assert told[0].seconds_left is None
    assert told[1].rough
    # One of 2 s done, and 35 like it left, for all that is known.
    assert told[1].seconds_left == pytest.approx(1.5 * 35 * 2)
    assert not told[6].rough
    assert told[6].seconds_left == pytest.approx(1.5 * 5 * 2 * 21)
    # Round 5 is left.
    assert told[30].round == 4
    assert told[30].seconds_left == pytest.approx(1.5 * 21)
    assert told[36].seconds_left == 0


def test_going_on_knows_what_was_measured(tmp_path: Path) -> None:
    path = str(tmp_path / "results")
    with ResultsFile(path, PLAN) as file:
        for task in list(tasks(PLAN))[:20]:
            file.add(*fake(task))
    asked: list[Task] = []

    def runner(todo: Iterable[Task]) -> Iterator[Any]:
        for task in todo:
            asked.append(task)
            yield fake(task)

    told: list[State] = []
    with ResultsFile(path, PLAN) as file:
        sweep = run_sweep(file, runner, width=2, told=told.append)
    assert asked == list(tasks(PLAN))[20:]
    assert told[0].done == 20
    assert told[0].seconds_left == pytest.approx(8.0)  # two at a time
    assert sweep == read_results(path)
    assert len(sweep.samples) == sweep.wanted


def test_an_image_that_changed_ends_the_sweep(tmp_path: Path) -> None:
    def runner(todo: Iterable[Task]) -> Iterator[Any]:
        for number, task in enumerate(todo):
            machine, sample = fake(task)
            result = replace(sample.result, image_digest=number // 3)
            yield machine, replace(sample, result=result)

    path = str(tmp_path / "results")
    with (
        ResultsFile(path, PLAN) as file,
        pytest.raises(ResultsError, match=r"one\.raw is not the image any more"),
    ):
        run_sweep(file, runner)
    assert len(read_results(path).samples) == 3


# --- Samples -------------------------------------------------------------------------


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    path = tmp_path / "guest.raw"
    path.write_bytes(image_bytes(600))
    return path


def task_of(path: Path, chosen: Setting, round: int = 1, number: int = 0) -> Task:
    return Task(swept_image(str(path), 4096), chosen, 0, number, round)


def test_a_sample_says_where_it_comes_from(guest: Path) -> None:
    machine, sample = take(task_of(guest, Setting("lz4", 1, "page", 2)))
    assert machine == sweep_machine()
    assert machine.host == os.uname().nodename
    assert 1 <= machine.cores <= machine.cpus
    assert {codec.name for codec in machine.codecs} >= {"zstd", "zlib", "none"}
    assert sample.pid == os.getpid()
    assert sample.cached_share == 1.0
    assert sample.page_sizes is None
    assert not sample.result.regions
    assert not sample.result.blocks
    settings = sample.result.settings
    assert (settings.codec, settings.grouping, settings.threads) == ("lz4", "page", 2)


def test_the_warm_up_keeps_the_map_and_the_sizes(guest: Path) -> None:
    chosen = Setting("zstd", 1, "page", 1)
    _, first = take(task_of(guest, chosen, round=0))
    _, second = take(task_of(guest, chosen, round=0, number=1))
    assert sum(r.pages.total for r in first.result.regions) == 600
    assert second.result.regions == ()
    assert len(first.result.blocks) == 1
    assert first.page_sizes == second.page_sizes
    assert first.page_sizes is not None
    result = first.result
    assert sum(first.page_sizes) == result.pages.compressed > 0
    # Each bucket's pages have at most that many 64ths of a page, and more than
    # one less.
    most = sum((i + 1) * 64 * n for i, n in enumerate(first.page_sizes))
    assert most - 64 * result.pages.compressed < result.compressed_bytes <= most
    _, packets = take(task_of(guest, Setting("zstd", 1, "packet", 1), round=0))
    assert packets.page_sizes is None


def test_an_image_is_run_uncounted_when_a_process_sees_it_first(
    guest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    compress = sweep_run._compress

    def counted(task: Task, sizes: PageSizes | None) -> Any:
        runs.append(task.round)
        return compress(task, sizes)

    monkeypatch.setattr(sweep_run, "_compress", counted)
    monkeypatch.setattr(sweep_run, "_warm", set())
    chosen = Setting("lz4", 1, "page", 1)
    take(task_of(guest, chosen, round=3))
    take(task_of(guest, chosen, round=4))
    assert runs == [3, 3, 4]
    monkeypatch.setattr(sweep_run, "_warm", set())
    take(task_of(guest, chosen, round=0))
    take(task_of(guest, chosen, round=1))
    assert runs[3:] == [0, 1]


def test_each_sweep_asks_again_what_machine_this_is(
    guest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's worker lives longer than a sweep, and than a governor."""
    own = cache(sweep_machine.__wrapped__)
    monkeypatch.setattr(sweep_run, "sweep_machine", own)
    monkeypatch.setattr(sweep_run, "_sweep", "none")
    task = task_of(guest, Setting("lz4", 1, "page", 1))
    asked = []
    for governor, sweep in (("powersave", "one"), ("other", "one"), ("other", "two")):
        monkeypatch.setattr(sweep_machine_module, "_governor", lambda now=governor: now)
        asked.append(take(replace(task, sweep=sweep))[0])
    assert [machine.governor for machine in asked] == ["powersave"] * 2 + ["other"]
    assert asked[0].id == asked[1].id != asked[2].id


def test_a_copy_may_be_dropped_while_its_cache_is_asked_for(
    guest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another sweep, which another thread of a cluster's worker has begun."""

    asked = []

    def begin_another(path: str) -> float | None:
        sweep_run._begin("another")
        asked.append(path)
        return cached_share(path)

    task = task_of(guest, Setting("lz4", 1, "page", 1))
    with guest.open("rb") as file:
        copy = SimpleNamespace(fd=file.fileno(), close=file.close)
        monkeypatch.setattr(sweep_run, "_copies", {str(guest): copy})
        monkeypatch.setattr(sweep_run, "_sweep", task.sweep)
        monkeypatch.setattr(sweep_run, "cached_share", begin_another)
        assert take(task)[1].cached_share == 1
    assert asked[0].startswith("/proc/self/fd/")


def test_what_the_page_cache_holds(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100 * 4096 + 1))
    assert cached_share(str(path)) == 1.0
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        share = cached_share(str(path))
        if share == 1.0:
            pytest.skip("this file system has no other place, as tmpfs")
        assert share == 0.0
    read_through(str(path))
    assert cached_share(str(path)) == 1.0
    read_through(str(tmp_path / "none"))
    assert cached_share(str(tmp_path / "none")) is None
    assert cached_share("memory://guest.raw") is None
    path.write_bytes(b"")
    assert cached_share(str(path)) is None


def test_holes_need_not_be_in_the_page_cache(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(200 * 4096)
    assert cached_share(str(path)) == 1.0
    with path.open("rb+") as file:
        file.seek(100 * 4096)
        file.write(b"x" * 8192)
    assert cached_share(str(path)) == 1.0


def test_a_counted_sample_finds_its_image_in_the_page_cache(guest: Path) -> None:
    chosen = Setting("lz4", 1, "page", 1)
    take(task_of(guest, chosen, round=0))
    with guest.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached_share(str(guest)) == 1.0:
        pytest.skip("this file system has no other place, as tmpfs")
    _, warm_up = take(task_of(guest, chosen, round=0))
    assert warm_up.cached_share is not None
    assert warm_up.cached_share < 1
    with guest.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert take(task_of(guest, chosen))[1].cached_share == 1.0


def test_regions_are_put_together() -> None:
    regions = tuple(
        Region(i * 128, PageCounts(zero=i, compressed=128 - i), i) for i in range(10)
    )
    assert coarser(regions, 10) == regions
    three = coarser(regions, 4)
    assert [region.first_page for region in three] == [0, 384, 768, 1152]
    assert [region.bytes_out for region in three] == [3, 12, 21, 9]
    assert three[1].pages == PageCounts(zero=12, compressed=3 * 128 - 12)
