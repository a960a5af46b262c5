# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams that promise, or hide, more than they hold."""

from __future__ import annotations

import errno
import struct
from functools import cache

import pytest
import zstandard

from migcomp.errors import CodecUnavailable, MigcompError, StreamError
from tests.conftest import PAGE, restored, salvage_unread, salvaged
from tests.stream_anatomy import END, HEADER, INDEX, PAGES, ZEROS, Anatomy, Rec, sealed

pytestmark = pytest.mark.usefixtures("bounded_memory")

MIB = 1 << 20
MAGIC = b"\x89MIGC\r\n\x1a"
REFUSALS = (StreamError, CodecUnavailable)


def end_of(pages: int) -> Rec:
    """An END that agrees with the rest as far as it can."""
    body = struct.pack("<QQ5QQQI", pages, 0, pages, *[0] * 6, 1)
    return Rec(END, pages, 0, body + struct.pack("<QI", pages * PAGE, 0))


def a_header(
    *, grouping: int = 1, packet: int = 1024, codec: bytes = b"zstd", length: int
) -> bytes:
    channels = 1 if grouping == 2 else 0
    texts = b"".join(bytes([len(t)]) + t for t in (codec, b"x", b"1"))
    block = struct.pack("<IQQH", 1, 0, length, 3) + b"ram"
    size = HEADER.size + len(texts) + len(block) + 8
    fixed = HEADER.pack(MAGIC, 1, 0, size, PAGE, grouping, 0, channels, packet, 1)
    return sealed(fixed + texts + block)


def bomb(wide: bool) -> bytes:
    """A zstd frame of a few bytes or KiB that yields 1 GiB."""
    if wide:  # a frame header that wants a window of 2 GiB
        return b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3]) + b"\x01\x00\x00"
    maker = zstandard.ZstdCompressor(level=1).compressobj(size=1 << 30)
    return b"".join([*(maker.compress(bytes(MIB)) for _ in range(1024)), maker.flush()])


@cache
def bombs() -> tuple[bytes, bytes]:
    return bomb(False), bomb(True)


@pytest.mark.parametrize("grouping", [0, 1, 2])
@pytest.mark.parametrize("provider", ["native", "fallback"])
def test_bombs(grouping: int, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if provider == "fallback":
        monkeypatch.setenv("MIGCOMP_LIBZSTD", "none")
    for frame in bombs():
        frame = frame[:60000] if grouping == 0 else frame
        size = struct.pack("<H", len(frame)) if grouping == 0 else b""
        header = a_header(grouping=grouping, length=PAGE)
        rec = Rec(PAGES, 0, 1, b"\x04" + size + frame)
        whole = Anatomy(header, [rec, Rec(INDEX, 0, 0), end_of(1)])
        with pytest.raises(MigcompError) as caught:
            restored(whole.pack_indexed())
        if provider == "fallback" and grouping == 2:
            assert isinstance(caught.value, CodecUnavailable)
            continue
        # Refused by the codec, and not for lack of memory.
        assert isinstance(caught.value, StreamError)
        assert ": page 0: " in str(caught.value)
        assert "MemoryError" not in str(caught.value)
        assert "not enough memory" not in str(caught.value)


@pytest.mark.parametrize("length", [1 << 62, (1 << 62) + PAGE, (1 << 64) - PAGE])
def test_an_image_of_exbibytes(length: int) -> None:
    pages = length // PAGE
    rec = Rec(PAGES, 0, 1, b"\x01" + b"12345678")
    huge = Anatomy(a_header(length=length), [rec, end_of(pages)])
    unknown = Anatomy(a_header(length=(1 << 64) - 1), huge.records)
    far = Rec(PAGES, pages - 1, 1, b"\x01" + b"12345678")
    gap = Anatomy(unknown.header, [rec, far])
    for whole in (huge, unknown, gap):
        with pytest.raises(StreamError):
            restored(whole.pack())
        reason: int | None = None
        try:
            salvage_unread(whole.pack())
        except REFUSALS:
            pass
        except OSError as error:
            reason = error.errno
        # No file can be so long.
        assert reason in (None, errno.EFBIG, errno.EINVAL)


def test_lengths_that_are_not_there() -> None:
    for kind in (PAGES, INDEX, END, 200):
        for size in (1 << 20, 1 << 28, (1 << 32) - 1):
            rec = Rec(kind, 0, 1, b"\1", body_size=size, flags=1)
            header = a_header(length=PAGE)
            stream = header + rec.pack(header)
            with pytest.raises(StreamError):
                restored(stream)
            assert salvaged(stream)[1] == {0}


def test_more_zeros_than_the_image_has() -> None:
    rec = Rec(ZEROS, 0, 1 << 31)
    with pytest.raises(StreamError, match="more pages than its header says"):
        restored(Anatomy(a_header(length=PAGE), [rec, end_of(1)]).pack())


@pytest.mark.parametrize("grouping", [0, 1])
def test_data_behind_the_last_page(grouping: int) -> None:
    header = a_header(grouping=grouping, codec=b"none", length=PAGE)
    rec = Rec(PAGES, 0, 1, b"\x03" + bytes(PAGE) + b"and more")
    whole = Anatomy(header, [rec, Rec(INDEX, 0, 0), end_of(1)])
    with pytest.raises(StreamError, match="data beyond the record's last page"):
        restored(whole.pack_indexed())
