# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table that tells _core.PageMap how each page of an image is stored."""

from __future__ import annotations

import mmap
import sys
from array import array
from collections.abc import Sequence

from migcomp.errors import ImageError

_WORDS = 2  # of 8 bytes in an entry
#: Where the second word holds the stored size and kind, by byte order.
_SHIFT = 0 if sys.byteorder == "little" else 32


class EntryTable:
    """Entries that are not put stand for zero pages, and take no memory."""

    def __init__(self, path: str, pages: int) -> None:
        """``path`` is named in the ImageError for more pages than fit memory."""
        try:
            self.memory = mmap.mmap(-1, pages * _WORDS * 8)
        except (OSError, ValueError, OverflowError) as error:
            raise ImageError(
                f"{path} claims {pages} pages, whose table does not fit into memory"
            ) from error
        self._words = memoryview(self.memory).cast("Q")

    def put(self, page: int, places: Sequence[int], stored: Sequence[int]) -> None:
        """Pages from ``page`` on; ``stored``: bytes stored << 8 | kind."""
        words = array("Q", bytes(len(places) * _WORDS * 8))
        words[0::2] = array("Q", places)
        words[1::2] = array("Q", [number << _SHIFT for number in stored])
        self._words[page * _WORDS : (page + len(places)) * _WORDS] = words
