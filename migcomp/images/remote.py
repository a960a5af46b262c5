# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images behind a URL: copied, range by range, to an unnamed temporary file.

What is measured afterwards is compression, and not the network.  fsspec knows the
protocols (https, s3, gs, ssh and others), each with a package of its own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from tempfile import TemporaryFile
from typing import Any

from migcomp.errors import ImageError
from migcomp.images.file import ImageFile, Watch, no_room_for_copy

#: Read at a time, and all of it that is ever in memory.
_RANGE = 8 << 20

_TOLD_MOST = 200  # characters of what a protocol says

#: What to do where a URL cannot be opened.
_REMEDIES = {
    errno.ENOENT: "check the URL",
    errno.EISDIR: "name a file in it",
    errno.EACCES: "configure fsspec with a user who may read it",
    errno.ECONNREFUSED: "check host and port, and that the server runs",
}

#: Numbers of errors that protocols raise without, and of what web servers answer.
_NUMBERS: Mapping[type, int] = {
    FileNotFoundError: errno.ENOENT,
    IsADirectoryError: errno.EISDIR,
    PermissionError: errno.EACCES,
}
_STATUSES: Mapping[int | None, int] = {
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
}


def open_url(url: str, watch: Watch | None = None) -> ImageFile:
    """A copy, which takes as much room in ``$TMPDIR`` as the image.

    ``watch`` is told how many bytes are copied.  Raises ImageError.
    """
    with TemporaryFile(buffering=0) as copy:
        for data in _ranges(url):
            try:
                copy.write(data)
            except OSError as error:
                raise no_room_for_copy(url, error) from error
            if watch is not None:
                watch(copy.tell())
        return local_copy(url, copy.fileno(), watch)


def local_copy(url: str, fd: int, watch: Watch | None = None) -> ImageFile:
    """The file again that open_url made; ``fd`` stays the caller's."""
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return ImageFile(url, again, watch)
    except BaseException:
        os.close(again)
        raise


def _ranges(url: str) -> Iterator[bytes]:
    """The content, in order."""
    try:
        url_to_fs = import_module("fsspec.core").url_to_fs
    except ImportError:
        raise ImageError(
            f"reading {url} needs a package: pip install 'migcomp[remote]'"
        ) from None
    try:
        yield from _read(*url_to_fs(url))
    except ImageError:
        raise
    except Exception as error:  # each protocol has errors of its own
        raise ImageError(_failure(url, error)) from error


def _failure(url: str, error: Exception) -> str:
    """A sentence about what a protocol raised."""
    if isinstance(error, ImportError):
        return f"reading {url} needs a package: {error}"
    if (name := _unknown_protocol(url)) is not None:
        return f"{url} cannot be opened: fsspec knows no protocol {name}; check the URL"
    # Of what a server does not give, fsspec says the URL, and its cause why.
    why: Any = (error.__cause__ or error) if str(error) == url else error
    status = getattr(why, "status", None)
    number = (
        getattr(why, "errno", None) or _NUMBERS.get(type(why)) or _STATUSES.get(status)
    )
    # A file of another name is not what was asked for, but a key or the like.
    other = str(getattr(why, "filename", None) or url) not in url
    if number in _REMEDIES and not other:
        return f"{url} cannot be opened: {os.strerror(number)}; {_REMEDIES[number]}"
    # Some tell all that they tried, and some nothing, or the URL again.
    said = getattr(why, "message", None) if status is not None else None
    told = f"the server says {status} {said}" if said else str(why)
    told = " ".join(told.partition("\n")[0].split())[:_TOLD_MOST] or type(why).__name__
    if told == url:
        told = "it is no URL that leads anywhere"
    return f"{url} cannot be read: {told}"


def _unknown_protocol(url: str) -> str | None:
    """Its name; None for one that fsspec knows."""
    name = url.partition("://")[0].rpartition("::")[2]
    known = import_module("fsspec.registry").available_protocols()
    return None if name in known else name


def _read(system: Any, path: str) -> Iterator[bytes]:
    done = 0
    with system.open(path, "rb", block_size=_RANGE, cache_type="none") as file:
        size = getattr(file, "size", None)
        try:
            while data := file.read(_RANGE):
                done += len(data)
                yield data
        except ValueError:
            # So fsspec tells of a web server that knows no ranges.
            for data in _read_through(system, path, done):
                done += len(data)
                yield data
    if size is not None and done != size:
        raise ValueError(f"it ended after {done} of {size} bytes")


def _read_through(system: Any, path: str, skipped: int) -> Iterator[bytes]:
    """From the beginning, in one go, without the first bytes."""
    with system.open(path, "rb", block_size=0) as file:
        while data := file.read(_RANGE):
            kept = data[skipped:]
            skipped -= len(data) - len(kept)
            if kept:
                yield kept
