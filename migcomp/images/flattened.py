# SPDX-License-Identifier: LGPL-2.1-or-later
"""makedumpfile's flattened format: a file in pieces, each with the place where it
belongs, so that it could be written to a pipe.

Format: makedumpfile's ``makedumpfile.h``; QEMU writes it unless told otherwise
(QEMU 8.2, ``dump/dump.c``).  Numbers are big-endian.
"""

from __future__ import annotations

import heapq
import struct
from array import array
from bisect import bisect_right

from migcomp.errors import ImageError
from migcomp.images.file import ImageFile
from migcomp.images.headers import ANEW, TABLE_MAX, cut_off, size_of, take
from migcomp.images.signatures import FLATTENED

HEADER_SIZE = 4096

#: QEMU writes pieces of 16 KiB, so that these make 16 GiB of compressed pages.
PIECES_MAX = 1 << 20

HEADER = struct.Struct(">16sqq")  # magic, type, version
PIECE = struct.Struct(">qq")  # offset in the dump, bytes
END = -1


class PlainView:
    """A dump that lies in its file as it is."""

    def __init__(self, file: ImageFile) -> None:
        self.file = file
        self.size = size_of(file)

    def read(self, offset: int, size: int, what: str) -> bytes:
        return take(self.file, offset, size, what)


class FlatView:
    """A dump in pieces; as PlainView."""

    def __init__(self, file: ImageFile) -> None:
        """Reads where the pieces belong.  Raises ImageError."""
        self.file = file
        self._starts = array("q")
        self._ends = array("q")
        self._places = array("q")  # in the file
        for start, end, place in _resolved(file, _pieces(file)):
            self._starts.append(start)
            self._ends.append(end)
            self._places.append(place)
        self.size = self._ends[-1] if self._ends else 0

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Zeros where no piece is, as in the file that -R puts together."""
        if size > TABLE_MAX or offset + size > self.size:
            raise cut_off(self.file, what)
        data = bytearray(size)
        number = max(bisect_right(self._starts, offset) - 1, 0)
        end = offset + size
        while number < len(self._starts) and self._starts[number] < end:
            first = max(self._starts[number], offset)
            last = min(self._ends[number], end)
            if first < last:
                place = self._places[number] + first - self._starts[number]
                data[first - offset : last - offset] = take(
                    self.file, place, last - first, what
                )
            number += 1
        return bytes(data)

    def piece(self, offset: int) -> tuple[int, int, int]:
        """The last piece that begins at ``offset`` or before: (start, end, offset
        in the file).  It may end before ``offset``."""
        number = bisect_right(self._starts, offset) - 1
        if number < 0:
            return 0, 0, 0
        return self._starts[number], self._ends[number], self._places[number]


def _pieces(file: ImageFile) -> list[tuple[int, int, int, int]]:
    """(offset in the dump, minus number, end there, offset in the file)."""
    head = take(file, 0, HEADER.size, "its header")
    magic, kind, version = HEADER.unpack(head)
    if magic != FLATTENED or (kind, version) != (1, 1):
        raise ImageError(
            f"{file.path} is in version {version} of makedumpfile's flattened format, "
            "which is not known"
        )
    pieces: list[tuple[int, int, int, int]] = []
    at = HEADER_SIZE
    while True:
        place, size = PIECE.unpack(take(file, at, PIECE.size, "its pieces"))
        at += PIECE.size
        if place == END:
            return pieces
        if place < 0 or size <= 0 or at + size > size_of(file):
            raise ImageError(
                f"{file.path} is damaged or cut off: a piece of {size} bytes at byte "
                f"{at} cannot be; {ANEW}"
            )
        if len(pieces) == PIECES_MAX:
            raise ImageError(
                f"{file.path} has more than {PIECES_MAX} pieces; put it together with "
                "makedumpfile -R first"
            )
        pieces.append((place, -len(pieces), place + size, at))
        at += size


def _resolved(
    file: ImageFile, pieces: list[tuple[int, int, int, int]]
) -> list[tuple[int, int, int]]:
    """Disjoint pieces in order: (start, end, offset in the file).

    Of pieces that overlap the later in the file counts.
    """
    heapq.heapify(pieces)
    cuts = len(pieces) + PIECES_MAX  # bounds what hostile overlaps may cost
    done: list[tuple[int, int, int, int]] = []  # start, end, file offset, -number
    while pieces:
        start, number, end, place = heapq.heappop(pieces)
        if not done or start >= done[-1][1]:
            done.append((start, end, place, number))
            continue
        cuts -= 1
        if not cuts:
            raise ImageError(f"{file.path} is damaged: its pieces overlap everywhere")
        before, until, whence, other = done[-1]
        if number > other:  # earlier in the file: only what juts out counts
            if end > until:
                rest = place + until - start
                heapq.heappush(pieces, (until, number, end, rest))
            continue
        done[-1] = (before, start, whence, other)
        if start == before:
            done.pop()
        if until > end:
            heapq.heappush(pieces, (end, other, until, whence + end - before))
        done.append((start, end, place, number))
    return [(start, end, place) for start, end, place, _ in done]
