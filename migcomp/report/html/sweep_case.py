# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a page tells of a sweep: one image's settings, and which are worth having."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import TypeVar

from migcomp.bench.pareto import LINKS, Best, Point, best_links, front
from migcomp.bench.sweep_figures import Figures
from migcomp.bench.sweep_results import Setting, Sweep, SweepSample
from migcomp.errors import ResultsError
from migcomp.report.links import about, format_links
from migcomp.report.parts import short_name
from migcomp.units import format_link

_UNSTEADY = 0.1  # relative MAD
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Case:
    """``figures``: of each setting.  ``points`` are of pages that are not zero, what
    compression and a link have to do with; ``front`` and ``best`` count through
    both."""

    title: str
    figures: tuple[Figures, ...]
    points: tuple[Point, ...]
    front: tuple[int, ...]
    best: tuple[Best, ...]

    @property
    def by_family(self) -> dict[Family, list[Figures]]:
        """Those that differ by their threads only, the fewest first."""
        families: dict[Family, list[Figures]] = {}
        for each in sorted(self.figures, key=lambda f: f.setting.threads):
            families.setdefault(family(each.setting), []).append(each)
        return families

    @property
    def widest(self) -> list[Figures]:
        """Of each family the setting with the most threads, as in the plan."""
        last = {id(members[-1]) for members in self.by_family.values()}
        return [each for each in self.figures if id(each) in last]

    def drawn(self, families: Sequence[Family], most: int) -> list[Family]:
        """At most so many, in their order: those with a setting worth having, as far
        as there is room, and every so many of the others, so that all kinds are
        there."""
        best = {family(self.figures[number].setting) for number in self.front}
        chosen = set(_every([f for f in families if f in best], most))
        others = [each for each in families if each not in best]
        chosen.update(_every(others, most - len(chosen)))
        return [each for each in families if each in chosen]

    def rows(self, most: int) -> list[Figures]:
        """The settings of ``widest`` that a chart with a row for each draws."""
        drawn = self.drawn([family(each.setting) for each in self.widest], most)
        return [each for each in self.widest if family(each.setting) in drawn]

    def warm_ups(self) -> Iterator[SweepSample]:
        for each in self.figures:
            if each.series.warm_up is not None:
                yield each.series.warm_up


@dataclass(frozen=True)
class Family:
    codec: str
    level: int
    grouping: str
    dedup: bool

    @property
    def name(self) -> str:
        dedup = " dedup" if self.dedup else ""
        return f"{self.codec}-{self.level} {self.grouping}{dedup}"


def family(setting: Setting) -> Family:
    return Family(setting.codec, setting.level, setting.grouping, setting.dedup)


def _every(items: Sequence[_Item], most: int) -> Sequence[_Item]:
    """At most ``most`` of them, evenly spread."""
    return items[:: -(-len(items) // most) or 1] if most else ()


def drawn_of(drawn: Sized, there: Sized, what: str) -> str:
    """A sentence for where a chart leaves some out, and its figures none."""
    if len(drawn) == len(there):
        return ""
    return f" Drawn are {len(drawn)} of {len(there)} {what}; the figures have all."


def places(drawn: Iterable[object], there: Iterable[object]) -> tuple[int, ...]:
    """Where in ``there`` those stand that are drawn."""
    chosen = set(map(id, drawn))
    return tuple(n for n, each in enumerate(there) if id(each) in chosen)


def titles(sweeps: Mapping[str, Sweep]) -> dict[tuple[str, str], str]:
    """What to call each image of each file: as shortly as tells it from the others."""
    found = {
        (path, image.path): short_name(image.path, "stdin")
        for path, sweep in sweeps.items()
        for image in sweep.plan.images
    }
    names = Counter(found.values())
    images = Counter(image for _, image in found)
    for (path, image), name in found.items():
        if names[name] > 1:
            found[path, image] = image if images[image] == 1 else f"{image} in {path}"
    return found


def cases(path: str, sweep: Sweep, names: Mapping[tuple[str, str], str]) -> list[Case]:
    """One for each image that has samples, of which there must be one.  Raises
    ResultsError."""
    found = []
    for image in sweep.plan.images:
        series = sweep.series_of(image)
        if not series:
            continue
        figures = tuple(map(Figures, series))
        points = tuple(each.point for each in figures)
        best = tuple(front(points)), tuple(best_links(points))
        found.append(Case(names[path, image.path], figures, points, *best))
    if not found:
        raise ResultsError(
            f"{path} has no counted sample yet; let migcomp bench sweep go on"
        )
    return found


def answer(case: Case) -> str:
    """Which settings are worth having, and what to take where."""
    if not any(each.result.nonzero_bytes for each in case.figures):
        return "All pages are zero: there is nothing to compress."
    worth = len(case.front)
    count = len(case.figures)
    text = (
        f"{worth} of {count} settings are worth having: each of the others is beaten "
        "by one of these, which makes as little and, but for noise, is as fast."
        if worth < count
        else f"All {count} settings are worth having: none beats another in both size "
        "and speed."
    )
    if not case.best:
        return f"{text}  None shrinks the memory: send it as it is."
    end = case.best[-1].fastest
    text += (
        f"  Compression pays on links up to {format_link(end)}; beyond, the pages as "
        "they are would be there sooner."
    )
    if narrow := about(case.best):
        text += f"  {narrow}"
    noise = max(case.figures[number].noise for number in case.front)
    if noise > _UNSTEADY:
        text += (
            f"  But rounds differ by up to {100 * noise:.0f} %: neighbours may change "
            "places in a quieter measurement."
        )
    return text


@dataclass(frozen=True)
class LinkRow:
    """The best on a link of that name; None: the pages as they are."""

    link: str
    best: Figures | None
    guest_bytes_per_second: float
    plain_bytes_per_second: float


def link_rows(case: Case) -> list[LinkRow]:
    rows = []
    for name, link in LINKS:
        number = next(
            (b.index for b in case.best if b.slowest <= link < b.fastest), None
        )
        if number is None:
            rows.append(LinkRow(name, None, link, link))
        else:
            speed = case.points[number].on_link(link)
            rows.append(LinkRow(name, case.figures[number], speed, link))
    return rows


def best_range(case: Case, number: int) -> str:
    """The links on which the setting of that number is the best."""
    for best in case.best:
        if best.index == number:
            return format_links(best, format_link)
    return "none"
