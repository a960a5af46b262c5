# SPDX-License-Identifier: LGPL-2.1-or-later
"""A raw snapshot and the diffs made after it, as Firecracker writes them: files
of the same size, whose holes stand for memory that did not change.

Source: Firecracker's ``docs/snapshotting/snapshot-support.md``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from migcomp import _core
from migcomp.errors import ImageError
from migcomp.images.file import ImageFile, open_file
from migcomp.images.headers import size_of
from migcomp.images.mapped import MappedImage
from migcomp.images.raw import RawImage

#: Stretches of data in one file; more are no sparse file but a crumbled one.
STRETCHES_MAX = 1 << 20

#: Pages that lie in one of the files: (first page, end, number of the file).
_Stretch = tuple[int, int, int]


def open_merged(image: RawImage, file: ImageFile, paths: Sequence[str]) -> MappedImage:
    """``image``, which lies in ``file``, with the diffs in ``paths`` laid over it,
    the oldest first.

    Raises ImageError; ``file`` is the merged image's unless it does.
    """
    page_size = image.page_size
    if image.page_map is None:
        raise ImageError(
            f"{file.path} is no file of whole pages, and cannot have diffs"
        )
    with ExitStack() as stack:
        files = [file]
        for path in paths:
            diff = open_file(path)
            stack.callback(diff.close)
            _check(files, diff)
            files.append(diff)
        layers: list[_Stretch] = []
        for number, layer in enumerate(files):
            layers = list(_overlay(layers, list(_data(layer, number, page_size))))
        page_map = _core.PageMap(
            tuple(layer.map() for layer in files),
            [
                (first, end - first, n * size_of(file) + first * page_size)
                for first, end, n in layers
            ],
            page_size,
            True,
            pages=image.pages or 0,
        )
    facts = {"diffs": [{"file": path} for path in paths]}
    return MappedImage(file, image.format, image.blocks, page_map, page_size, facts)


def _check(files: list[ImageFile], diff: ImageFile) -> None:
    """Raises ImageError for what can be no diff of the files before it."""
    base = files[0]
    if diff.size is None or not stat.S_ISREG(os.fstat(diff.fd).st_mode):
        raise ImageError(f"{diff.path} is no file, and has no holes to tell changes by")
    if diff.size != base.size:
        raise ImageError(
            f"{diff.path} has {diff.size} bytes, but {base.path}, whose diff it should "
            f"be, {base.size}"
        )
    status = os.fstat(diff.fd)
    for file in files:
        other = os.fstat(file.fd)
        if (status.st_dev, status.st_ino) == (other.st_dev, other.st_ino):
            raise ImageError(f"{diff.path} is {file.path}, and no diff of it")
    try:
        hole = os.lseek(diff.fd, 0, os.SEEK_HOLE)
    except OSError as error:
        raise ImageError(f"{diff.path} cannot be read: {error.strerror}") from error
    if hole == diff.size:
        raise ImageError(
            f"{diff.path} has no holes, so that its unchanged memory cannot be told "
            "from zeros; if all of it is memory, name it as the image, else copy the "
            "diff anew with cp --sparse=auto or tar -S"
        )


def _data(file: ImageFile, number: int, page_size: int) -> Iterator[_Stretch]:
    """What a file has data for, in whole pages."""
    size = size_of(file)
    position = last = count = 0
    while position < size:
        data, position = file.data_after(position, size)
        first = max(data // page_size, last)
        last = -(-position // page_size)
        if first >= last:
            continue
        count += 1
        if count > STRETCHES_MAX:
            raise ImageError(f"{file.path} has more than {STRETCHES_MAX} holes")
        yield first, last, number
    file.check_size(size)


def _overlay(below: list[_Stretch], above: list[_Stretch]) -> Iterator[_Stretch]:
    """Both in order; where both have pages, those of ``above`` count."""
    at = 0
    for first, end, number in below:
        while at < len(above) and above[at][1] <= first:
            yield above[at]
            at += 1
        while first < end and at < len(above) and above[at][0] < end:
            if above[at][0] > first:
                yield first, above[at][0], number
            first = above[at][1]
            if first >= end:
                break  # it may reach into the next stretch below
            yield above[at]
            at += 1
        if first < end:
            yield first, end, number
    yield from above[at:]
