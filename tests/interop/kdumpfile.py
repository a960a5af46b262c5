# SPDX-License-Identifier: LGPL-2.1-or-later
"""libkdumpfile's reader of dumps, through its C interface (0.4 and later)."""

from __future__ import annotations

import ctypes
import os
from types import TracebackType
from typing import Self

_LIBRARIES = ("libkdumpfile.so.10", "libkdumpfile.so.9", "libkdumpfile.so.12")
_PHYSICAL = 1  # KDUMP_MACHPHYSADDR


def library() -> ctypes.CDLL | None:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


class KdumpFile:
    """A dump; raises ValueError for what the library refuses."""

    def __init__(self, path: str) -> None:
        found = library()
        assert found is not None
        self._library = found
        found.kdump_new.restype = ctypes.c_void_p
        found.kdump_get_err.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p(found.kdump_new())
        self._fd = os.open(path, os.O_RDONLY)
        fds = (ctypes.c_int * 1)(self._fd)
        self._check(found.kdump_open_fdset(self._context, 1, fds))

    def _check(self, status: int) -> None:
        if status:
            reason = self._library.kdump_get_err(self._context).decode()
            self.close()
            raise ValueError(reason)

    def read(self, address: int, size: int) -> bytes:
        buffer, got = ctypes.create_string_buffer(size), ctypes.c_size_t(size)
        self._check(
            self._library.kdump_read(
                self._context,
                _PHYSICAL,
                ctypes.c_uint64(address),
                buffer,
                ctypes.byref(got),
            )
        )
        return buffer.raw[: got.value]

    def close(self) -> None:
        if self._fd >= 0:
            self._library.kdump_free(self._context)
            os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
