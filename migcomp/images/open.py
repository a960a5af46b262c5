# SPDX-License-Identifier: LGPL-2.1-or-later
"""Opens an image of any format, which signatures.py tells.

A format's reader is a module of this package that is a :class:`Reader`, imported
only when it is needed.  What has no signature is raw memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from migcomp.errors import ImageError
from migcomp.images.file import STANDARD_INPUT, ImageFile, Watch, open_file
from migcomp.images.image import Image
from migcomp.images.raw import DEFAULT_PAGE_SIZE, RawImage, check_page_size, open_raw
from migcomp.images.signatures import (
    CLOUD_HYPERVISOR_MEMORY,
    OTHERS,
    SIGNATURES,
    VMWARE_MEMORY,
    Signature,
)
from migcomp.results import Block


class Reader(Protocol):
    """What a module that reads a format has."""

    FORMAT: str

    def open_file(self, file: ImageFile, page_size: int) -> Image:
        """``file`` is a file, and is the image's from then on, unless this raises.

        ``page_size`` counts where the format does not tell it.  Raises
        ImageError.
        """


def formats() -> tuple[str, ...]:
    return (RawImage.format, *(signature.format for signature in SIGNATURES))


def open_image(
    path: str,
    *,
    page_size: int = DEFAULT_PAGE_SIZE,
    layout: Sequence[Block] = (),
    pad: bool = False,
    format: str | None = None,
    diffs: Sequence[str] = (),
    watch: Watch | None = None,
) -> Image:
    """Opens the image ``path``, or standard input for ``-``.

    ``format`` is one of formats(); None: what the content tells.  ``page_size``,
    ``layout`` (the RAM blocks that lie back to back) and ``pad`` (accept a last
    page that is cut off) describe what the format itself does not: a raw image.
    ``diffs`` are laid over a raw image, the oldest first.  What is no raw image
    and comes through a pipe is copied to an unnamed temporary file.  ``path`` may
    be the folder of a snapshot.  ``watch`` is told, now and then, how many bytes of
    the file were gone through, where that may take long.  Raises ImageError.
    """
    check_page_size(page_size)
    file = open_file(image_path(path), watch)
    try:
        return image_in(
            file,
            page_size=page_size,
            layout=layout,
            pad=pad,
            format=format,
            diffs=diffs,
        )
    except BaseException:
        file.close()
        raise


def image_path(path: str) -> str:
    """The file to open for ``path``, which may be the folder of a snapshot.

    Raises ImageError for one of several processes.
    """
    if path == STANDARD_INPUT or not Path(path).is_dir():
        return path
    from migcomp.images import cloud_hypervisor, criu

    return cloud_hypervisor.memory_in(path) or criu.pagemap_in(path) or path


def image_in(
    file: ImageFile,
    *,
    page_size: int = DEFAULT_PAGE_SIZE,
    layout: Sequence[Block] = (),
    pad: bool = False,
    format: str | None = None,
    diffs: Sequence[str] = (),
) -> Image:
    """As open_image; ``file`` stays the caller's if this raises."""
    reader = _reader(file, format)
    if reader is None:
        guess = format is None and not layout and file.path != STANDARD_INPUT
        name = Path(file.path) if guess else Path()
        if name.suffix == VMWARE_MEMORY:
            from migcomp.images import vmware

            if state := vmware.state_beside(file):
                with closing(state):
                    if diffs:
                        raise ImageError(
                            f"{file.path} is laid out by {state.path}, and cannot "
                            "have diffs; --format raw takes it as plain memory"
                        )
                    return vmware.open_laid_out(file, state, page_size)
        blocks: Sequence[Block] = ()
        if name.name == CLOUD_HYPERVISOR_MEMORY:
            from migcomp.images import cloud_hypervisor

            blocks = cloud_hypervisor.blocks_beside(file.path, page_size)
        raw = open_raw(file, page_size=page_size, layout=layout or blocks, pad=pad)
        if blocks:
            raw.format = cloud_hypervisor.FORMAT
        if not diffs:
            return raw
        from migcomp.images.diffs import open_merged

        return open_merged(raw, file, diffs)
    if diffs:
        raise ImageError(f"{file.path} is {reader.FORMAT}, and cannot have diffs")
    if layout:
        raise ImageError(
            f"{file.path} has RAM blocks of its own, being {reader.FORMAT}; leave out "
            "--block, or say --format raw"
        )
    if file.size is not None:
        return reader.open_file(file, page_size)
    copy = file.spool(copied=file.watch)
    try:
        image = reader.open_file(copy, page_size)
    except BaseException:
        copy.close()
        raise
    file.close()
    return image


def _reader(file: ImageFile, format: str | None) -> Reader | None:
    """None stands for raw."""
    signature = _named(file, format) if format is not None else _signature(file)
    if signature is None:
        return None
    return cast(Reader, import_module(f"{__package__}.{signature.reader}"))


def _named(file: ImageFile, format: str) -> Signature | None:
    if format not in formats():
        raise ImageError(
            f"there is no format {format!r}; there are {', '.join(formats())}"
        )
    named = next((s for s in SIGNATURES if s.format == format), None)
    if named is not None and not named.recognises(file.head):
        raise ImageError(
            f"{file.path} does not begin as {format} does; leave out --format"
        )
    return named


def _signature(file: ImageFile) -> Signature | None:
    for signature in SIGNATURES:
        if signature.recognises(file.head):
            return signature
    for magic, what in OTHERS:
        if file.head.startswith(magic):
            raise ImageError(
                f"{file.path} is {what} (--format raw takes it as memory all the same)"
            )
    return None
