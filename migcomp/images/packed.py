# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images that are compressed as a whole: decompressed once, front to back, into an
unnamed temporary file, in bounded memory.

How large the copy gets cannot be known before: formats tell it seldom, and zeros
take no room.  It leaves others some of the disk, and ends where it is a bomb.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Protocol, cast

from migcomp.errors import CodecUnavailable, ImageError
from migcomp.images.file import ImageFile, no_room_for_copy
from migcomp.images.lzop import lzop_blocks
from migcomp.units import format_size

if TYPE_CHECKING:
    import zlib

_STEP = 1 << 20
#: What a decompressor may take; xz -9 needs 65 MiB, zstd --long 128 MiB.
_MEMORY_MAX = 256 << 20
_WINDOW_MAX = 128 << 20
#: Part of the free space that is left to others.
_LEFT_FREE = 16
#: Bytes that the content may have for each compressed one, once it is large.
#: zlib reaches 1032; a QEMU stream of nothing but zero pages, by xz or zstd, 32.
_RATIO_MAX = 4096
_LARGE = 1 << 30


class Decompressor(Protocol):
    """As those of bz2 and lzma."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Source:
    """Reads a file from ``start`` on."""

    def __init__(self, file: ImageFile, start: int) -> None:
        self.path = file.path
        self._file = file
        self._start = self._at = start

    @property
    def taken(self) -> int:
        """Bytes read so far."""
        return self._at - self._start

    def told(self, copied: int) -> None:
        """``copied`` bytes have come of what was read."""
        self._file.watch(self._at, copied)

    def read(self, size: int = _STEP) -> bytes:
        """``size`` bytes, or fewer at the end."""
        data = self._file.read_at(self._at, size)
        self._at += len(data)
        return data


def unpack(file: ImageFile, start: int, method: str, expected: bytes) -> ImageFile:
    """A copy of what ``method`` compressed from ``start`` on.

    It must begin with ``expected``: other content is not decompressed to its end.
    Raises ImageError, and CodecUnavailable for what needs a package.
    """
    with tempfile.TemporaryFile(buffering=0) as copy:
        room = _room(copy.fileno())
        source = Source(file, start)
        size = stored = 0
        for data in _content(source, method):
            if not size and not data.startswith(expected):
                break
            size += len(data)
            if size > max(_LARGE, _RATIO_MAX * source.taken):
                raise ImageError(
                    f"{file.path} is no guest's memory: {format_size(source.taken)} of "
                    f"it are {format_size(size)} and more when decompressed"
                )
            try:
                if data.count(0) == len(data):  # takes no room
                    copy.truncate(copy.seek(len(data), os.SEEK_CUR))
                    continue
                stored += len(data)
                if stored > room:
                    raise ImageError(
                        f"{file.path} needs more than the {format_size(room)} that "
                        f"its decompressed copy may take in {tempfile.gettempdir()}; "
                        "set TMPDIR to a folder with room for it"
                    )
                copy.write(data)
            except OSError as error:
                raise no_room_for_copy(file.path, error) from error
            source.told(size)
        if not size:
            raise ImageError(
                f"{file.path} is damaged: what it holds compressed by {method} does "
                "not begin as it should"
            )
        copy.seek(0)  # what stands elsewhere counts as a pipe
        fd = os.dup(copy.fileno())
        try:
            return ImageFile(file.path, fd)
        except BaseException:
            os.close(fd)
            raise


def _room(fd: int) -> int:
    """Bytes that a file may take on its file system."""
    status = os.fstatvfs(fd)
    free = status.f_bavail * status.f_frsize
    return free - free // _LEFT_FREE


def _content(source: Source, method: str) -> Iterator[bytes]:
    """What is compressed, in pieces of at most _STEP bytes."""
    try:
        if method == "zstd":
            yield from _zstd(source)
        elif method == "lzop":
            yield from lzop_blocks(source)
        else:
            yield from _stdlib(source, _maker(method))
    except (ImageError, CodecUnavailable):
        raise
    except Exception as error:
        # Each of the packages has an exception of its own.
        raise ImageError(
            f"{source.path} is damaged or cut off: {method} says {error}"
        ) from error


def _maker(method: str) -> Callable[[], Decompressor]:
    if method == "bzip2":
        import bz2

        return bz2.BZ2Decompressor
    if method == "xz":
        import lzma

        return lambda: lzma.LZMADecompressor(memlimit=_MEMORY_MAX)
    import zlib

    bits = {"gzip": 31, "zlib": 15}[method]
    return lambda: _Inflater(zlib.decompressobj(bits))


class _Inflater:
    """zlib's, with the face of the others."""

    def __init__(self, inflater: zlib._Decompress) -> None:
        self._inflater = inflater

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        tail = self._inflater.unconsumed_tail
        return self._inflater.decompress(tail + data, max_length)


def _stdlib(source: Source, make: Callable[[], Decompressor]) -> Iterator[bytes]:
    """One stream after the other, as gzip, bzip2 and xz join them."""
    data = source.read()
    while data:
        decompressor = make()
        while not decompressor.eof:
            piece = decompressor.decompress(data, _STEP)
            data = b""
            if piece:
                yield piece
            elif decompressor.eof:
                break
            elif decompressor.needs_input:
                data = source.read()
                if not data:
                    raise EOFError("it ends too early")
        data = decompressor.unused_data or source.read()


def _zstd(source: Source) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX)
    # It takes a frame that is cut off for its end; what reads the copy does not.
    reader = decompressor.stream_reader(
        cast("IO[bytes]", source), read_across_frames=True
    )
    while piece := reader.read(_STEP):
        yield piece
