# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing raw images: the RAM blocks back to back, zero pages as holes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from migcomp import _core
from migcomp.codecs import open_codec
from migcomp.convert.stored import all_runs, in_order, memory_length
from migcomp.images.decode import decode, write_pages
from migcomp.images.image import Image
from migcomp.outputs import OutputFile, write_all

if TYPE_CHECKING:
    from migcomp.convert.convert import Wish

FORMAT = "raw"
CODECS: tuple[str, ...] = ()

_ZEROS = bytes(1 << 20)


def write(image: Image, sink: OutputFile, wish: Wish) -> None:
    if sink.is_regular:
        _write_sparse(image, sink, wish)
    else:
        _Front(image, sink, wish).write()


def _write_sparse(image: Image, sink: OutputFile, wish: Wish) -> None:
    fd, size = sink.fileno(), image.page_size

    def take(request: _core.PageRequest) -> None:
        write_pages(image, request, fd, request.first_page * size)
        if wish.progress is not None:
            done = request.first_page + request.pages
            wish.progress(done, done * size)

    decode(image, all_runs(image), take, threads=wish.threads)
    os.ftruncate(fd, memory_length(image))


class _Front:
    """To a pipe, front to back."""

    def __init__(self, image: Image, sink: OutputFile, wish: Wish) -> None:
        self._image = image
        self._sink = sink
        self._wish = wish
        self._left = memory_length(image)

    def write(self) -> None:
        codec, threads = open_codec("none"), self._wish.threads
        in_order(self._image, codec, self._zeros, self._pages, threads=threads)

    def _zeros(self, first_page: int, pages: int) -> None:
        left = pages * self._image.page_size
        while left:
            piece = min(left, len(_ZEROS))
            self._put(_ZEROS[:piece])
            left -= piece
        self._tell(first_page + pages)

    def _pages(self, first_page: int, pages: list[tuple[int, bytes]]) -> None:
        zero = bytes(self._image.page_size)
        self._put(b"".join(data or zero for _, data in pages))
        self._tell(first_page + len(pages))

    def _put(self, data: bytes) -> None:
        write_all(self._sink, data[: self._left])
        self._left -= min(self._left, len(data))

    def _tell(self, pages: int) -> None:
        if self._wish.progress is not None:
            self._wish.progress(pages, pages * self._image.page_size)
