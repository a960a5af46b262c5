# SPDX-License-Identifier: LGPL-2.1-or-later
"""kdump-compressed dumps, as makedumpfile and QEMU's dump-guest-memory write them:
plain or flattened, each page compressed by itself.

kdump_headers.py says what of the format is read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from migcomp import _core
from migcomp.codecs import decoder
from migcomp.errors import ImageError
from migcomp.images.bitmap import set_runs
from migcomp.images.entries import EntryTable
from migcomp.images.file import ImageFile
from migcomp.images.flattened import FlatView
from migcomp.images.headers import size_of
from migcomp.images.kdump_headers import Dump
from migcomp.images.mapped import MappedImage

FORMAT = "kdump"

#: How a page is stored, by its descriptor's flags.
METHODS = {0: "raw", 1: "zlib", 2: "lzo", 4: "snappy", 0x20: "zstd"}

#: Pages that lie in two pieces of a flattened dump, and are put together.
PATCHES_MAX = 1 << 16


def open_file(file: ImageFile, page_size: int) -> MappedImage:
    """The dump tells its page size.  Excluded pages are zero."""
    dump = Dump(file)
    table = EntryTable(file.path, sum(pages for _, pages in dump.runs))
    ways = _Ways(dump)
    frames = _Frames(dump.runs)
    patches = bytearray()
    for bitmap, start, descriptors in dump.chunks():
        offsets, words = dump.unpack(descriptors)
        stored = [ways[word] for word in words]
        places: Sequence[int] = offsets
        if isinstance(dump.view, FlatView):
            most = PATCHES_MAX * dump.page_size
            places = list(_gathered(dump.view, offsets, stored, patches, most))
        if places:
            file.watch(places[-1])
        for page, at, count in frames.pages(bitmap, start):
            table.put(page, places[at : at + count], stored[at : at + count])
    page_map = _core.PageMap(
        (file.map(), bytes(patches)),
        [],
        dump.page_size,
        True,
        entries=table.memory,
        codecs=tuple(ways.libraries),
    )
    facts = {
        "flattened": "yes" if isinstance(dump.view, FlatView) else "no",
        "codecs": ", ".join(ways.codecs) or "none",
        "dumped pages": dump.dumped_pages,
    }
    return MappedImage(file, FORMAT, dump.blocks, page_map, dump.page_size, facts)


class _Frames:
    """Page frames of the guest as pages of the image."""

    def __init__(self, runs: list[tuple[int, int]]) -> None:
        self._runs = runs
        self._starts = [first for first, _ in runs]
        self._bases = list(accumulate((pages for _, pages in runs), initial=0))

    def pages(self, bitmap: bytes, start: int) -> Iterator[tuple[int, int, int]]:
        """The pages of a chunk that are dumped, and are memory: (page, number among
        the chunk's dumped pages, how many)."""
        at = 0
        for begin, length in set_runs(bitmap, len(bitmap) * 8):
            frame, end = start + begin, start + begin + length
            while frame < end:
                run = bisect_right(self._starts, frame) - 1
                first, pages = self._runs[run] if run >= 0 else (0, 0)
                if frame < first + pages:
                    count = min(first + pages, end) - frame
                    yield self._bases[run] + frame - first, at, count
                else:
                    after = self._starts[run + 1 : run + 2]
                    count = min([end, *after]) - frame
                frame += count
                at += count


def _gathered(
    view: FlatView,
    offsets: Sequence[int],
    stored: list[int],
    patches: bytearray,
    patches_max: int,
) -> Iterator[int]:
    """Where in the file, or behind it in ``patches``, the pages lie that the
    flattened dump has at ``offsets``."""
    behind = size_of(view.file)
    start = end = place = 0
    for offset, number in zip(offsets, stored, strict=True):
        size = number >> 8
        if not start <= offset <= end - size:  # most are in the piece before
            start, end, place = view.piece(offset)
        if offset <= end - size:
            yield place + offset - start
            continue
        yield behind + len(patches)
        patches += view.read(offset, size, "the content of a page")
        if len(patches) > patches_max:
            raise ImageError(
                f"{view.file.path} has too many pages in pieces; put it together with "
                "makedumpfile -R first"
            )


class _Ways(dict[int, int]):
    """How pages are stored: by the second word of a descriptor, as an entry has it.

    Codecs are looked for when the first page needs them.
    """

    def __init__(self, dump: Dump) -> None:
        self._dump = dump
        self.codecs: list[str] = []
        self.libraries: list[_core.Library] = []

    def __missing__(self, word: int) -> int:
        path, page_size = self._dump.path, self._dump.page_size
        size, flags = word >> 32, word & 0xFFFFFFFF
        method = METHODS.get(flags)
        if method is None:
            raise ImageError(
                f"{path} has pages that are compressed in a way that is not known "
                f"(flags {flags:#x})"
            )
        # makedumpfile and QEMU store a page as it is if it does not shrink.
        if not 0 < size <= page_size or (method == "raw" and size != page_size):
            raise ImageError(f"{path} is damaged: it has a page stored in {size} bytes")
        self[word] = size << 8 | self._kind(method)
        return self[word]

    def _kind(self, method: str) -> int:
        if method == "raw":
            return _core.STORED_RAW
        if method not in self.codecs:
            self.libraries.append(decoder(method))
            self.codecs.append(method)
        return _core.STORED_BLOCK + self.codecs.index(method)
