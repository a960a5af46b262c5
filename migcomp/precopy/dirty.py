# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a source of dirty pages gives: the guest's writes, as its time goes by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from migcomp.precopy.memory import GuestMemory


class DirtySource(Protocol):
    """A guest that runs on ``memory``, the source's."""

    @property
    def description(self) -> str:
        """For reports, as in ``3 snapshots, 0.5 s apart``."""

    def run(self, memory: GuestMemory, seconds: float) -> Sequence[int]:
        """Lets the guest run for ``seconds`` of its own time (what throttling takes
        away is not among them), and writes to ``memory``.

        The numbers of the pages written, ascending, each once; also those whose
        content is what it was.
        """


class IdleGuest:
    """Writes nothing."""

    description = "an idle guest"

    def run(self, _memory: GuestMemory, _seconds: float) -> Sequence[int]:
        return ()
