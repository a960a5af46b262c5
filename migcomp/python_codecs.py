# SPDX-License-Identifier: LGPL-2.1-or-later
"""Codecs in Python: those that stand in for a library, and the user's own.

Each is called on the workqueue's threads, through the core.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from migcomp.errors import CodecUnavailable


def _zstandard_version() -> str:
    import zstandard

    return ".".join(map(str, zstandard.ZSTD_VERSION))


def _no_version() -> str:
    return ""


def _zlib_version() -> str:
    import zlib

    return zlib.ZLIB_RUNTIME_VERSION


class _ZstandardCodec:
    def __init__(self, level: int) -> None:
        import zstandard

        self._compressor = zstandard.ZstdCompressor(level=level)
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 23)
        self._content_size = zstandard.frame_content_size

    def compress(self, pages: memoryview) -> bytes:
        return self._compressor.compress(pages)

    def decompress(self, data: memoryview, size: int) -> bytes:
        # It would allocate what the frame says, whatever the maximum.
        if self._content_size(data) not in (size, -1):
            raise ValueError("malformed block")
        return self._decompressor.decompress(data, max_output_size=size)


class _ZlibCodec:
    def __init__(self, level: int) -> None:
        self._level = level

    def compress(self, pages: memoryview) -> bytes:
        import zlib

        return zlib.compress(pages, self._level)

    def decompress(self, data: memoryview, size: int) -> bytes:
        import zlib

        inflater = zlib.decompressobj()
        pages = inflater.decompress(data, size)
        if inflater.unconsumed_tail or not inflater.eof or inflater.unused_data:
            raise ValueError("malformed block")
        return pages


class _LzoCodec:
    def __init__(self, level: int) -> None:
        import lzallright

        self._lzo = lzallright.LZOCompressor()

    def compress(self, pages: memoryview) -> bytes:
        return self._lzo.compress(pages)

    def decompress(self, data: memoryview, size: int) -> bytes:
        # It takes the size for a hint, but no block grows to 256 times its size.
        return self._lzo.decompress(data, size)


class _SnappyCodec:
    def __init__(self, level: int) -> None:
        import cramjam

        self._snappy = cramjam.snappy

    def compress(self, pages: memoryview) -> bytes:
        return bytes(self._snappy.compress_raw(pages))

    def decompress(self, data: memoryview, size: int) -> bytes:
        pages = bytearray(size)
        written = self._snappy.decompress_raw_into(data, pages)
        return bytes(pages[:written])


@dataclass(frozen=True)
class PythonCodec:
    """``version`` is that of the library inside ``package``."""

    package: str
    factory: Callable[[int], object]
    version: Callable[[], str]
    level_min: int
    level_max: int
    level_default: int = 1


PYTHON_CODECS = {
    "zstd": PythonCodec("zstandard", _ZstandardCodec, _zstandard_version, -131072, 22),
    "zlib": PythonCodec("zlib", _ZlibCodec, _zlib_version, 0, 9),
    "lzo": PythonCodec("lzallright", _LzoCodec, _no_version, 1, 1),
    "snappy": PythonCodec("cramjam", _SnappyCodec, _no_version, 1, 1),
}


def resolve_factory(specification: str) -> Callable[[int], object]:
    module_name, _, attribute = specification.partition(":")
    if not module_name or not attribute:
        raise CodecUnavailable(
            f"{specification!r} is not of the form package.module:factory"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        # Importing runs the user's code, which may raise anything.
        raise CodecUnavailable(
            f"the handler {specification!r} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not callable(factory):
        raise CodecUnavailable(f"the handler {specification!r} is not callable")

    def make(level: int) -> object:
        try:
            return factory(level)
        except Exception as error:
            raise CodecUnavailable(
                f"the handler {specification!r} cannot be made for level {level}: "
                f"{type(error).__name__}: {error}"
            ) from error

    return make
