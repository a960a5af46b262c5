# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much of a file the page cache holds, by mincore(2), and getting it there."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from pathlib import Path

_PIECE = 1 << 30
_READ = 1 << 20


def cached_share(path: str) -> float | None:
    """0 to 1; None for what is no local file, or where the system does not tell.

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
            here, there = _count(fd, offset, min(_PIECE, size - offset))
            pages += here
            resident += there
        return resident / pages
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


def _count(fd: int, offset: int, length: int) -> tuple[int, int]:
    """Pages of a piece of the file, and how many of them are there."""
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
        return pages, pages - states.raw.count(0)
    finally:
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(length))
