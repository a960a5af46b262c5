# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading TOML that a user wrote."""

from __future__ import annotations

import tomllib
from typing import Any

from migcomp.errors import SetupError
from migcomp.small_file import read_small


def read_toml(path: str, most: int) -> dict[str, Any]:
    """Of a file of ``most`` bytes at the most.  Raises SetupError."""
    content = read_small(path, most, SetupError)
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is no text"
    except ValueError as error:
        reason = str(error)
    except RecursionError:
        reason = "it is nested deeply"
    raise SetupError(f"{path}: is no TOML: {reason}")
