# SPDX-License-Identifier: LGPL-2.1-or-later
"""Is the adaptive engine as good as the best fixed choice, on any link?

``python -m benchmarks.adaptive IMAGE...`` simulates the migration of a guest over
links of 100 Mbit/s to 100 Gbit/s, by each of the codecs and levels that the adaptive
engine picks from, and by the adaptive engine, and compares total times.  CPU times
are measured once and are then the same for all, or come from ``--costs``: with a file
of costs the table is the same every time, on any machine that has the same codecs.

Exit code 1: on some link the adaptive engine took more than 5 % longer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from migcomp.cli.guest import GuestChoice
from migcomp.precopy.costs import Costs, load_costs, measured_costs
from migcomp.precopy.engines.adaptive import CANDIDATES
from migcomp.precopy.engines.choice import EngineChoice
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.results import SimulationResult
from migcomp.precopy.simulate import simulate

LINKS = (0.1, 0.3, 1, 3, 10, 25, 40, 100)  # Gbit/s
MOST = 1.05


def run(
    images: Sequence[str],
    choice: EngineChoice,
    gbit: float,
    costs: Costs,
    threads: int,
    interval: float,
) -> SimulationResult:
    with ExitStack() as stack:
        memory, guest = GuestChoice(images, interval).open(stack)
        parameters = Parameters(max_bandwidth=0, compress_threads=threads)
        return simulate(memory, guest, choice, Link(gbit * 1e9), parameters, costs)


def fixed_choices() -> list[EngineChoice]:
    return [
        EngineChoice("packets", codec, None if codec == "none" else level)
        for codec, level, *_ in CANDIDATES
    ]


def costs_for(images: Sequence[str], path: str | None, interval: float) -> Costs:
    if path is not None:
        return load_costs(path, 4096)
    costs = measured_costs(4096)
    for choice in fixed_choices():
        run(images, choice, 1, costs, 2, interval)
    return costs.fixed()


def seconds(result: SimulationResult) -> float:
    return result.rounds[-1].end_ns / 1e9 if result.converged else float("inf")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+")
    parser.add_argument("--costs")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--interval", type=float, default=1.0)
    arguments = parser.parse_args()
    costs = costs_for(arguments.images, arguments.costs, arguments.interval)
    choices = fixed_choices()
    names = [" ".join(map(str, (c.codec, c.level or ""))).strip() for c in choices]
    print("Gbit/s  " + "".join(f"{n:>10}" for n in names) + "  adaptive  of best")
    worst = 0.0
    for gbit in LINKS:
        times = [
            seconds(
                run(
                    arguments.images,
                    choice,
                    gbit,
                    costs,
                    arguments.threads,
                    arguments.interval,
                )
            )
            for choice in (*choices, EngineChoice("adaptive"))
        ]
        share = times[-1] / min(times[:-1])
        worst = max(worst, share)
        row = "".join(f"{t:10.3f}" for t in times)
        print(f"{gbit:6g}  {row}  {100 * share:6.1f} %", flush=True)
    print(f"worst: {100 * worst:.1f} % of the best fixed choice's time")
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
