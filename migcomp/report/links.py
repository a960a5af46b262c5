# SPDX-License-Identifier: LGPL-2.1-or-later
"""On which links a setting is the best, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from migcomp.bench.pareto import Best


def format_links(best: Best, shown: Callable[[float], str]) -> str:
    """As in ``up to 754 Mbit/s``, ``1.61 to 3.20 Gbit/s`` and ``about 13.1 Mbit/s``.

    ``shown`` gives three digits at least, in which the ends of what is not narrow
    differ.
    """
    fastest = shown(best.fastest)
    if not best.slowest:
        return f"up to {fastest}"
    slowest = shown(best.slowest)
    if best.is_narrow:
        return f"about {slowest}"
    unit = fastest[fastest.index(" ") :]
    return f"{slowest.removesuffix(unit)} to {fastest}"


def about(found: Iterable[Best]) -> str:
    """What ``about`` means, if one of them is told so; else empty."""
    if not any(best.is_narrow for best in found):
        return ""
    return "What is best on about one link only beats its neighbours by less than 5 %."
