# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names from outside, made safe to print: they may hold escapes, or no text at all."""


def printable(text: str) -> str:
    """``text`` in one line, with all that would not print spelled out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
