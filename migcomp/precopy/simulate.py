# SPDX-License-Identifier: LGPL-2.1-or-later
"""A simulated migration from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

from migcomp.measure import machine
from migcomp.precopy.clock import Clock
from migcomp.precopy.costs import Costs
from migcomp.precopy.dirty import DirtySource
from migcomp.precopy.engines.choice import EngineChoice, open_engine
from migcomp.precopy.link import Link
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.migration import Migration, Watch, unwatched
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.results import SimulationResult
from migcomp.precopy.window import Window


def simulate(
    source: GuestMemory,
    guest: DirtySource,
    choice: EngineChoice,
    link: Link,
    parameters: Parameters,
    costs: Costs,
    *,
    images: Sequence[str] = (),
    watch: Watch = unwatched,
) -> SimulationResult:
    """Migrates ``source``, on which ``guest`` runs, to a memory that is then thrown
    away.  ``images`` are named in the result.

    Raises CodecUnavailable, WorkerError, ImageError (costs that are not there) and
    SimulationFault.
    """
    began = time.perf_counter()
    parameters = choice.told(parameters)
    clock, window = Clock(link), Window(parameters)
    with (
        GuestMemory(source.path, source.blocks, source.page_size) as destination,
        # Before the memory, parts of which it may hold.
        closing(
            open_engine(choice, parameters, clock, window, costs, source)
        ) as engine,
    ):
        migration = Migration(
            source, destination, guest, engine, clock, window, parameters, watch
        )
        outcome = migration.run()
    return SimulationResult(
        images=tuple(images) or (source.path,),
        blocks=source.blocks,
        page_size=source.page_size,
        guest=guest.description,
        engine=engine.name,
        engine_description=engine.description,
        what_if=choice.is_what_if(parameters),
        link=link,
        parameters=parameters,
        statistics=outcome.statistics,
        reason=outcome.reason,
        rounds=outcome.rounds,
        wire_bytes=clock.sent,
        cpu_seconds=clock.cpu_ns / 1e9,
        real_seconds=time.perf_counter() - began,
        costs=costs.source,
        machine=machine(),
    )
