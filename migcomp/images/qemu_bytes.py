# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bytes of a QEMU migration stream, read where its parser stands."""

from __future__ import annotations

from migcomp.errors import ImageError
from migcomp.images.file import ImageFile

_CHUNK = 1 << 16


class CutOff(Exception):
    """The stream ends within what was asked for."""


class StreamBytes:
    """The bytes of a stream, read where they are asked for."""

    def __init__(self, file: ImageFile) -> None:
        self._file = file
        self.path = file.path
        self.size = file.size or 0
        self._start, self._chunk = 0, b""

    def at(self, offset: int, size: int) -> bytes:
        """Raises CutOff."""
        if offset + size > self.size:
            raise CutOff
        if not self._start <= offset <= self._start + len(self._chunk) - size:
            self._start = offset
            self._chunk = self._file.read_at(offset, max(size, _CHUNK))
        start = offset - self._start
        data = self._chunk[start : start + size]
        if len(data) < size:
            raise CutOff
        return data

    def number(self, offset: int, size: int) -> int:
        return int.from_bytes(self.at(offset, size), "big")

    def find(self, pattern: bytes, offset: int) -> int:
        """Where ``pattern`` comes next.  Raises CutOff."""
        while True:
            self.at(offset, len(pattern))
            found = self._chunk.find(pattern, offset - self._start)
            if found >= 0:
                return self._start + found
            offset = self._start + len(self._chunk) - len(pattern) + 1

    def watch(self, offset: int) -> None:
        """Tells who waits for the image that all before ``offset`` is read."""
        self._file.watch(offset)

    def error(self, what: str, offset: int) -> ImageError:
        return ImageError(f"{self.path}: {what}, at byte {offset}")
