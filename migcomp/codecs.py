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

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from migcomp import _core
from migcomp.errors import CodecUnavailable, LevelUnknown
from migcomp.results import CodecInfo

if TYPE_CHECKING:
    from migcomp.python_codecs import PythonCodec

CODECS = ("zstd", "lz4", "zlib", "none")
#: What others compressed with: these are only read.
READ_CODECS = ("lzo", "snappy")
GROUPINGS = ("page", "packet", "stream")

#: Of a codec in Python named by the user; what follows is its specification.
HANDLER_PREFIX = "python:"

#: Stands for the path of a library.
_PYTHON_PATH = "Python package"


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

    ``native``: it is called from the core, and not through Python.  ``chosen``:
    it is the one for its codec, in groupings page and packet.
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
    native: bool = True


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
        usable, problems = _bind_all(search)
        if problems and os.environ.get(search.override, "none") not in ("", "none"):
            # Whoever names a library does not want another one measured.
            raise CodecUnavailable(
                f"the library that {search.override} names cannot be used: "
                f"{problems[0][1]}; correct it, or unset it"
            )
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

    Raises CodecUnavailable when there is none, LevelUnknown if not at that level.
    """
    if handler:
        from migcomp.python_codecs import resolve_factory

        if grouping == "stream":
            raise CodecUnavailable(
                "grouping stream needs a native library, and not a handler in Python; "
                "use grouping packet"
            )
        library = _core.python_library(
            HANDLER_PREFIX + handler, "python", "", handler, resolve_factory(handler)
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


def _at_level(library: _core.Library, level: int | None) -> Codec:
    if level is None:
        level = library.level_default
    _check_level(library.codec, level, library.level_min, library.level_max)
    return Codec(library.codec, level, library)


def _check_level(codec: str, level: int, least: int, most: int) -> None:
    if least <= level <= most:
        return
    if least == most:
        raise LevelUnknown(
            f"{codec} has only level {least}, not {level}; leave the level out"
        )
    raise LevelUnknown(f"{codec} has levels {least} to {most}, not {level}")


def _fallback(name: str, level: int | None, grouping: str) -> Codec:
    from migcomp.python_codecs import PYTHON_CODECS

    packages = " or ".join(s.package for s in _SEARCHES if s.codec == name)
    python = PYTHON_CODECS.get(name)
    if python is None or importlib.util.find_spec(python.package) is None:
        overrides = [s.override for s in _SEARCHES if s.codec == name]
        off = [f"{o}=none" for o in overrides if os.environ.get(o) == "none"]
        remedy = f"install Debian's package {packages}"
        raise CodecUnavailable(
            f"no library for {name} was found; "
            + (f"do without {' and '.join(off)}" if off else remedy)
            + (", or pip install 'migcomp[dumps]'" if name in READ_CODECS else "")
        )
    if grouping == "stream":
        raise CodecUnavailable(
            f"grouping stream needs a native library for {name}; "
            f"install Debian's package {packages}, or use grouping packet"
        )
    if level is None:
        level = python.level_default
    _check_level(name, level, python.level_min, python.level_max)
    return Codec(
        name,
        level,
        _core.python_library(
            name, python.package, python.version(), _PYTHON_PATH, python.factory
        ),
        f"no native library for {name}: the Python package {python.package} does "
        f"the work, more slowly (Debian's package {packages} is the remedy)",
    )


def providers() -> list[Provider]:
    """Every library that was looked for, by codec and in the order of preference,
    and last what takes the place of one that is missing."""
    from migcomp.python_codecs import PYTHON_CODECS

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
    for name, python in PYTHON_CODECS.items():
        taken = any(p.codec == name and p.chosen for p in found)
        found.append(_python_provider(name, python, chosen=not taken))
    found.sort(key=lambda provider: (*CODECS, *READ_CODECS).index(provider.codec))
    none = _core.bind("built in", "")
    found.append(
        Provider(none.codec, none.provider, "", "", 0, 0, 0, False, chosen=True)
    )
    return found


def _python_provider(name: str, python: PythonCodec, *, chosen: bool) -> Provider:
    missing = importlib.util.find_spec(python.package) is None
    return Provider(
        name,
        python.package,
        "" if missing else python.version(),
        _PYTHON_PATH,
        python.level_min,
        python.level_max,
        python.level_default,
        streaming=False,
        chosen=chosen and not missing,
        problem=f"install the Python package {python.package}" if missing else "",
        native=False,
    )
