# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done for a migration that does not end, and when it is given up."""

from __future__ import annotations

from collections.abc import Sequence

from migcomp.precopy.clock import MS
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.results import Round

#: Rounds in a row that bring nothing.
_HOPELESS = 30


class Convergence:
    """``guest_share``: of the time that passes, what the guest may run."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._least: int | None = None
        self._useless = 0
        self.guest_share = 1.0
        self.throttle_percentage = 0

    def sync(self, period: tuple[int, int] | None, page_size: int, dirty: int) -> None:
        """At each sync; ``period`` is Rates', ``dirty`` pages are so now."""
        if self._least is None or dirty < self._least:
            self._least, self._useless = dirty, 0
        else:
            self._useless += 1

    def reason(self, now: int, rounds: Sequence[Round]) -> str:
        """Why the migration is to be cancelled; empty: it is not."""
        parameters = self._parameters
        if parameters.max_time and now >= parameters.max_time * MS:
            return f"it was not done in max-time, {parameters.max_time} ms"
        if parameters.max_rounds and rounds[-1].iteration > parameters.max_rounds:
            return f"it was not done in max-rounds, {parameters.max_rounds}"
        if self._useless >= _HOPELESS:
            return (
                f"it does not converge: in {_HOPELESS} rounds in a row the guest "
                "wrote as fast as its pages were sent"
            )
        return ""
