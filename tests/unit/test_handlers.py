# SPDX-License-Identifier: LGPL-2.1-or-later
"""Codecs in Python: the user's own, and those that stand in for a library."""

from __future__ import annotations

from types import TracebackType
from typing import cast

import pytest

from migcomp.choice import Choice
from migcomp.codecs import open_codec
from migcomp.errors import (
    CodecUnavailable,
    WorkerError,
)
from tests.conftest import KINDS, PAGE, compressed, make_pages, restored
from tests.stream_anatomy import decode

DATA = make_pages(*((kind, n % 3) for n in range(30) for kind in KINDS))


# --- Handlers in Python ------------------------------------------------------------


class Reverse:
    """Shrinks by leaving out the second half of pages that repeat it."""

    kept: list[memoryview] = []  # noqa: RUF012
    levels: list[int] = []  # noqa: RUF012

    def __init__(self, level: int) -> None:
        self.levels.append(level)

    def compress(self, pages: memoryview) -> bytes:
        import zlib

        return zlib.compress(pages, 1)[::-1]

    def decompress(self, data: memoryview, size: int) -> bytearray:
        import zlib

        return bytearray(zlib.decompress(bytes(data)[::-1]))


class Keeping(Reverse):
    def compress(self, pages: memoryview) -> bytes:
        self.kept += [pages, pages[100:200]]
        return super().compress(pages)


class Growing(Reverse):
    def compress(self, pages: memoryview) -> bytes:
        return bytes(pages) + b"more"


class FailingOnText(Reverse):
    def compress(self, pages: memoryview) -> bytes:
        if bytes(pages) == make_pages(("text", 99)):
            raise LookupError("cannot stand this text")
        return super().compress(pages)


class NotBytes(Reverse):
    def compress(self, pages: memoryview) -> bytes:
        return cast(bytes, "text")


def failing_factory(level: int) -> object:
    raise OSError(f"no level {level} today")


def of(name: str) -> str:
    return f"{__name__}:{name}"


@pytest.mark.parametrize("grouping", ["page", "packet"])
@pytest.mark.parametrize("dedup", [False, True])
@pytest.mark.parametrize("name", ["Reverse", "Keeping", "Growing"])
def test_a_handler_in_python(grouping: str, dedup: bool, name: str) -> None:
    streams = set()
    for threads in (1, 3):
        stream, result = compressed(
            DATA,
            Choice(
                handler=of(name),
                level=7,
                grouping=grouping,
                dedup=dedup,
                threads=threads,
                packet_pages=8,
            ),
        )
        streams.add(stream)
        assert result.codec.name == f"python:{of(name)}"
        assert bool(result.pages.compressed) == (name != "Growing")
    assert len(streams) == 1
    assert 7 in Reverse.levels
    assert restored(stream, handler=of(name), threads=3) == DATA


def test_what_a_handler_keeps_stays_what_it_was() -> None:
    Keeping.kept.clear()
    data = make_pages(*(("rows", n) for n in range(40)))
    choice = Choice(handler=of("Keeping"), grouping="page", threads=1)
    compressed(data, choice)
    compressed(make_pages("noise") * 40, choice)
    whole, parts = Keeping.kept[0:80:2], Keeping.kept[1:80:2]
    assert b"".join(whole) == data
    assert [bytes(part) for part in parts] == [bytes(v[100:200]) for v in whole]
    Keeping.kept.clear()


@pytest.mark.parametrize("dedup", [False, True])
def test_a_handler_that_fails_on_a_page(dedup: bool) -> None:
    data = DATA + make_pages(("text", 99)) + DATA
    page = len(DATA) // PAGE
    choice = Choice(
        handler=of("FailingOnText"), grouping="page", threads=2, dedup=dedup
    )
    with pytest.raises(WorkerError, match=f"failed on page {page} of") as caught:
        compressed(data, choice)
    message = str(caught.value)
    assert f"python:{of('FailingOnText')} level 1" in message
    assert message.endswith("LookupError: cannot stand this text")
    cause = caught.value.__cause__
    assert isinstance(cause, LookupError)
    frame: TracebackType | None = cause.__traceback__
    names = []
    while frame:
        names.append(frame.tb_frame.f_code.co_name)
        frame = frame.tb_next
    assert names == ["compress"]


def test_a_handler_that_returns_something_else() -> None:
    with pytest.raises(WorkerError, match="bytes-like object is required"):
        compressed(DATA, Choice(handler=of("NotBytes")))


def test_a_factory_that_fails() -> None:
    with pytest.raises(CodecUnavailable, match="OSError: no level 3 today") as caught:
        compressed(DATA, Choice(handler=of("failing_factory"), level=3))
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    "handler", ["no.such.module:x", of("absent"), "justaname", ":x", "x:", of("DATA")]
)
def test_no_handler(handler: str) -> None:
    with pytest.raises(CodecUnavailable, match=r"handler|not of the form"):
        compressed(DATA, Choice(handler=handler))


def test_a_handler_has_no_history() -> None:
    with pytest.raises(CodecUnavailable, match="use grouping packet"):
        compressed(DATA, Choice(handler=of("Reverse"), grouping="stream"))


# --- Without a native library --------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "package", "switches"),
    [
        ("zstd", "zstandard", ["MIGCOMP_LIBZSTD"]),
        ("zlib", "zlib", ["MIGCOMP_LIBDEFLATE", "MIGCOMP_LIBZ"]),
    ],
)
@pytest.mark.parametrize("grouping", ["page", "packet"])
def test_the_fallback_and_the_native_library_read_each_other(
    codec: str,
    package: str,
    switches: list[str],
    grouping: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choice = Choice(codec, grouping=grouping, dedup=True, threads=2)
    native, by_library = compressed(DATA, choice)
    assert open_codec(codec).notice == ""
    assert by_library.codec.provider != package
    for switch in switches:
        monkeypatch.setenv(switch, "none")
    notice = open_codec(codec).notice
    assert f"no native library for {codec}" in notice
    assert f"package {package} does the work" in notice
    fallback, by_package = compressed(DATA, choice)
    assert by_package.codec.provider == package
    assert by_package.pages == by_library.pages
    assert decode(fallback).image == DATA
    assert restored(native) == DATA
    with pytest.raises(CodecUnavailable, match="needs a native library"):
        compressed(DATA, Choice(codec, grouping="stream"))
    monkeypatch.undo()
    assert restored(fallback) == DATA


def test_lz4_has_no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGCOMP_LIBLZ4", "none")
    with pytest.raises(CodecUnavailable, match="do without MIGCOMP_LIBLZ4=none"):
        compressed(DATA, Choice("lz4"))
