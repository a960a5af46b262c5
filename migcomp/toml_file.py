# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading TOML that a user wrote."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from migcomp.errors import SetupError
from migcomp.units import format_size


def read_toml(path: str, most: int) -> dict[str, Any]:
    """Of a file of ``most`` bytes at the most.  Raises SetupError."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise SetupError(f"{path}: is too long; {format_size(most)} are enough")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is no text"
    except ValueError as error:
        reason = str(error)
    except RecursionError:
        reason = "it is nested deeply"
    raise SetupError(f"{path}: is no TOML: {reason}")
