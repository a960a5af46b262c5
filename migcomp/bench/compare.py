# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two sweeps side by side: which settings became faster, slower or smaller."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from migcomp.bench.significance import ALPHA, p_value
from migcomp.bench.sweep_figures import Figures
from migcomp.bench.sweep_results import Series, Setting, Sweep
from migcomp.errors import ResultsError

_Case = tuple[int, int, Setting]  # digest of an image, and size of its pages


@dataclass(frozen=True)
class Pair:
    """One setting with one image, in both sweeps; the second is seen from the first."""

    before: Figures
    after: Figures

    @property
    def speed_ratio(self) -> float:
        """Of the median speeds; more than 1 is faster."""
        return self.before.wall.median / self.after.wall.median

    @property
    def rate_ratio(self) -> float:
        """More than 1 compresses better; noise has no part in it."""
        return self.after.rate / self.before.rate

    @cached_property
    def p_value(self) -> float:
        return p_value(_walls(self.before.series), _walls(self.after.series))

    @property
    def noise(self) -> float:
        """The larger of the two sweeps' relative MAD."""
        return max(self.before.noise, self.after.noise)

    @property
    def can_tell(self) -> bool:
        """Whether so many rounds could tell any difference of speed: p is least where
        all of one sweep are faster."""
        before, after = len(_walls(self.before.series)), len(_walls(self.after.series))
        return 2 / math.comb(before + after, before) < ALPHA

    @property
    def significant(self) -> bool:
        """The times differ by more than their noise, and by the U test too."""
        return self.p_value < ALPHA and abs(math.log(self.speed_ratio)) > self.noise

    def unclear(self, most: float) -> bool:
        """It seems to be slower by more than the share ``most``, but its rounds differ
        too much to be sure."""
        return 1 - self.speed_ratio > most and self.can_tell and not self.significant

    def regressed(self, most: float) -> tuple[str, ...]:
        """In words, what became worse by more than the share ``most``."""
        found = []
        slower = 1 - self.speed_ratio
        if self.significant and slower > most:
            found.append(f"{100 * slower:.1f} % slower")
        if 1 - self.rate_ratio > most:
            found.append(f"{100 * (1 - self.rate_ratio):.1f} % lower in rate")
        return tuple(found)


def _walls(series: Series) -> list[float]:
    return [sample.result.wall_seconds for sample in series.samples]


@dataclass(frozen=True)
class Comparison:
    """``missing``: settings of the first that the second did not measure."""

    before: Sweep
    after: Sweep
    pairs: tuple[Pair, ...]
    missing: tuple[Figures, ...]

    @property
    def same_machine(self) -> bool:
        """All samples of both come from one machine with the same software."""
        machines = {m.id for m in (*self.before.machines, *self.after.machines)}
        return len(machines) == 1

    @property
    def speed_mean(self) -> float:
        """Geometric mean of all ratios, significant or not."""
        return _geometric_mean([pair.speed_ratio for pair in self.pairs])

    @property
    def rate_mean(self) -> float:
        return _geometric_mean([pair.rate_ratio for pair in self.pairs])


def _geometric_mean(ratios: list[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def compare(before: Sweep, after: Sweep, names: tuple[str, str]) -> Comparison:
    """Settings are the same if all of them is, images if their content and the size
    of their pages is.  Of several such images, the one of the same path is taken.

    ``names``: of the two files.  Raises ResultsError when they have nothing in
    common, or one has nothing yet.
    """
    for name, sweep in zip(names, (before, after), strict=True):
        if not sweep.series:
            raise ResultsError(f"{name} has no counted sample yet; let its sweep go on")
    afterwards: dict[_Case, list[Series]] = {}
    for series in after.series:
        afterwards.setdefault(_case(series), []).append(series)
    pairs, missing = [], []
    for series in before.series:
        here, equal = Figures(series), afterwards.get(_case(series))
        if equal is None:
            missing.append(here)
        else:
            named = [s for s in equal if s.image.path == series.image.path]
            pairs.append(Pair(here, Figures((named or equal)[0])))
    if not pairs:
        raise ResultsError(
            f"{names[0]} and {names[1]} have no setting of the same image in common"
        )
    return Comparison(before, after, tuple(pairs), tuple(missing))


def _case(series: Series) -> _Case:
    digest = series.samples[0].result.image_digest
    return digest, series.image.page_size, series.setting
