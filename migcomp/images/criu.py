# SPDX-License-Identifier: LGPL-2.1-or-later
"""CRIU's page images: pagemap-N.img says where in a process's virtual memory the
pages of pages-N.img belong; an incremental dump leaves pages to its parent.

Format: CRIU's ``images/pagemap.proto`` and ``criu/include/magic.h``; the few
fields of protobuf are decoded here.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from migcomp.errors import ImageError
from migcomp.images.file import ImageFile
from migcomp.images.file import open_file as _open
from migcomp.images.headers import size_of, take
from migcomp.images.mapped import MappedImage
from migcomp.images.regions import REGIONS_MAX, Region, open_regions
from migcomp.images.signatures import CRIU

FORMAT = "criu"

#: Flags of an entry.
_PARENT, _LAZY, _PRESENT = 1, 2, 4
_LENGTH = struct.Struct("<I")
_MESSAGE_MAX = 1 << 16
_PARENTS_MAX = 256


def pagemap_in(folder: str) -> str | None:
    """The only pagemap of a folder; None if it has none.  Raises ImageError when
    it has several."""
    found = sorted(
        path.name
        for path in Path(folder).glob("pagemap-*.img")
        if path.name[len("pagemap-") : -len(".img")].isdigit()
    )
    if not found:
        raise ImageError(
            f"{folder} is a directory without page images of CRIU; name the image "
            "file in it"
        )
    if len(found) > 1:
        raise ImageError(
            f"{folder} holds {len(found)} processes; name one of "
            f"{', '.join(found[:5])}{' and so on' if len(found) > 5 else ''}"
        )
    return str(Path(folder) / found[0])


@dataclass(frozen=True, slots=True)
class _Pages:
    """Pages of virtual memory; ``offset`` in the pages file, in pages; None when
    the parent has them."""

    first: int
    pages: int
    offset: int | None

    @property
    def end(self) -> int:
        return self.first + self.pages


def open_file(file: ImageFile, page_size: int) -> MappedImage:
    """``file`` is a pagemap."""
    dumps = _read_chain(file, page_size)
    with ExitStack() as stack:
        files: list[ImageFile] = []
        regions: list[Region] = []
        for dump in dumps:
            if not dump.chosen:
                continue
            pages = _open(dump.pages_path)
            stack.callback(pages.close)
            _check_size(pages, dump.stored, page_size)
            files.append(pages)
            for first, end, offset in dump.chosen:
                length = (end - first) * page_size
                address, at = first * page_size, offset * page_size
                regions.append(Region(address, length, at, length, len(files)))
        facts = {"addresses": "virtual", "parents": len(dumps) - 1}
        return open_regions(file, regions, FORMAT, page_size, facts, files)


@dataclass(frozen=True, slots=True)
class _Dump:
    """A pagemap and the pages to take with it.

    ``stored``: how many its pages file has.  ``chosen``: (first page of memory,
    end, first in the pages file).  ``missing``: (first, end), left to the parent.
    """

    pages_path: str
    stored: int
    chosen: list[tuple[int, int, int]]
    missing: list[tuple[int, int]]


def _read_chain(file: ImageFile, page_size: int) -> list[_Dump]:
    """The pagemap, and those of its parents that it needs, newest first."""
    path = Path(file.path)
    seen = {_identity(file)}
    dumps = [_read_dump(file, path, None, page_size)]
    regions = len(dumps[0].chosen)
    while dumps[-1].missing:
        folder = path.parent / "parent"
        if not folder.is_dir():
            raise ImageError(
                f"{path} leaves pages to its parent, but {folder} is no folder"
            )
        # Without links in it: the kernel follows 40 of them at most.
        path = folder.resolve() / path.name
        parent = _open(str(path))
        try:
            if _identity(parent) in seen:
                raise ImageError(f"{file.path} is among its own parents")
            if len(dumps) == _PARENTS_MAX:
                raise ImageError(f"{file.path} has more than {_PARENTS_MAX} parents")
            seen.add(_identity(parent))
            dumps.append(_read_dump(parent, path, dumps[-1].missing, page_size))
        finally:
            parent.close()
        regions += len(dumps[-1].chosen)
        if regions > REGIONS_MAX:
            raise ImageError(f"{file.path} has too many regions of memory")
    return dumps


def _identity(file: ImageFile) -> tuple[int, int]:
    """Equal for two names of one file."""
    status = os.fstat(file.fd)
    return status.st_dev, status.st_ino


def _read_dump(
    file: ImageFile,
    path: Path,
    wanted: list[tuple[int, int]] | None,
    page_size: int,
) -> _Dump:
    """What a pagemap has of what is wanted; None: all that it has."""
    pages_id, entries = _read_pagemap(file, page_size)
    chosen: list[tuple[int, int, int]] = []
    missing: list[tuple[int, int]] = []
    for first, end, entry in _chosen(entries, wanted, path):
        if entry.offset is None:
            missing.append((first, end))
        else:
            chosen.append((first, end, entry.offset + first - entry.first))
    stored = sum(entry.pages for entry in entries if entry.offset is not None)
    return _Dump(str(path.with_name(f"pages-{pages_id}.img")), stored, chosen, missing)


def _chosen(
    entries: list[_Pages], wanted: list[tuple[int, int]] | None, pagemap: Path
) -> Iterator[tuple[int, int, _Pages]]:
    """The parts of entries that are wanted, both in order of addresses."""
    if wanted is None:
        for entry in entries:
            yield entry.first, entry.end, entry
        return
    at = 0
    for first, end in wanted:
        while at < len(entries) and entries[at].end <= first:
            at += 1
        look = at
        while first < end:
            if look == len(entries) or entries[look].first > first:
                raise ImageError(
                    f"{pagemap} should have page {first:#x}, which a later dump "
                    "left to it"
                )
            stop = min(entries[look].end, end)
            yield first, stop, entries[look]
            first = stop
            look += 1


def _check_size(file: ImageFile, pages: int, page_size: int) -> None:
    if size_of(file) == pages * page_size:
        return
    size, rest = divmod(size_of(file), pages)
    if not rest and size % 4096 == 0:
        raise ImageError(
            f"{file.path} has {pages} pages of {size} bytes; give --page-size {size}"
        )
    raise ImageError(
        f"{file.path} has {size_of(file)} bytes, not those of {pages} pages"
    )


def _read_pagemap(file: ImageFile, page_size: int) -> tuple[int, list[_Pages]]:
    """The number in the name of the pages file, and the entries by address."""
    if take(file, 0, len(CRIU), "its header") != CRIU:
        raise ImageError(f"{file.path} is no pagemap of CRIU")
    messages = _messages(file, len(CRIU))
    head = _fields(file, next(messages, b""))
    if 1 not in head:
        raise ImageError(f"{file.path} is damaged: it names no pages file")
    entries: list[_Pages] = []
    offset = 0
    for message in messages:
        fields = _fields(file, message)
        address, pages = fields.get(1, 0), fields.get(5, fields.get(2, 0))
        flags = fields.get(4, _PARENT if fields.get(3) else _PRESENT)
        if address % page_size:
            raise ImageError(
                f"{file.path}: address {address:#x} begins no page of {page_size} bytes"
            )
        if not pages:
            continue
        first = address // page_size
        if (entries and first < entries[-1].end) or pages > 1 << 52:
            raise ImageError(
                f"{file.path} is damaged: its entry at {address:#x} overlaps another, "
                "or is out of order"
            )
        if len(entries) == REGIONS_MAX:
            raise ImageError(f"{file.path} has too many entries for any process")
        # in_parent has priority in CRIU's own reader.
        if fields.get(3) or flags & _PARENT:
            entries.append(_Pages(first, pages, None))
        elif flags & _PRESENT:
            entries.append(_Pages(first, pages, offset))
            offset += pages
        else:
            raise ImageError(
                f"{file.path}: the pages at {address:#x} were left to be fetched "
                "lazily, and are not in the image"
            )
    return head[1], entries


def _messages(file: ImageFile, offset: int) -> Iterator[bytes]:
    while offset < size_of(file):
        (size,) = _LENGTH.unpack(take(file, offset, _LENGTH.size, "an entry"))
        if size > _MESSAGE_MAX:
            raise ImageError(f"{file.path} is damaged: an entry has {size} bytes")
        yield take(file, offset + _LENGTH.size, size, "an entry")
        offset += _LENGTH.size + size


def _fields(file: ImageFile, message: bytes) -> dict[int, int]:
    """The numbers of a protobuf message, by field.

    All fields that pagemaps had so far are numbers; pages that newer versions
    compress have a list, which is refused.
    """
    fields: dict[int, int] = {}
    numbers = _varints(file, message)
    for key in numbers:
        if key & 7:
            raise ImageError(
                f"{file.path} has a field of a newer CRIU, perhaps of compressed pages"
            )
        value = next(numbers, None)
        if value is None:
            raise ImageError(f"{file.path} is damaged: an entry is cut off")
        fields[key >> 3] = value
    return fields


def _varints(file: ImageFile, message: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in message:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
        elif shift >= 70:
            break
    if shift:
        raise ImageError(f"{file.path} is damaged: an entry holds no number")
