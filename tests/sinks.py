# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where streams and images go that is no file."""

from __future__ import annotations

import errno
import os
from io import RawIOBase
from typing import cast


class Sink(RawIOBase):
    """Takes ``step`` bytes at a time, and fails after ``room``."""

    def __init__(self, step: int, room: int = 1 << 62) -> None:
        self.data = bytearray()
        self.step, self.room = step, room

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        if len(self.data) >= self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = bytes(cast(bytes, data))[: self.step]
        self.data += part
        return len(part)
