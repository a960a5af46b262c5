# SPDX-License-Identifier: LGPL-2.1-or-later
"""An image whose pages lie in a mapped file, in whatever order its format has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from migcomp import _core
from migcomp.errors import ImageError, PageError
from migcomp.images.file import ImageFile
from migcomp.images.image import Run, first_pages
from migcomp.results import Block


class MappedImage:
    """Implements :class:`migcomp.images.image.Image`; owns ``file``.

    Encoded pages are read by decode.py only.
    """

    pad = False
    taken = b""

    def __init__(
        self,
        file: ImageFile,
        format: str,
        blocks: Sequence[Block],
        page_map: _core.PageMap,
        page_size: int,
        facts: Mapping[str, object],
    ) -> None:
        self._file = file
        self.path = file.path
        self.format = format
        self.blocks = tuple(blocks)
        self.page_size = page_size
        self.page_map: _core.PageMap | None = page_map
        self.facts = facts
        self._first_pages = first_pages(self.blocks, page_size)

    @property
    def fd(self) -> int:
        return self._file.fd

    @property
    def pages(self) -> int:
        return self._first_pages[-1]

    def runs(self, block: int) -> Iterator[Run]:
        assert self.page_map is not None
        page, end = self._first_pages[block : block + 2]
        while page < end:
            pages, hole = self.page_map.run(page, end)
            yield Run(page, pages, hole)
            page += pages

    def read(self, first_page: int, pages: int) -> bytes:
        assert self.page_map is not None
        try:
            return self.page_map.read(first_page, pages)
        except PageError as error:
            raise ImageError(
                f"{self.path}: page {error.page}: {error.reason}"
            ) from error

    def close(self) -> None:
        self.page_map = None
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
