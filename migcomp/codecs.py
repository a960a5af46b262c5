# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which codecs there are, and which library does the work of each.

Libraries are looked for at run time.  An environment variable overrides the
search: a path, or ``none`` to switch the provider off.

=========== ==================== =====================================
codec       provider             override
=========== ==================== =====================================
zstd        libzstd              ``MIGCOMP_LIBZSTD``
lz4         liblz4               ``MIGCOMP_LIBLZ4``
zlib        libdeflate, libz     ``MIGCOMP_LIBDEFLATE``, ``MIGCOMP_LIBZ``
none        built in
lzo         liblzo2              ``MIGCOMP_LIBLZO2``
snappy      libsnappy            ``MIGCOMP_LIBSNAPPY``
=========== ==================== =====================================

The last two only read what others wrote.  Without a native library, zstd, zlib,
lzo and snappy are done by the Python packages ``zstandard``, ``zlib``,
``lzallright`` and ``cramjam`` through the same queue.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from migcomp import _core
from migcomp.errors import CodecUnavailable
from migcomp.results import CodecInfo

CODECS = ("zstd", "lz4", "zlib", "none")
#: What others compressed with: these are only read.
READ_CODECS = ("lzo", "snappy")
GROUPINGS = ("page", "packet", "stream")

#: Of a codec in Python named by the user; what follows is its specification.
HANDLER_PREFIX = "python:"


@dataclass(frozen=True)
class _Search:
    """Where a provider's library may be; ``package`` is Debian's name."""

    codec: str
    provider: str
    override: str
    soname: str
    package: str


_SEARCHES = (
    _Search("zstd", "libzstd", "MIGCOMP_LIBZSTD", "libzstd.so.1", "libzstd1"),
    _Search("lz4", "liblz4", "MIGCOMP_LIBLZ4", "liblz4.so.1", "liblz4-1"),
    _Search(
        "zlib", "libdeflate", "MIGCOMP_LIBDEFLATE", "libdeflate.so.0", "libdeflate0"
    ),
    _Search("zlib", "libz", "MIGCOMP_LIBZ", "libz.so.1", "zlib1g"),
    _Search("lzo", "liblzo2", "MIGCOMP_LIBLZO2", "liblzo2.so.2", "liblzo2-2"),
    _Search(
        "snappy", "libsnappy", "MIGCOMP_LIBSNAPPY", "libsnappy.so.1", "libsnappy1v5"
    ),
)


@dataclass(frozen=True)
class Provider:
    """A library that was looked for; ``problem`` says why it is no use.

    ``chosen``: it is the one for its codec, in groupings page and packet.
    """

    codec: str
    provider: str
    version: str
    path: str
    level_min: int
    level_max: int
    level_default: int
    streaming: bool
    chosen: bool
    problem: str = ""


@dataclass(frozen=True)
class Codec:
    """A codec at a level, ready for a handler.

    ``notice`` is a sentence for the user when it is not what he would expect.
    """

    name: str
    level: int
    library: _core.Library
    notice: str = ""

    @property
    def info(self) -> CodecInfo:
        library = self.library
        return CodecInfo(self.name, library.provider, library.version, library.path)


# --- Codecs in Python --------------------------------------------------------


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
class _PythonCodec:
    package: str
    factory: Callable[[int], object]
    level_min: int
    level_max: int


_PYTHON_CODECS = {
    "zstd": _PythonCodec("zstandard", _ZstandardCodec, -131072, 22),
    "zlib": _PythonCodec("zlib", _ZlibCodec, 0, 9),
    "lzo": _PythonCodec("lzallright", _LzoCodec, 1, 1),
    "snappy": _PythonCodec("cramjam", _SnappyCodec, 1, 1),
}


def _resolve_factory(specification: str) -> Callable[[int], object]:
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


# --- Looking for libraries -----------------------------------------------------


def _wheel_library(package: str, pattern: str) -> Iterator[str]:
    """A library that a Python package carries along, without importing it."""
    specification = importlib.util.find_spec(package)
    for folder in (specification and specification.submodule_search_locations) or ():
        yield from map(str, sorted(Path(folder).glob(pattern)))


def _candidates(search: _Search) -> Iterator[str]:
    override = os.environ.get(search.override)
    if override:
        if override != "none":
            yield override
        return
    yield search.soname
    if search.provider == "libzstd":
        # Exported by accident of how it is built: it may be gone tomorrow,
        # and binding tells.
        yield from _wheel_library("zstandard", "_cffi*.so")


def _bind_all(search: _Search) -> tuple[list[_core.Library], list[tuple[str, str]]]:
    """The usable libraries, and (path, problem) of the others."""
    usable, problems = [], []
    for path in _candidates(search):
        try:
            usable.append(_core.bind(search.provider, path))
        except CodecUnavailable as error:
            problems.append((path, str(error)))
    if os.environ.get(search.override) == "none":
        problems.append(("", f"switched off by {search.override}=none"))
    return usable, problems


def _best(libraries: list[_core.Library]) -> _core.Library:
    # max keeps the first of equals: the system's library, which gets its
    # security updates without us.
    return max(libraries, key=lambda library: library.version_number)


def _native(codec: str, streaming: bool) -> _core.Library | None:
    for search in _SEARCHES:
        if search.codec != codec:
            continue
        usable, _ = _bind_all(search)
        usable = [library for library in usable if library.streaming or not streaming]
        if usable:
            return _best(usable)
    return None


def open_codec(
    name: str,
    *,
    level: int | None = None,
    grouping: str = "page",
    handler: str = "",
) -> Codec:
    """The codec ``name``, or the one that ``handler`` specifies, at ``level``.

    Raises CodecUnavailable when there is none, or not at that level.
    """
    if handler:
        if grouping == "stream":
            raise CodecUnavailable(
                "grouping stream needs a native library, and not a handler in Python; "
                "use grouping packet"
            )
        library = _core.python_library(
            HANDLER_PREFIX + handler, handler, _resolve_factory(handler)
        )
        return _at_level(library, level)
    if name == "none":
        return _at_level(_core.bind("built in", ""), level)
    if name not in CODECS:
        raise CodecUnavailable(
            f"there is no codec {name!r}; there are {', '.join(CODECS)}"
        )
    native = _native(name, grouping == "stream")
    if native is not None:
        return _at_level(native, level)
    return _fallback(name, level, grouping)


def decoder(name: str) -> _core.Library:
    """What decompresses blocks of ``name``, one of CODECS or READ_CODECS.

    Raises CodecUnavailable.
    """
    return _native(name, False) or _fallback(name, None, "page").library


def _at_level(library: _core.Library, level: int | None, notice: str = "") -> Codec:
    if level is None:
        level = library.level_default
    if not library.level_min <= level <= library.level_max:
        raise CodecUnavailable(
            f"{library.codec} has levels {library.level_min} to "
            f"{library.level_max}, not {level}"
        )
    return Codec(library.codec, level, library, notice)


def _fallback(name: str, level: int | None, grouping: str) -> Codec:
    packages = " or ".join(s.package for s in _SEARCHES if s.codec == name)
    python = _PYTHON_CODECS.get(name)
    if python is None or importlib.util.find_spec(python.package) is None:
        raise CodecUnavailable(
            f"no library for {name} was found; install Debian's package {packages}"
            + (", or pip install 'migcomp[dumps]'" if name in READ_CODECS else "")
        )
    if grouping == "stream":
        raise CodecUnavailable(
            f"grouping stream needs a native library for {name}; "
            f"install Debian's package {packages}, or use grouping packet"
        )
    if level is not None and not python.level_min <= level <= python.level_max:
        raise CodecUnavailable(
            f"{name} has levels {python.level_min} to {python.level_max}, not {level}"
        )
    return _at_level(
        _core.python_library(name, python.package, python.factory),
        level,
        f"no native library for {name}: the Python package {python.package} does "
        f"the work, more slowly (Debian's package {packages} is the remedy)",
    )


def providers() -> list[Provider]:
    """Every library that was looked for, in the order of preference."""
    found: list[Provider] = []
    for search in _SEARCHES:
        usable, problems = _bind_all(search)
        best = _best(usable) if usable else None
        taken = any(p.codec == search.codec and p.chosen for p in found)
        for library in usable:
            found.append(
                Provider(
                    library.codec,
                    library.provider,
                    library.version,
                    library.path,
                    library.level_min,
                    library.level_max,
                    library.level_default,
                    library.streaming,
                    chosen=library is best and not taken,
                )
            )
        for path, problem in problems:
            remedy = f"{problem}; Debian's package is {search.package}"
            found.append(
                Provider(
                    search.codec,
                    search.provider,
                    "",
                    path,
                    0,
                    0,
                    0,
                    False,
                    False,
                    remedy,
                )
            )
    none = _core.bind("built in", "")
    found.append(
        Provider(none.codec, none.provider, "", "", 0, 0, 0, False, chosen=True)
    )
    return found
