# SPDX-License-Identifier: LGPL-2.1-or-later
"""Takes fields from the front of bytes that are not believed."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from migcomp.errors import StreamError

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Cursor:
    """Raises StreamError for what is not there."""

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data)

    def take(self, size: int) -> memoryview:
        if size > len(self._data):
            raise StreamError("a length in it points beyond its end")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size))

    def text(self, size: int) -> str:
        try:
            return str(self.take(size), "utf-8")
        except UnicodeDecodeError:
            raise StreamError("a name in it is not UTF-8") from None

    def end(self) -> None:
        if len(self._data):
            raise StreamError("there is data behind its last field")
