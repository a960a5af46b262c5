# SPDX-License-Identifier: LGPL-2.1-or-later
"""zstd with a dictionary trained on some of a guest's pages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migcomp import _core

if TYPE_CHECKING:
    import zstandard

SIZE = 64 << 10
TRAINING_BYTES = 16 << 20  # 256 times its size; zstd's advice is 100 times

# Given, zstd does not try out others: these came out as good as what it found on a
# guest of 1 GiB, in a quarter of the time.
_SEGMENT, _DMER = 1024, 8


@dataclass(frozen=True)
class Trained:
    library: _core.Library
    size: int
    training_seconds: float


class _Codec:
    def __init__(self, dictionary: zstandard.ZstdCompressionDict, level: int) -> None:
        import zstandard

        self._compressor = zstandard.ZstdCompressor(level=level, dict_data=dictionary)

    def compress(self, pages: memoryview) -> bytes:
        return self._compressor.compress(pages)

    def decompress(self, data: memoryview, size: int) -> bytes:
        raise NotImplementedError  # nothing is kept that could be


def train(pages: Sequence[bytes], level: int) -> Trained | None:
    """None when zstd makes no dictionary of so few or such pages."""
    import zstandard

    before = time.thread_time()
    try:
        dictionary = zstandard.train_dictionary(SIZE, list(pages), k=_SEGMENT, d=_DMER)
    except zstandard.ZstdError:
        return None
    dictionary.precompute_compress(level=level)
    seconds = time.thread_time() - before
    library = _core.python_library(
        "python:zstd-dictionary",
        "zstandard",
        ".".join(map(str, zstandard.ZSTD_VERSION)),
        zstandard.__file__ or "",
        lambda level: _Codec(dictionary, level),
    )
    return Trained(library, len(dictionary.as_bytes()), seconds)
