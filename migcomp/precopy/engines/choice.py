# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which engine sends the pages."""

from __future__ import annotations

from dataclasses import dataclass

from migcomp.errors import MigcompError
from migcomp.precopy.clock import Clock
from migcomp.precopy.costs import Costs
from migcomp.precopy.engine import Engine
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters

ENGINES = ("none",)


@dataclass(frozen=True)
class EngineChoice:
    """``name`` is one of ENGINES."""

    name: str = "none"


def open_engine(
    choice: EngineChoice,
    parameters: Parameters,
    clock: Clock,
    costs: Costs,
    memory: GuestMemory,
) -> Engine:
    """Raises CodecUnavailable, and MigcompError for what cannot be."""
    if choice.name == "none":
        from migcomp.precopy.engines.none import PlainEngine

        return PlainEngine(clock, costs, memory)
    raise MigcompError(
        f"there is no engine {choice.name!r}; there are {', '.join(ENGINES)}"
    )
