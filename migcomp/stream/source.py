# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a stream's bytes come from: a mapped file, a copy of what is behind a URL, or a
pipe read once."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from migcomp.errors import ImageError, StreamError
from migcomp.images.file import STANDARD_INPUT, Watch, is_url

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Source(Protocol):
    """``size`` is None, and only reading forward works, for a pipe.

    ``mapped``: views are of a mapped file, and reading them may raise SIGBUS.
    """

    path: str
    size: int | None
    position: int
    mapped: bool

    def read(self, size: int) -> bytes:
        """The next bytes: ``size`` of them, or fewer at the end.  Raises
        StreamError."""

    def view(self, size: int) -> Buffer:
        """The same without copying, where that is possible."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Raises StreamError where the source ends before."""

    def close(self) -> None: ...


class FileSource:
    """A regular file."""

    mapped = True

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.position = 0
        self.size: int | None = os.fstat(fd).st_size
        self._fd = fd
        try:
            memory = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise StreamError(
                f"{path} cannot be mapped ({error}); give it through a pipe"
            ) from error
        self._view = memoryview(memory)

    def read(self, size: int) -> bytes:
        with _reading():
            data = os.pread(self._fd, size, self.position)
        self.position += len(data)
        return data

    def view(self, size: int) -> Buffer:
        start = self.position
        self.position = min(start + size, len(self._view))
        return self._view[start : self.position]

    def read_at(self, offset: int, size: int) -> bytes:
        with _reading():
            data = os.pread(self._fd, size, offset) if offset < len(self._view) else b""
        if len(data) < size:
            raise StreamError("it is cut off")
        return data

    def close(self) -> None:
        # The mapping goes with the last view of it.
        del self._view
        os.close(self._fd)


class PipeSource:
    """Standard input, a FIFO or a socket; ``taken`` was read from it before."""

    mapped = False

    def __init__(self, path: str, fd: int, taken: bytes = b"") -> None:
        self.path = path
        self.position = 0
        self.size: int | None = None
        self._taken = taken
        self._file = open(fd, "rb", closefd=path != STANDARD_INPUT)  # noqa: SIM115

    def read(self, size: int) -> bytes:
        data, self._taken = self._taken[:size], self._taken[size:]
        with _reading():
            data += self._file.read(size - len(data))
        self.position += len(data)
        return data

    def view(self, size: int) -> Buffer:
        return self.read(size)

    def read_at(self, offset: int, size: int) -> bytes:
        raise StreamError("it comes from a pipe, which is read once, front to back")

    def close(self) -> None:
        self._file.close()


@contextmanager
def _reading() -> Iterator[None]:
    """Raises StreamError where the system does not give what is there."""
    try:
        yield
    except OSError as error:
        raise StreamError(f"it cannot be read: {error.strerror}") from error


def open_source(path: str, watch: Watch | None = None) -> Source:
    """Of a URL, a copy of what is there; ``watch`` is told how many bytes are copied.
    Raises StreamError."""
    fd = 0
    if is_url(path):
        from migcomp.images.remote import open_url

        try:
            fd = open_url(path, watch).fd  # ours, as nobody closes that ImageFile
        except ImageError as error:
            raise StreamError(str(error)) from error
    elif path != STANDARD_INPUT:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StreamError(f"{path} cannot be opened: {error.strerror}") from error
    return source_of(path, fd)


def source_of(path: str, fd: int, taken: bytes = b"") -> Source:
    """``fd`` is the source's from then on; ``taken`` was read from it already.

    Raises StreamError.
    """
    status = os.fstat(fd)
    try:
        if stat.S_ISDIR(status.st_mode):
            raise StreamError(f"{path} is a directory; name the stream file in it")
        if not stat.S_ISREG(status.st_mode) or os.lseek(fd, 0, os.SEEK_CUR):
            return PipeSource(path, fd, taken)
        if status.st_size == 0:
            raise StreamError(f"{path} is empty")
        return FileSource(path, fd)
    except BaseException:
        if path != STANDARD_INPUT:
            os.close(fd)
        raise
