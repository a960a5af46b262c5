# SPDX-License-Identifier: LGPL-2.1-or-later
"""A sample image's pages by class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import zstandard

from migcomp.images.sample import SampleImage

PAGE = 4096


def image_bytes(image: SampleImage) -> bytearray:
    content = bytearray(image.size)
    for offset, data in image.extents():
        content[offset : offset + len(data)] = data
    return content


def pages_of(content: bytes | bytearray) -> list[bytes]:
    return [bytes(content[at : at + PAGE]) for at in range(0, len(content), PAGE)]


def is_same_filled(page: bytes) -> bool:
    return page == page[:8] * (len(page) // 8)


@dataclass(frozen=True)
class Pages:
    """Pages by class; `normal` ones are neither zero nor same-filled."""

    total: int
    nonzero: list[bytes]
    same_filled: int
    normal: list[bytes]

    @property
    def duplicates(self) -> int:
        return len(self.normal) - len(set(self.normal))

    def share(self, pages: int) -> float:
        return 100 * pages / self.total

    def ratio(self, compressed: Callable[[bytes], bytes]) -> float:
        out = sum(min(PAGE, len(compressed(page))) for page in self.nonzero)
        return len(self.nonzero) * PAGE / out


def classify(content: bytes | bytearray) -> Pages:
    pages = pages_of(content)
    nonzero = [page for page in pages if page.count(0) < PAGE]
    normal = [page for page in nonzero if not is_same_filled(page)]
    return Pages(len(pages), nonzero, len(nonzero) - len(normal), normal)


def zstd_1(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_content_size=False).compress(data)
