# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the guest does while it is migrated, as far as it is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from migcomp.images.image import Image
from migcomp.plan.sample import Sample, sample_of
from migcomp.precopy.dirty_fit import fit, intervals_of_snapshots
from migcomp.precopy.dirty_model import DirtyModel, Ranks, hit
from migcomp.precopy.snapshots import changed_pages, readable

#: Changed pages that are looked at.
_CHANGED_MOST = 4096


@dataclass(frozen=True)
class Writes:
    """``before`` and ``after``: pages that it changed, where they are known."""

    model: DirtyModel
    description: str
    before: Sample | None = None
    after: Sample | None = None

    @cached_property
    def _ranks(self) -> Ranks:
        return Ranks(self.model.working_set, self.model.skew)

    @cached_property
    def _per_second(self) -> float:
        return self._ranks.writes_for(self.model.dirty_rate)

    def pages(self, seconds: float) -> float:
        """That are dirty when it has run so long."""
        return self._ranks.distinct(self._per_second * seconds)

    def again(self, seconds: float, earlier: float) -> float:
        """Share of these that it also wrote in the ``earlier`` seconds before."""
        now, then = self._per_second * seconds, self._per_second * earlier
        both = sum(hit(p, now) * hit(p, then) * n for n, p in self._ranks.groups)
        pages = self.pages(seconds)
        return both / pages if pages else 0.0


def writes_by_rate(pages_per_second: float, working_set: int) -> Writes:
    """Raises ImageError for a rate that no such working set allows."""
    model = DirtyModel(pages_per_second, working_set)
    return Writes(
        model,
        f"{pages_per_second:,.0f} pages/s dirty, as given, of {working_set:,} pages "
        "written alike",
    )


def writes_by_snapshots(
    stack: ExitStack,
    paths: Sequence[str],
    seconds: Sequence[float],
    sample: Sample,
    open_one: Callable[[str], Image],
) -> Writes | None:
    """``seconds`` from each to the next; ``sample`` is of the first.  Two snapshots do
    not tell the working set: it is taken to be what is not zero.  None if nothing
    changed.  ``stack`` closes what is kept.  Raises ImageError."""
    page_size = sample.memory.page_size

    intervals = [*intervals_of_snapshots(paths, seconds, open_one)]
    changed = [len(each.pages) for each in intervals]
    if not any(changed):
        return None
    if len(intervals) > 1:
        model = fit(intervals, sample.image_pages)
        how = "fitted to"
    else:
        most = max(round(sample.content_pages / sample.share), changed[0] + 1)
        ranks = Ranks(most, 0.0)
        writes = ranks.writes_for(changed[0]) / seconds[0]
        model = DirtyModel(min(ranks.distinct(writes), most * 0.999), most)
        how = "by"
    at = max(range(len(changed)), key=lambda number: changed[number])
    with readable(open_one, paths[at]) as old, readable(open_one, paths[at + 1]) as new:
        stride = -(-changed[at] // _CHANGED_MOST)
        kept = [*islice(changed_pages(old, new), 0, None, stride)]
    before, after = (
        sample_of(path, page_size, len(kept), content, len(kept))
        for path, content in (
            (paths[at], (each[1] for each in kept)),
            (paths[at + 1], (each[2] for each in kept)),
        )
    )
    for kept_pages in (before, after):
        stack.enter_context(kept_pages.memory)
    return Writes(
        model,
        f"{how} {len(paths)} snapshots: {model.dirty_rate:,.0f} pages/s dirty, working "
        f"set {model.working_set:,} pages, skew {model.skew:g}",
        before,
        after,
    )
