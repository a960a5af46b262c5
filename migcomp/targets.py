# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the pages of a decompressed stream go."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol

from migcomp.errors import Mismatch, StreamError
from migcomp.images.image import UNKNOWN_LENGTH, Image
from migcomp.stream.sink import write_all

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from migcomp._core import PageRequest


class Target(Protocol):
    """Takes the image's pages in order.

    ``fd`` holds what came before, for deduplicated pages; ``output_fd``: where
    the workers write, at their places, all pages but zero pages, -1 for
    nowhere; ``fill_zeros``: it wants the data of zero pages too.
    """

    fd: int
    output_fd: int
    fill_zeros: bool

    def pages(self, request: PageRequest) -> None: ...
    def zeros(self, first_page: int, pages: int) -> None: ...
    def finish(self, length: int) -> None: ...


def is_regular(file: BinaryIO) -> bool:
    """It can be written at any offset, and read back."""
    try:
        mode = os.fstat(file.fileno()).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and file.readable()


@contextmanager
def room_for_copy(stream: str, keep: BinaryIO | None, target: Target) -> Iterator[None]:
    """Raises StreamError where ``keep``, which ``target`` has, is at fault, and not
    what it is all written to."""
    try:
        yield
    except OSError as error:
        if keep is None or (isinstance(target, Pipe) and error is target.refused):
            raise
        import tempfile

        raise StreamError(
            f"{stream} has deduplicated pages, and they need a copy of the image in "
            f"{tempfile.gettempdir()} ({error.strerror}); set TMPDIR to a folder with "
            "room for it"
        ) from error


def erase(target: Target, offset: int, size: int) -> None:
    """Makes zeros of what the workers wrote there."""
    while size and target.output_fd >= 0:
        done = os.pwrite(target.output_fd, bytes(min(size, 1 << 20)), offset)
        offset, size = offset + done, size - done


class SparseFile:
    """A regular file; zero pages become holes."""

    fill_zeros = False

    def __init__(self, file: BinaryIO) -> None:
        self.fd = self.output_fd = file.fileno()

    def pages(self, request: PageRequest) -> None:
        pass

    def zeros(self, first_page: int, pages: int) -> None:
        pass

    def finish(self, length: int) -> None:
        os.ftruncate(self.fd, length)


class Pipe:
    """Anything written front to back.

    ``keep``: a file for a copy, for deduplicated pages to be read back from.
    ``refused`` is what ``file`` raised, if it did.
    """

    fill_zeros = True

    def __init__(
        self, file: BinaryIO, page_size: int, length: int, keep: BinaryIO | None
    ) -> None:
        self._file = file
        self._page_size = page_size
        self._length = length
        self._written = 0
        self._last = b""
        self.refused: OSError | None = None
        self.fd = self.output_fd = -1 if keep is None else keep.fileno()

    def pages(self, request: PageRequest) -> None:
        self._write(request)

    def zeros(self, first_page: int, pages: int) -> None:
        whole = bytes(min(pages * self._page_size, 1 << 20))
        left = pages * self._page_size
        while left:
            self._write(whole if left >= len(whole) else whole[:left])
            left -= min(left, len(whole))

    def finish(self, length: int) -> None:
        self._put(self._last, max(length - self._written, 0))
        with self._noting():
            self._file.flush()

    def _write(self, data: Buffer) -> None:
        if self._length != UNKNOWN_LENGTH:
            self._put(data, self._length - self._written)
            return
        # Only the end will tell how much of the last page there is.
        self._put(self._last, self._page_size)
        with memoryview(data) as view:
            whole = view.nbytes - self._page_size
            self._last = bytes(view[whole:])
        self._put(data, whole)

    def _put(self, data: Buffer, most: int) -> None:
        with self._noting():
            self._written += write_all(self._file, data, most)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.refused = error
            raise


class Comparison:
    """The image that the stream should be of.

    ``keep`` as for Pipe; a raw image has its own earlier pages to read back.
    """

    fill_zeros = True

    def __init__(self, image: Image, stream: str, keep: BinaryIO | None) -> None:
        self.output_fd = -1 if keep is None else keep.fileno()
        self.fd = image.fd if keep is None else self.output_fd
        self._image = image
        self._stream = stream

    def pages(self, request: PageRequest) -> None:
        self._compare(request.first_page, bytes(request))

    def zeros(self, first_page: int, pages: int) -> None:
        step = (1 << 20) // self._image.page_size
        for page in range(first_page, first_page + pages, step):
            count = min(step, first_page + pages - page)
            self._compare(page, bytes(count * self._image.page_size))

    def finish(self, length: int) -> None:
        actual = sum(block.length for block in self._image.blocks)
        if actual != length:
            raise Mismatch(
                f"{self._stream} is of an image of {length} bytes, and "
                f"{self._image.path} has {actual}"
            )

    def _compare(self, first_page: int, expected: bytes) -> None:
        size = self._image.page_size
        left = max((self._image.pages or 0) - first_page, 0)
        pages = min(left, len(expected) // size)
        actual = self._image.read(first_page, pages) if pages else b""
        if actual == expected:
            return
        for i in range(0, len(expected), size):
            if actual[i : i + size] != expected[i : i + size]:
                raise Mismatch(
                    f"{self._image.path} differs from {self._stream} "
                    f"in page {first_page + i // size}"
                )


class Nowhere:
    """Pages are only checked; ``keep`` as for Pipe."""

    fill_zeros = False

    def __init__(self, keep: BinaryIO | None) -> None:
        self.fd = self.output_fd = -1 if keep is None else keep.fileno()

    def pages(self, request: PageRequest) -> None:
        pass

    def zeros(self, first_page: int, pages: int) -> None:
        pass

    def finish(self, length: int) -> None:
        pass
