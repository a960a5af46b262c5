# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a source of dirty pages gives: the guest's writes, as its time goes by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from migcomp.precopy.memory import GuestMemory


class DirtySource(Protocol):
    """A guest that runs on ``memory``, the source's.

    One that goes by time writes as it runs.  One that goes by rounds, a recording,
    writes at the end of a round, and knows which one is the last: until then the guest
    is not stopped.
    """

    @property
    def description(self) -> str:
        """For reports, as in ``3 snapshots, 0.5 s apart``."""

    def run(self, memory: GuestMemory, seconds: float) -> Sequence[int]:
        """Lets the guest run for ``seconds`` of its own time (what throttling takes
        away is not among them), and writes to ``memory``.

        The numbers of the pages written, ascending, each once; also those whose
        content is what it was.
        """

    def next_round(self, _memory: GuestMemory) -> Sequence[int]:
        """As ``run``, but called just before each sync of the dirty bitmap, the first
        excepted.  A source that goes by time has nothing to add."""
        return ()

    def too_early(self, _is_pending: Callable[[int], bool]) -> bool:
        """That ``next_round`` is called: it would write a page that is still to be
        sent, and was sent before that."""
        return False

    @property
    def least_threshold(self) -> int:
        """Pages: a recorded guest was stopped with fewer, so that for as many as that
        there was room in its downtime."""
        return 0

    @property
    def last_round(self) -> bool:
        """``next_round`` has nothing more to write, and the guest may be stopped."""
        return True


class IdleGuest(DirtySource):
    """Writes nothing."""

    @property
    def description(self) -> str:
        return "an idle guest"

    def run(self, _memory: GuestMemory, _seconds: float) -> Sequence[int]:
        return ()
