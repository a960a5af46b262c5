# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU migration streams that are cut off, damaged, or lie."""

from __future__ import annotations

import json
import struct

import pytest

from migcomp.choice import Choice
from migcomp.errors import ImageError
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from tests.conftest import memory_file
from tests.qemu_images import RAM, ROWS, TEXT, facts_of, memory_of, refusal
from tests.qemu_tools import (
    NORMAL,
    PAGE,
    Writer,
    a_stream,
    configured,
    decode,
    name_of,
)


def test_every_truncation_is_said_or_does_no_harm() -> None:
    writer = Writer(blocks=((b"pc.ram", 4),))
    writer.start()
    writer.part()
    writer.zero(RAM, 0)
    writer.compressed(RAM, 1, TEXT)
    writer.changed(RAM, 2, TEXT[:5] + bytes(PAGE - 5))
    writer.normal(RAM, 3, ROWS)
    writer.end_records()
    writer.end_ram()
    stream = writer.finish()
    end = decode(stream).ram_end - 5  # the last footer adds nothing
    for size in [*range(4, end - 4200), *range(end - 100, end)]:
        assert "cut off" in refusal(stream[:size]), size
    for size in range(end, len(stream)):
        assert memory_of(stream[:size]) == writer.memory


def spoilt(stream: bytes, old: bytes, new: bytes) -> bytes:
    assert stream.count(old) >= 1
    return stream.replace(old, new, 1)


def test_streams_that_lie() -> None:
    stream, _ = a_stream()
    page = struct.pack(">Q", PAGE | NORMAL | 0x20)
    for changed, sentence in [
        (
            stream[:4] + b"\0\0\0\2" + stream[8:],
            "version 2, and only 3 is read, at byte 4",
        ),
        (spoilt(stream, page, struct.pack(">Q", PAGE | 0x20)), "unknown flags 0x20"),
        (spoilt(stream, page, struct.pack(">Q", PAGE | 0x81)), "unknown flags 0x81"),
        (
            spoilt(stream, page, struct.pack(">Q", 40 * PAGE | 0x28)),
            "beyond its RAM block",
        ),
        (spoilt(stream, page, struct.pack(">Q", 2**63 | 0x28)), "beyond its RAM block"),
        (spoilt(stream, b"\2\6pc.ram", b"\2\6pc.rim"), "was not announced"),
        (
            spoilt(stream, b"\2\0\0\0\2", b"\2\0\0\0\3"),
            "a section 3 that never started",
        ),
        (
            spoilt(stream, b"\x7e\0\0\0\2\3", b"\x7f\0\0\0\2\3"),
            "no footer behind section 2",
        ),
        (spoilt(stream, b"\x7e\0\0\0\2\2", b"\x7e\0\0\0\2\x55"), "unknown kind 0x55"),
        (spoilt(stream, b"\3ram", b"\3rom"), "a section 2|cut off before the end"),
    ]:
        found = refusal(changed)
        assert any(part in found for part in sentence.split("|")), (found, sentence)
        assert "at byte" in found


def announced(blocks: bytes, total: int) -> bytes:
    writer = Writer()
    writer.data += b"QEVM" + struct.pack(">I", 3)
    writer.head(1, 2, "ram", 0, 4)
    writer.put("Q", total | 4)
    writer.data += blocks
    writer.end_records()
    writer.end_ram()
    return writer.finish()


def block(name: bytes, length: int) -> bytes:
    return name_of(name) + struct.pack(">Q", length)


@pytest.mark.parametrize(
    ("blocks", "total", "sentence"),
    [
        (b"", 0, "list of RAM blocks is empty"),
        (block(b"a", PAGE) * 2, 2 * PAGE, "or repeats one"),
        (block(b"a", 0), PAGE, "has 0 of the 4096 bytes"),
        (block(b"a", 2 * PAGE), PAGE, "has 8192 of the 4096 bytes"),
        (block(b"\x1b[31m\\", 2 * PAGE), PAGE, r"'\\x1b[31m\\x5c' has"),
        (block(b"", PAGE), PAGE, "RAM block '' has"),
        (
            b"".join(block(b"%d" % n, PAGE) for n in range(1025)),
            1025 * PAGE,
            "more than 1024",
        ),
        (
            block(b"a", 1 << 62),
            1 << 62,
            "announces 4194304 TiB of RAM|of RAM, for whose",
        ),
        (block(b"a", 1 << 50), 1 << 50, "for whose pages there is no room"),
    ],
)
@pytest.mark.usefixtures("bounded_memory")
def test_lists_of_blocks_that_lie(blocks: bytes, total: int, sentence: str) -> None:
    with memory_file(announced(blocks, total)) as path, pytest.raises(ImageError) as e:
        open_image(path)
    assert any(part in str(e.value) for part in sentence.split("|")), e.value


def test_configurations_that_lie() -> None:
    def refused(configuration: bytes) -> str:
        writer = Writer()
        writer.start(configuration)
        writer.end_ram()
        return refusal(writer.finish(description=b""))

    bits = b"configuration/target-page-bits"
    assert "unknown part 'configuration/new'" in refused(
        configured((b"configuration/new", b"123"))
    )
    assert "have 1024 bytes, and none of" in refused(
        configured((bits, struct.pack(">I", 10)))
    )
    assert "2**33 bytes" in refused(configured((bits, struct.pack(">I", 33))))
    writer = Writer()
    writer.start(None)
    assert "machine type has 65535 bytes" in refusal(
        b"QEVM\0\0\0\3\7\0\0\xff\xff" + bytes(writer.data)
    )


def test_ram_that_starts_twice_or_never() -> None:
    writer = Writer()
    writer.start()
    writer.head(1, 3, "ram", 0, 4)
    writer.end_records()
    assert "RAM starts twice" in refusal(writer.finish())
    writer = Writer()
    writer.data += b"QEVM" + struct.pack(">I", 3)
    writer.head(4, 3, "ram", 0, 4)
    writer.end_records()
    assert "no list of blocks" in refusal(writer.finish())
    writer = Writer()
    writer.data += b"QEVM" + struct.pack(">I", 3)
    writer.head(1, 2, "ram", 0, 4)
    writer.put("Q", 5)
    assert "does not start with the list" in refusal(writer.finish())


def test_ram_that_goes_on_behind_its_end() -> None:
    """Each end sums up all rounds before it, of which there may be many."""
    writer = Writer()
    writer.start()
    writer.end_ram()
    writer.end_ram()
    assert "RAM goes on behind its end" in refusal(writer.finish())


def test_more_sections_than_any_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migcomp.images.qemu_sections._SECTIONS_MAX", 9)
    writer = Writer()
    writer.start()
    for _ in range(9):
        writer.part()
        writer.end_records()
    writer.end_ram()
    assert "too many sections" in refusal(writer.finish())


def test_an_old_version_of_ram() -> None:
    stream, _ = a_stream()
    old = b"\3ram" + struct.pack(">II", 0, 4)
    assert "RAM of version 3" in refusal(
        spoilt(stream, old, b"\3ram" + struct.pack(">II", 0, 3))
    )


def test_pages_that_do_not_inflate_name_their_page() -> None:
    stream, _writer = a_stream()
    at = stream.index(b"\x78\x01")
    broken = stream[: at + 20] + bytes([stream[at + 20] ^ 0x55]) + stream[at + 21 :]
    with (
        memory_file(broken) as path,
        open_image(path) as image,
        pytest.raises(ImageError, match="page 3: "),
    ):
        compress(image, None, Choice())
    json.dumps(facts_of(broken))
