# SPDX-License-Identifier: LGPL-2.1-or-later
"""Codecs in Python, for --handler."""

from __future__ import annotations

import bz2


class Codec:
    def __init__(self, level: int) -> None:
        self._level = max(1, min(level, 9))

    def compress(self, pages: memoryview) -> bytes:
        return bz2.compress(pages, self._level)

    def decompress(self, data: memoryview, size: int) -> bytes:
        return bz2.BZ2Decompressor().decompress(data, size)


class Broken(Codec):
    def compress(self, pages: memoryview) -> bytes:
        raise RuntimeError(f"no luck with {len(pages)} bytes")
