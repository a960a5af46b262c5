# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that are read whole, because what they tell is small."""

from __future__ import annotations

from pathlib import Path

from migcomp.errors import MigcompError
from migcomp.units import format_size


def read_small(path: str, most: int, failure: type[MigcompError]) -> bytes:
    """The content, ``most`` bytes at the most.

    Raises ``failure`` for a longer one, of which no more is read, and for one that
    cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise failure(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise failure(f"{path} is too long; {format_size(most)} are enough")
    return content
