# SPDX-License-Identifier: LGPL-2.1-or-later
"""The file that an image lies in: opened, looked into, mapped, or copied."""

from __future__ import annotations

import errno
import mmap
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from migcomp.errors import ImageError

STANDARD_INPUT = "-"

#: What formats are recognised by; no more than the smallest page.
HEAD_SIZE = 4096

_URL = re.compile(r"[a-z][a-z0-9+.-]*://")

#: How lseek says that a file cannot tell where its holes are.
_TELLS_NO_HOLES = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)

#: Told, now and then, how much was copied to a temporary file: bytes or pages.
Copied = Callable[[int], None]


class Watch(Protocol):
    """Told, now and then, how many bytes of a file were gone through, and how many
    a temporary copy has if that is decompressed meanwhile."""

    def __call__(self, done: int, copy: int = 0, /) -> None: ...


def unwatched(_amount: int, _copy: int = 0, /) -> None:
    """For copies that nobody waits for."""


class ImageFile:
    """Owns ``fd``, unless it is standard input.

    ``size`` is None for what can be read only once, a pipe.  ``head`` are its
    first bytes, ``taken`` those of them that ``fd`` will not give again.  Readers
    that have to go through much of a file tell ``watch`` how many bytes they did.
    """

    def __init__(self, path: str, fd: int, watch: Watch | None = None) -> None:
        """``fd`` stays the caller's if this raises ImageError."""
        self.path = path
        self.fd = fd
        self.watch = watch or unwatched
        # Where data_after looked last, and the data and the hole that it found: a
        # tmpfs walks to a hole, and many blocks lie before the same one.
        self._extent = 0, 0, 0
        self.size = _size(fd)
        with reading(path):
            if self.size is None:
                self.head = self.taken = _read(fd, HEAD_SIZE)
            else:
                self.head, self.taken = os.pread(fd, HEAD_SIZE, 0), b""
        if self.size == 0:
            raise ImageError(f"{path} is empty")

    def map(self, size: int | None = None) -> mmap.mmap | memoryview:
        """All of it, or ``size`` bytes, to be read.  Raises ImageError.

        The mapping outlives the file.
        """
        # Not as long as the file is now: a device has no length, and a file may
        # have become shorter since it was measured.
        try:
            memory = mmap.mmap(self.fd, size or self.size or 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"{self.path} cannot be mapped ({error}); give it through a pipe"
            ) from error
        memory.madvise(mmap.MADV_SEQUENTIAL)
        return memory

    def read_at(self, offset: int, size: int) -> bytes:
        """``size`` bytes, or fewer at the end.  Raises ImageError."""
        with reading(self.path):
            return os.pread(self.fd, size, offset)

    def read_on(self, size: int) -> bytes:
        """Of a pipe, the next bytes that are there; none at its end.  Raises
        ImageError."""
        with reading(self.path):
            return os.read(self.fd, size)

    @property
    def sparse(self) -> bool:
        """It has fewer blocks than bytes, and so there must be holes.

        Looking for them takes some file systems 10 ms per GiB.
        """
        status = os.fstat(self.fd)
        return status.st_blocks * 512 < status.st_size

    def data_after(self, position: int, end: int) -> tuple[int, int]:
        """From where to where the next data lies, holes being before and behind it.

        Both are ``end`` when all from ``position`` on is a hole.  What tells no
        holes is all data.  What is written into a hole after it was found may be
        missed.  Raises ImageError.
        """
        looked_from, data, hole = self._extent
        if not looked_from <= position < hole:
            data, hole = self._look_for_data(position)
            self._extent = position, data, hole
        if data >= end:  # nothing but a hole, or no file any more
            self.check_size(end)
        return min(max(data, position), end), min(hole, end)

    def _look_for_data(self, position: int) -> tuple[int, int]:
        """The next data and the hole behind it; both beyond all files for none."""
        with reading(self.path):
            try:
                data = os.lseek(self.fd, position, os.SEEK_DATA)
                return data, os.lseek(self.fd, data, os.SEEK_HOLE)
            except OSError as error:
                if error.errno in _TELLS_NO_HOLES:
                    return position, sys.maxsize
                if error.errno == errno.ENXIO:
                    return sys.maxsize, sys.maxsize
                raise

    def check_size(self, size: int) -> None:
        """Raises ImageError if a file has become shorter than ``size`` bytes."""
        status = os.fstat(self.fd)
        if stat.S_ISREG(status.st_mode) and status.st_size < size:
            raise became_shorter(self.path)

    def spool(self, round_up: int = 1, copied: Copied = unwatched) -> ImageFile:
        """A copy in an unnamed temporary file, for what is read more than once.

        Zeros fill it up to a multiple of ``round_up`` bytes; the copy's ``size``
        is that of what was read.  ``copied`` is told how many bytes were, now and
        then.  Raises ImageError.
        """
        import tempfile

        with tempfile.TemporaryFile(buffering=0) as copy:
            try:
                _write(copy.fileno(), self.taken)
                size = len(self.taken)
                while chunk := self.read_on(1 << 20):
                    size += len(chunk)
                    _write(copy.fileno(), chunk)
                    copied(size)
                copy.truncate(-(-size // round_up) * round_up)
                copy.seek(0)  # what stands elsewhere counts as a pipe
            except OSError as error:
                raise no_room_for_copy(self.path, error) from error
            fd = os.dup(copy.fileno())
            try:
                spooled = ImageFile(self.path, fd, self.watch)
            except BaseException:
                os.close(fd)
                raise
            spooled.size = size
            return spooled

    def close(self) -> None:
        if self.fd >= 0 and (self.path, self.fd) != (STANDARD_INPUT, 0):
            os.close(self.fd)
        self.fd = -1


def open_file(path: str, watch: Watch | None = None) -> ImageFile:
    """``-`` is standard input, and of a URL it is a copy.  Raises ImageError."""
    if is_url(path):
        from migcomp.images.remote import open_url

        return open_url(path, watch)
    fd = 0 if path == STANDARD_INPUT else _open(path)
    try:
        return ImageFile(path, fd, watch)
    except BaseException:
        if path != STANDARD_INPUT:
            os.close(fd)
        raise


def is_url(path: str) -> bool:
    """Such as https://host/guest.raw, or a chain of fsspec's: zip://name::s3://a/b."""
    return _URL.match(path) is not None


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Raises ImageError where the system does not give what is in a file."""
    try:
        yield
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error


def became_shorter(path: str) -> ImageError:
    """What to raise when a file lacks bytes that it had."""
    return ImageError(f"{path} became shorter while it was read")


def no_room_for_copy(path: str, error: OSError) -> ImageError:
    """What to raise when a temporary copy cannot be written."""
    import tempfile

    return ImageError(
        f"{path} cannot be copied to a temporary file in {tempfile.gettempdir()} "
        f"({error.strerror}); set TMPDIR to a folder with room for it"
    )


def _open(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror}") from error
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise ImageError(f"{path} is a directory; name the image file in it")
    return fd


def _size(fd: int) -> int | None:
    """Bytes of a file or device; None for what can only be read once."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0:
        return os.fstat(fd).st_size
    if stat.S_ISBLK(mode):
        return os.lseek(fd, 0, os.SEEK_END)
    return None


def _read(fd: int, size: int) -> bytes:
    """``size`` bytes, or fewer at the end."""
    data = b""
    while len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return data


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
