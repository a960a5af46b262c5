# SPDX-License-Identifier: LGPL-2.1-or-later
"""What migcomp is to reach on a real guest with 2 CPUs, and whether it does.

Speeds are compared by the inverse ratio of times: "0.85 of the limit" means
that the limit takes at least 0.85 of our time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.samples import NOISE, Sample, ratios, values_of
from migcomp.bench.statistics import Summary, summarize

MIB = 2**20


@dataclass(frozen=True)
class Target:
    """``numerator`` over ``denominator`` (of one quantity) against ``bound``.

    Without a denominator the numerator's quantity itself is held against it.
    """

    name: str
    numerator: str
    denominator: str
    bound: float
    at_least: bool
    quantity: str = "wall_seconds"

    @property
    def wanted(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


TARGETS = (
    Target(
        "zstd-1 page by page, whole process: speed of the limit",
        "limit-zstd-page",
        "run-zstd-page",
        0.85,
        at_least=True,
    ),
    Target(
        "zstd-1 page by page, engine alone: speed of the limit",
        "limit-zstd-page",
        "engine-zstd-page",
        0.95,
        at_least=True,
    ),
    Target(
        "zstd-1 in packets, --dedup: time of zstd -1 -T2",
        "run-zstd-packet-dedup",
        "zstd-T2",
        0.70,
        at_least=False,
    ),
    Target(
        "zstd-1 in packets, --dedup: bytes of zstd -1 -T2",
        "run-zstd-packet-dedup",
        "zstd-T2",
        0.90,
        at_least=False,
        quantity="bytes_out",
    ),
    Target(
        "zlib-1 page by page through libz: time of QEMU's compress",
        "run-zlib-page",
        "qemu-compress",
        0.50,
        at_least=False,
    ),
    Target(
        "zlib-1 page by page through libdeflate: time of QEMU's compress",
        "run-libdeflate-page",
        "qemu-compress",
        0.25,
        at_least=False,
    ),
    Target(
        "2 workers: speed of 1 worker",
        "engine-zstd-page-1t",
        "engine-zstd-page",
        1.85,
        at_least=True,
    ),
    Target(
        "8 workers on 2 CPUs: time of 2 workers",
        "engine-zstd-page-8t",
        "engine-zstd-page",
        1.05,
        at_least=False,
    ),
    Target(
        "restore, page by page: speed of zstd -d",
        "zstd-d",
        "restore-page",
        1.0,
        at_least=True,
    ),
    Target(
        "restore, packets: speed of zstd -d",
        "zstd-d",
        "restore-packet",
        1.5,
        at_least=True,
    ),
    Target(
        "anonymous memory beyond the interpreter, 8 threads, MiB",
        "memory",
        "",
        64,
        at_least=False,
        quantity="anonymous_mib",
    ),
    Target(
        "empty request, one busy worker, ns",
        "queue",
        "",
        200,
        at_least=False,
        quantity="pipelined-4",
    ),
    Target(
        "empty task of ThreadPoolExecutor over an empty request",
        "executor",
        "queue",
        50,
        at_least=True,
        quantity="pipelined-4",
    ),
)


@dataclass(frozen=True)
class Verdict:
    """``value`` is None when one of the two sides was not measured."""

    target: Target
    value: Summary | None

    @property
    def met(self) -> bool:
        return self.value is not None and self.margin >= 0

    @property
    def margin(self) -> float:
        """How far on the right side of the bound, relative to it."""
        if self.value is None:
            return 0.0
        beyond = self.value.median / self.target.bound - 1
        return beyond if self.target.at_least else -beyond

    @property
    def text(self) -> str:
        if self.value is None:
            return "not measured"
        exact = self.target.quantity == "bytes_out"
        noise = "; within noise" if abs(self.margin) < NOISE and not exact else ""
        if self.met:
            return f"met{noise}"
        return f"missed by {-100 * self.margin:.1f} %{noise}"


def evaluate(
    targets: Sequence[Target], measured: Mapping[str, Sequence[Sample]]
) -> list[Verdict]:
    """``measured`` has each contender's samples, one for each round."""
    verdicts = []
    for target in targets:
        values = values_of(measured.get(target.numerator, ()), target.quantity)
        if target.denominator:
            below = values_of(measured.get(target.denominator, ()), target.quantity)
            values = ratios(values, below) if values and below else []
        verdicts.append(Verdict(target, summarize(values) if values else None))
    return verdicts
