# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much of a file the page cache holds, by mincore(2), and getting it there."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

_PIECE = 1 << 30
_READ = 1 << 20


def cached_share(path: str) -> float | None:
    """0 to 1; None for what is no local file, or where the system does not tell.

    Of holes there is nothing to read, so that they do not count.

    Since Linux 5.2 it tells only of files that the user owns or could write; of
    others it would say that all pages are there.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        size = os.fstat(fd).st_size
        if not size or not (os.fstat(fd).st_uid == os.geteuid() or os.access(path, 2)):
            return None
        pages = resident = 0
        for offset in range(0, size, _PIECE):
            end = min(offset + _PIECE, size)
            states = _states(fd, offset, end - offset)
            for start, stop in _data(fd, offset, end):
                first = (start - offset) // mmap.PAGESIZE
                after = -((offset - stop) // mmap.PAGESIZE)
                part = states[first:after]
                pages += len(part)
                resident += len(part) - part.count(0)
        return resident / pages if pages else 1.0
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


def read_through(path: str) -> None:
    """So that all of it is in the page cache, as far as there is room.

    What cannot be read is left to whoever needs it.
    """
    buffer = bytearray(_READ)
    with contextlib.suppress(OSError), Path(path).open("rb", 0) as file:
        while file.readinto(buffer):
            pass


def _data(fd: int, at: int, end: int) -> Iterator[tuple[int, int]]:
    """What lies between the holes."""
    while at < end:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        if at < end:
            stop = min(os.lseek(fd, at, os.SEEK_HOLE), end)
            yield at, stop
            at = stop


def _states(fd: int, offset: int, length: int) -> bytes:
    """A byte for each page of a piece of the file, 0 where it is not there."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    # Not Python's mmap: of a mapping that is only read it gives no address.
    address = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, offset)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    try:
        pages = -(-length // mmap.PAGESIZE)
        states = ctypes.create_string_buffer(pages)
        if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(length), states):
            raise OSError(ctypes.get_errno(), "mincore")
        return states.raw
    finally:
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(length))
