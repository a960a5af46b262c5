# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long does it take to reckon with ten thousand guests?

``python -m benchmarks.fleet`` makes four fleets, one host or 100 hosts with guests that
are idle or write, and times their evacuation by each policy, with and without
compression, from costs that are measured before.  The figures are CPU seconds of this
process, which other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from migcomp.fleet.costs import FleetCosts, load_fleet_costs, measure_fleet
from migcomp.fleet.evacuate import evacuate
from migcomp.fleet.file import policy_of, read_fleet
from migcomp.fleet.fleet import POLICIES, Fleet

PAGE = 4096
KINDS = (
    ("idle", "4GiB"),
    ("heap", "16GiB"),
    ("writer", "2GiB"),
    ("heap", "8GiB"),
    ("idle", "1GiB"),
)
HOSTS = 100


def tables(hosts: int, guests: int, writing: bool) -> Iterator[str]:
    """A fleet's file: ``guests`` on ``hosts``, of ten kinds on each of them."""
    for host in range(hosts):
        yield f'[[host]]\nname = "from-{host}"\ncpus = 64\nevacuate = true'
        yield f'link = "{20 + host % 7}Gbit"'
    for host in range(HOSTS if hosts > 1 else 20):
        yield f'[[host]]\nname = "to-{host}"\ncpus = 64\nlink = "25Gbit"'
    if hosts > 1:
        names = ", ".join(f'"from-{host}"' for host in range(hosts))
        yield f'[[uplink]]\nname = "fabric"\nlink = "100Gbit"\nhosts = [{names}]'
    for host in range(hosts):
        for kind in range(10):
            profile, size = KINDS[kind // 2]
            yield f'[[guest]]\nname = "{host}-{kind}"\nhost = "from-{host}"'
            yield f'count = {guests // hosts // 10}\nprofile = "{profile}"'
            yield f'size = "{size}"\nvcpus = 1\ncpu = {0.01 * (kind // 2 + 1)}'
            # No two tables are alike, so that none is reckoned with another.
            yield f"downtime-limit = {300 + host}"
            if writing:
                yield f'dirty-rate = "{5 + 3 * (kind // 2) + kind % 2}MiB"'


def fleet(hosts: int, guests: int, writing: bool) -> Fleet:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.toml"
        path.write_text("\n".join(tables(hosts, guests, writing)))
        return read_fleet(str(path), PAGE)


def costs_for(path: str | None, example: Fleet) -> FleetCosts:
    if path is not None:
        return load_fleet_costs(path, PAGE)
    return measure_fleet(
        (guests.memory for guests in example.guests),
        (way.work for way in example.ways),
        PAGE,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guests", type=int, default=10_000)
    parser.add_argument("--costs", help="of migcomp simulate --fleet --save-costs")
    arguments = parser.parse_args()
    costs = costs_for(arguments.costs, fleet(1, arguments.guests, writing=False))
    print("hosts  guests  " + "".join(f"{name:>16}" for name in POLICIES) + "  (CPU s)")
    for hosts in (1, HOSTS):
        for writing in (False, True):
            made = fleet(hosts, arguments.guests, writing)
            row = f"{hosts:5}  {'write ' if writing else 'idle  '}  "
            for name in POLICIES:
                began = time.process_time()
                evacuate(replace(made, policy=policy_of(name, None)), costs)
                row += f"{time.process_time() - began:16.1f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
