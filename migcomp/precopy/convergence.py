# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done for a migration that does not end, and when it is given up."""

from __future__ import annotations

from collections.abc import Sequence

from migcomp.precopy.clock import MS
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.results import Round
from migcomp.precopy.throttle import AutoConverge, DirtyLimit, throttle_for

#: Rounds in a row that bring nothing: none leaves less than so much of the fewest
#: pages that any before has left dirty.
_HOPELESS = 30
_BETTER = 0.99


class Convergence:
    """Throttles the guest as the parameters say, and knows when it is hopeless."""

    def __init__(self, parameters: Parameters, page_size: int) -> None:
        self._parameters = parameters
        self._page_size = page_size
        self._throttle = throttle_for(parameters, page_size)
        self._least: int | None = None
        self._share = 1.0  # the least that it was left with so far
        self._useless = 0

    @property
    def guest_share(self) -> float:
        """Of the time that passes, what the guest may run."""
        return self._throttle.guest_share

    @property
    def throttle_percentage(self) -> int | None:
        """QMP's cpu-throttle-percentage; None unless the guest is throttled so."""
        throttle = self._throttle
        if isinstance(throttle, AutoConverge) and throttle.percentage:
            return throttle.percentage
        return None

    @property
    def dirty_limit(self) -> DirtyLimit | None:
        return self._throttle if isinstance(self._throttle, DirtyLimit) else None

    def ran(self, seconds: float, pages: Sequence[int]) -> None:
        """``seconds`` have passed, in which the guest wrote to ``pages``."""
        self._throttle.ran(seconds, pages)

    @property
    def patience(self) -> int:
        """Rounds in vain after which it is hopeless."""
        return _HOPELESS - self._useless

    def in_vain(self, rounds: int) -> None:
        """So many have been, instead of as many times ``sync``."""
        self._useless += rounds

    def sync(self, period: tuple[int, int] | None, dirty: int) -> None:
        """At each sync; ``period`` is Rates', ``dirty`` pages are so now."""
        if period is not None:
            fresh, transferred = period
            self._throttle.sync(fresh * self._page_size, transferred)
        better = self._least is None or dirty < self._least * _BETTER
        if better or self.guest_share < self._share:
            self._useless = 0
        else:
            self._useless += 1
        if better:
            self._least = dirty
        self._share = min(self.guest_share, self._share)

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
