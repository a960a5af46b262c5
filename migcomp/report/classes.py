# SPDX-License-Identifier: LGPL-2.1-or-later
"""What each class of pages holds of the image and takes of the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from migcomp.results import PageCounts


class Volume(Protocol):
    """A run's result, or a stream's contents."""

    @property
    def pages(self) -> PageCounts: ...
    @property
    def image_bytes(self) -> int: ...
    @property
    def stream_bytes(self) -> int: ...
    @property
    def compressed_bytes(self) -> int: ...
    @property
    def missing_bytes(self) -> int: ...
    @property
    def lost_bytes(self) -> int: ...


@dataclass(frozen=True)
class PageClass:
    """``stream_bytes`` is what the pages' own data takes there, framing excluded."""

    name: str
    pages: int
    guest_bytes: int
    stream_bytes: int


def page_classes(volume: Volume, page_size: int) -> tuple[PageClass, ...]:
    """All five classes, from what costs nothing to what costs most."""
    stream_bytes = {
        "compressed": volume.compressed_bytes,
        "normal": volume.pages.normal * page_size,
    }
    return tuple(
        PageClass(name, pages, pages * page_size, stream_bytes.get(name, 0))
        for name, pages in counts_by_name(volume.pages).items()
    )


def counts_by_name(pages: PageCounts) -> dict[str, int]:
    """The counts under the names that reports print."""
    return {
        "zero": pages.zero,
        "same-filled": pages.same_filled,
        "deduplicated": pages.deduplicated,
        "compressed": pages.compressed,
        "normal": pages.normal,
    }


def framing_bytes(volume: Volume, page_size: int) -> int:
    """Stream bytes which are no page's data: headers, records, patterns, index."""
    data = volume.compressed_bytes + volume.pages.normal * page_size
    return max(0, volume.stream_bytes - volume.lost_bytes - data)
