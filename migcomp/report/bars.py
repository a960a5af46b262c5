# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bars of block characters."""

from __future__ import annotations

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(share: float, goal: float, width: int, ascii_only: bool) -> str:
    """``share`` (0 to 1) of ``width`` cells filled, and dots on to ``goal``."""
    eighths = round(share * width * 8)
    full, rest = divmod(eighths, 8)
    if ascii_only:
        drawn = "#" * (full + (rest >= 4))
    else:
        drawn = "█" * full + (_EIGHTHS[rest] if rest else "")
    dots = round(goal * width) - len(drawn)
    return drawn + ("." if ascii_only else "·") * dots
