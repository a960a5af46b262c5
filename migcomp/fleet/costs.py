# SPDX-License-Identifier: LGPL-2.1-or-later
"""What guests' pages come to, measured once for each image, or stored.

A file of them is a JSON object, times nanoseconds::

    {
      "schema": "migcomp.fleet-costs/1",
      "page-size": 4096,
      "zero-ns": 90, "send-ns": 700, "submit-ns": 3000, "handover-ns": 48000,
      "guests": {
        "profile heap": {
          "pages": 16384,
          "memory": {
            "none": {"pages": 16384, "zero": 7913, "bytes": 34697216, "ns": 0},
            "zstd 1 stream": {"pages": 16384, ...}
          },
          "changed": {},
          "writes": null
        }
      }
    }

``memory``: by codec, level and grouping, what those of the sample's pages that are
not zero came to, without any framing, and in how much CPU time.  Of a guest that is
known by snapshots, ``changed`` is the same of pages that it wrote, and ``writes`` the
model fitted to it: ``dirty-rate`` in pages a second, ``working-set`` in pages,
``skew``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from migcomp.errors import ImageError
from migcomp.fleet.fleet import MemorySource
from migcomp.fleet.results import MEASURED
from migcomp.images.decode import readable_again
from migcomp.images.open import open_image
from migcomp.images.sample import SampleImage
from migcomp.measure import machine
from migcomp.plan.guest import writes_by_snapshots
from migcomp.plan.measure import Measurement, Part, measure
from migcomp.plan.sample import CLUSTER_PAGES, Sample, sample_of, take_sample
from migcomp.precopy.costs import Costs, Work, measured_costs, read_costs
from migcomp.precopy.dirty_model import DirtyModel
from migcomp.precopy.snapshots import seconds_between

SCHEMA = "migcomp.fleet-costs/1"
SAMPLE_BYTES = 64 << 20
_FILE_MAX = 64 << 20
_NS = ("zero", "send", "submit", "handover")
_NS_MAX = 10**9
_COUNT_MAX = 1 << 52  # exact as a float

#: By work, None being none.
Measured = Mapping[Work | None, Measurement]


@dataclass(frozen=True)
class GuestCosts:
    """``pages`` of the image; ``changed`` is empty where ``memory`` stands for what
    the guest writes, too."""

    pages: int
    memory: Measured
    changed: Measured
    model: DirtyModel | None


@dataclass(frozen=True)
class FleetCosts:
    """``guests`` by the names of their MemorySource; ``source`` is for messages."""

    base: Costs
    guests: Mapping[str, GuestCosts]
    source: str

    def of(self, memory: MemorySource, works: Iterable[Work | None]) -> GuestCosts:
        """Raises ImageError where the works are not known."""
        found = self.guests.get(memory.name)
        for work in works:
            wanted = [found.memory] if found else []
            if found and found.model:
                wanted.append(found.changed)
            if not wanted or any(work not in each for each in wanted):
                raise ImageError(
                    f"{self.source}: has no cost of {work or 'pages as they are'} for "
                    f"{memory.name}; measure it with --save-costs"
                )
        assert found is not None
        return found

    def to_text(self) -> str:
        """A file of them."""
        base: dict[str, object] = {
            "schema": SCHEMA,
            "cpu": machine().cpu,
            "page-size": self.base.page_size,
        }
        base |= {f"{name}-ns": getattr(self.base, f"{name}_ns") for name in _NS}
        base["guests"] = {name: _to_json(each) for name, each in self.guests.items()}
        return json.dumps(base, indent=2) + "\n"


# --- Measured ------------------------------------------------------------------------


def measure_fleet(
    sources: Iterable[MemorySource],
    works: Iterable[Work | None],
    page_size: int,
    watch: Callable[[str], None] = lambda doing: None,
) -> FleetCosts:
    """Of each source once.  ``watch`` is told what is being done.

    Raises ImageError, CodecUnavailable and WorkerError.
    """
    base, wanted = measured_costs(page_size), [*dict.fromkeys(works)]
    guests = {
        source.name: _measure(source, wanted, base, watch)
        for source in dict.fromkeys(sources)
    }
    return FleetCosts(base, guests, MEASURED)


def _measure(
    source: MemorySource,
    works: Iterable[Work | None],
    base: Costs,
    watch: Callable[[str], None],
) -> GuestCosts:
    with ExitStack() as stack:
        watch(f"{source.name}: reading")
        sample, model, after = _sampled(stack, source, base.page_size), None, None
        if len(source.images) > 1:
            writes = writes_by_snapshots(
                stack,
                source.images,
                seconds_between(source.images, source.interval),
                sample,
                partial(open_image, page_size=base.page_size, pad=True),
            )
            if writes:
                model, after = writes.model, writes.after

        def tried(pages: Sample) -> Measured:
            return measure(
                pages, works, base, lambda doing: watch(f"{source.name}: {doing}")
            )

        return GuestCosts(
            sample.image_pages, tried(sample), tried(after) if after else {}, model
        )


def _sampled(stack: ExitStack, source: MemorySource, page_size: int) -> Sample:
    """``stack`` closes it."""
    if source.profile:
        sample = _of_profile(source.profile, page_size)
    else:
        with ExitStack() as opened:
            image = opened.enter_context(
                # A page that is cut off is told by what needs whole ones.
                open_image(source.images[0], page_size=page_size, pad=True)
            )
            if image.page_size != page_size:
                raise ImageError(
                    f"{image.path}: has pages of {image.page_size} bytes, and "
                    f"--page-size is {page_size}"
                )
            again = readable_again(image)
            if again is not image:
                opened.enter_context(again)
            sample = take_sample(again, SAMPLE_BYTES // page_size, 0)
    stack.enter_context(sample.memory)
    return sample


def _of_profile(profile: str, page_size: int) -> Sample:
    pages, step = SAMPLE_BYTES // page_size, CLUSTER_PAGES * page_size

    def clusters() -> Iterator[bytes]:
        room = bytearray(SAMPLE_BYTES)
        image = SampleImage(profile, SAMPLE_BYTES, page_size=page_size)
        for offset, data in image.extents():
            room[offset : offset + len(data)] = data
        for start in range(0, SAMPLE_BYTES, step):
            yield bytes(room[start : start + step])

    return sample_of(f"profile {profile}", page_size, pages, clusters(), pages)


# --- Stored --------------------------------------------------------------------------


def load_fleet_costs(path: str, page_size: int) -> FleetCosts:
    """Raises ImageError for what is no file of such costs."""
    return read_costs(
        path,
        page_size,
        SCHEMA,
        lambda data: _from_json(data, path, page_size),
        most=_FILE_MAX,
        made_with="migcomp simulate --fleet --save-costs",
    )


def _to_json(costs: GuestCosts) -> dict[str, object]:
    def measured(found: Measured) -> dict[str, object]:
        return {_named(work): _summed(each) for work, each in found.items()}

    model = costs.model
    return {
        "pages": costs.pages,
        "memory": measured(costs.memory),
        "changed": measured(costs.changed),
        "writes": model
        and {
            "dirty-rate": model.dirty_rate,
            "working-set": model.working_set,
            "skew": model.skew,
        },
    }


def _summed(measurement: Measurement) -> dict[str, int]:
    parts = measurement.parts
    return {
        "pages": sum(part.pages for part in parts),
        "zero": sum(part.zero for part in parts),
        "bytes": sum(part.size for part in parts),
        "ns": sum(part.ns for part in parts),
    }


def _named(work: Work | None) -> str:
    return f"{work.codec} {work.level} {work.grouping}" if work else "none"


def _from_json(data: Any, path: str, page_size: int) -> FleetCosts:
    zero, send, submit, handover = (
        _whole(data, f"{name}-ns", 0, _NS_MAX) for name in _NS
    )
    base = Costs(page_size, zero, send, 0, submit, handover, path)
    guests = {name: _guest(each) for name, each in data["guests"].items()}
    return FleetCosts(base, guests, path)


def _guest(data: Any) -> GuestCosts:
    pages, writes = _whole(data, "pages", 1), data["writes"]

    def measured(found: Any) -> dict[Work | None, Measurement]:
        return {_work(name): _measurement(each, pages) for name, each in found.items()}

    model = None
    if writes is not None:
        model = _model(writes)
    memory = measured(data["memory"])
    sampled = max(
        (part.pages for each in memory.values() for part in each.parts), default=0
    )
    if pages < sampled:
        raise ValueError(f"pages is {pages}, and its sample has {sampled}")
    return GuestCosts(pages, memory, measured(data["changed"]), model)


def _model(data: Any) -> DirtyModel:
    rate, skew = data["dirty-rate"], data["skew"]
    for name, value, most in (("dirty-rate", rate, _COUNT_MAX), ("skew", skew, 10)):
        if type(value) not in (int, float) or not 0 <= value <= most:
            raise ValueError(f"{name} is {value!r}, and not a number up to {most}")
    try:
        return DirtyModel(rate, _whole(data, "working-set", 1), skew)
    except ImageError as error:
        raise ValueError(str(error)) from error


def _work(name: str) -> Work | None:
    if name == "none":
        return None
    codec, level, grouping = name.split(" ")
    return Work(codec, int(level), grouping)


def _measurement(data: Any, image_pages: int) -> Measurement:
    pages = _whole(data, "pages", 1)
    zero = _whole(data, "zero", 0, pages)
    part = Part(pages, zero, _whole(data, "bytes", 0), _whole(data, "ns", 0))
    if pages != zero and not part.size:
        raise ValueError("bytes is 0, and there are pages that are not zero")
    return Measurement((part,), min(pages / image_pages, 1.0))


def _whole(data: Any, name: str, least: int, most: int = _COUNT_MAX) -> int:
    value = data[name]
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}, and not a whole number up to {most}")
    return value
