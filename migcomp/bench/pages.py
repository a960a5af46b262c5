# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guest memory for a benchmark: pages like a real guest's, no two alike."""

from __future__ import annotations

import mmap
from pathlib import Path
from struct import pack_into

from migcomp.units import format_size

PAGE_SIZE = 4096

_SAMPLE = ("heap", 16 << 20, 20181122)  # profile, bytes with zero pages, seed


def guest_pages(size: int) -> mmap.mmap:
    """``size`` bytes: the non-zero pages of a sample image over and over, each
    with its number in the first 8 bytes.

    Raises ValueError when that is more memory than is available.
    """
    available = _available()
    if size > available:
        raise ValueError(
            f"{format_size(size)} of pages are more than the {format_size(available)} "
            "of memory that are available"
        )
    memory = mmap.mmap(-1, size)
    tile = _nonzero_pages()
    for offset in range(0, size, len(tile)):
        here = min(len(tile), size - offset)
        memory[offset : offset + here] = tile[:here]
    for offset in range(0, size, PAGE_SIZE):
        pack_into("<Q", memory, offset, offset // PAGE_SIZE)
    return memory


def _nonzero_pages() -> bytes:
    from migcomp.images.sample import SampleImage

    profile, size, seed = _SAMPLE
    image = SampleImage(profile, size, seed=seed, page_size=PAGE_SIZE)
    return b"".join(data for _, data in image.extents())


def _available() -> int:
    """Memory that can be taken without swapping; a lot where nobody tells."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 1 << 62
