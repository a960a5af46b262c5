# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running a sweep: rounds of all settings, and how much time is left.

Every setting is run once in each round, so that a machine that slows down slows
all of them, and each round starts elsewhere in their order.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from migcomp.bench.results_file import ResultsFile
from migcomp.bench.sweep_results import (
    WARM_UP,
    Sweep,
    SweepMachine,
    SweepPlan,
    SweepSample,
    SweptImage,
)
from migcomp.bench.sweep_run import Task, open_swept
from migcomp.errors import ImageError, ResultsError
from migcomp.images.file import Watch
from migcomp.results import Block

#: Takes the samples, in whatever order they become ready.
Runner = Callable[[Iterable[Task]], Iterator[tuple[SweepMachine, SweepSample]]]

_Case = tuple[int, int]  # number of an image, and of a setting


@dataclass(frozen=True)
class State:
    """Told after each sample, and before the first.

    ``seconds_left`` is None before anything was measured; ``rough``: some settings
    have not been measured yet, and are taken to last as long as the others.
    """

    done: int
    wanted: int
    round: int
    seconds_left: float | None
    rough: bool


def swept_image(
    path: str,
    page_size: int,
    watch: Watch | None = None,
    *,
    given_format: str | None = None,
    layout: tuple[Block, ...] = (),
    diffs: tuple[str, ...] = (),
    pad: bool = False,
) -> SweptImage:
    """What a sweep has to know of an image; ``watch`` is that of open_image.

    Raises ImageError.
    """
    if Path(path).is_fifo():
        raise ImageError(
            f"{path} is a pipe, which can be read only once; put the image into a file"
        )
    asked = SweptImage(path, "", 0, page_size, given_format, layout, diffs, pad)
    with open_swept(asked, watch) as image:
        size = sum(block.length for block in image.blocks)
        return replace(
            asked, format=image.format, bytes=size, page_size=image.page_size
        )


def run_sweep(
    file: ResultsFile,
    runner: Runner,
    *,
    width: int = 1,
    told: Callable[[State], None] = lambda state: None,
    now: Callable[[], float] = time.monotonic,
) -> Sweep:
    """Takes the samples that ``file`` lacks, ``width`` at a time.  ``now`` is in
    seconds.

    Raises ResultsError when an image is no longer what it was, and what the
    compression raises.
    """
    before = file.sweep
    plan = before.plan
    done = {(s.image, s.setting, s.round) for s in before.samples}
    wanted = [task for task in tasks(plan) if _key(task) not in done]
    clock = _Clock(plan, before.samples, wanted, width)
    start = now()
    digests = {s.image: s.result.image_digest for s in before.samples}
    machines = {machine.id: machine for machine in before.machines}
    samples = list(before.samples)
    told(clock.state(len(samples)))
    for machine, sample in runner(wanted):
        digest = digests.setdefault(sample.image, sample.result.image_digest)
        if sample.result.image_digest != digest:
            raise ResultsError(
                f"{plan.images[sample.image].path} is not the image any more that "
                f"{file.path} has samples of; give another -o"
            )
        file.add(machine, sample)
        machines[machine.id] = machine
        samples.append(sample)
        clock.note(sample, now() - start)
        told(clock.state(len(samples)))
    return Sweep(plan, tuple(machines.values()), tuple(samples))


def tasks(plan: SweepPlan) -> Iterator[Task]:
    """All samples: round by round, image by image, each round from another setting."""
    count, rounds = len(plan.settings), plan.rounds + 1
    for number in range(WARM_UP, rounds):
        first = number * max(count, rounds) // rounds % count
        for i, image in enumerate(plan.images):
            for k in range(count):
                setting = (first + k) % count
                yield Task(image, plan.settings[setting], i, setting, number)


def _key(task: Task) -> tuple[int, int, int]:
    return task.image_number, task.setting_number, task.round


class _Clock:
    """What is left: what each setting took when it was last run, times the pace.

    The pace is what passes while a second of runs is measured: more for opening
    images, less for runs at the same time.
    """

    def __init__(
        self,
        plan: SweepPlan,
        samples: Iterable[SweepSample],
        wanted: Iterable[Task],
        width: int,
    ) -> None:
        self._plan = plan
        self._left = Counter((t.image_number, t.setting_number) for t in wanted)
        self._seconds: dict[_Case, float] = {}
        self._round = WARM_UP
        self._measured = 0.0
        self._pace = 1 / width
        for sample in samples:
            self._keep(sample)

    def note(self, sample: SweepSample, passed: float) -> None:
        """``passed`` seconds after the first began."""
        self._left[sample.image, sample.setting] -= 1
        self._measured += sample.result.wall_seconds
        self._pace = passed / self._measured
        self._keep(sample)

    def _keep(self, sample: SweepSample) -> None:
        self._seconds[sample.image, sample.setting] = sample.result.wall_seconds
        self._round = max(self._round, sample.round)

    def state(self, done: int) -> State:
        wanted = done + self._left.total()
        if not self._seconds:
            return State(done, wanted, self._round, None, True)
        images = self._plan.images
        measured = sum(images[image].bytes for image, _ in self._seconds)
        per_byte = sum(self._seconds.values()) / measured
        left, rough = 0.0, False
        for case, times in self._left.items():
            seconds = self._seconds.get(case)
            rough = rough or (seconds is None and times > 0)
            left += times * (seconds or per_byte * images[case[0]].bytes)
        return State(done, wanted, self._round, left * self._pace, rough)
