# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a sweep is to measure and what it measured: plain data, all samples kept.

``docs/results-format.md`` describes the file that holds it.  Sizes are bytes, times
seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from migcomp.results import Block, CodecInfo, RunResult

#: The round that warms up: its samples' times are not counted.
WARM_UP = 0

#: Compressed pages are counted by 64ths of a page.
PAGE_SIZE_STEPS = 64


@dataclass(frozen=True)
class Setting:
    """One way to compress, with nothing left to a default but what is not swept."""

    codec: str
    level: int
    grouping: str
    threads: int
    dedup: bool = False

    @property
    def name(self) -> str:
        """As in ``zstd-3 packet dedup x2``: two threads."""
        dedup = " dedup" if self.dedup else ""
        return f"{self.codec}-{self.level} {self.grouping}{dedup} x{self.threads}"


@dataclass(frozen=True)
class SweptImage:
    """``path`` is as given; ``bytes`` are those of the guest's memory.

    What the image does not tell itself is as in ``images.open.open_image``:
    ``given_format`` None stands for what its content tells, which is ``format``.
    """

    path: str
    format: str
    bytes: int
    page_size: int
    given_format: str | None = None
    layout: tuple[Block, ...] = ()
    diffs: tuple[str, ...] = ()
    pad: bool = False


@dataclass(frozen=True)
class SweepPlan:
    """Every setting with every image, once in each of the ``rounds``."""

    images: tuple[SweptImage, ...]
    settings: tuple[Setting, ...]
    rounds: int


@dataclass(frozen=True)
class SweepMachine:
    """A machine that samples come from; ``id`` tells it, and what runs on it, from
    others.

    ``governor`` is what sets the CPUs' frequency, empty where nobody tells;
    ``codecs`` are the libraries that do the work there.
    """

    id: str
    host: str
    cpu: str
    cpus: int
    cores: int
    usable_cpus: int
    memory_bytes: int
    governor: str
    kernel: str
    python: str
    migcomp: str
    codecs: tuple[CodecInfo, ...]


@dataclass(frozen=True)
class SweepSample:
    """One run of one setting.

    ``image`` and ``setting`` are numbers in the plan, ``round`` counts from 1, and
    WARM_UP is the round before.  ``started`` is a time in UTC, ``load`` the machine's
    load average before; ``cached_share`` how much of the image file was in the page
    cache when the run began, 0 to 1, None where nobody can tell.

    ``page_sizes``: pages that compressed to at most 1/64 of a page, to at most 2/64,
    and so on; in the warm-up of grouping ``page`` only, where each page is a block.
    ``result.regions`` is filled in the warm-up of the first setting only, and
    ``result.blocks`` in all of the warm-up.
    """

    image: int
    setting: int
    round: int
    machine: str
    pid: int
    started: str
    load: float
    cached_share: float | None
    result: RunResult
    page_sizes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Series:
    """All counted samples of one setting with one image, by round."""

    image: SweptImage
    setting: Setting
    samples: tuple[SweepSample, ...]
    warm_up: SweepSample | None


@dataclass(frozen=True)
class Sweep:
    """``samples`` in the order in which they were taken, those of the warm-up too."""

    plan: SweepPlan
    machines: tuple[SweepMachine, ...]
    samples: tuple[SweepSample, ...] = field(default=())

    @property
    def wanted(self) -> int:
        """Samples of a sweep that is complete, warm-up included."""
        plan = self.plan
        return len(plan.images) * len(plan.settings) * (plan.rounds + 1)

    @cached_property
    def series(self) -> tuple[Series, ...]:
        """By image, then by setting, as in the plan; those without samples left out."""
        by_case: dict[tuple[int, int], dict[int, SweepSample]] = {}
        for sample in self.samples:
            case = by_case.setdefault((sample.image, sample.setting), {})
            case[sample.round] = sample
        return tuple(
            Series(
                self.plan.images[image],
                self.plan.settings[setting],
                tuple(s for number, s in sorted(rounds.items()) if number != WARM_UP),
                rounds.get(WARM_UP),
            )
            for (image, setting), rounds in sorted(by_case.items())
            if set(rounds) != {WARM_UP}
        )

    def series_of(self, image: SweptImage) -> tuple[Series, ...]:
        return tuple(series for series in self.series if series.image == image)
