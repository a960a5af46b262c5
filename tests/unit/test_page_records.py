# SPDX-License-Identifier: LGPL-2.1-or-later
"""PageRequest: records that become pages again, and those that do not."""

from __future__ import annotations

import array
import os
import random
import struct
from pathlib import Path

import pytest

from migcomp import _core
from migcomp.errors import PageError
from tests.core_tools import PAGE, a_map, a_queue, noise, text

DEDUPLICATED = 2  # a class
WHOLE = 0  # a stage


def compressed(content: bytes, codec: str = "zlib") -> tuple[bytes, int]:
    """The body of the record, and its checksum."""
    pages = len(content) // PAGE
    with a_queue(codec) as queue:
        request = queue.get_request()
        request.load(a_map(content), 0, pages, WHOLE, 0)
        queue.submit_request(request)
        queue.collect_request()
        body = request.classes + request.details + bytes(memoryview(request))
        assert request.checksum == _core.xxh64(body)
    return body, _core.xxh64(body)


@pytest.mark.parametrize("codec", ["none", "zlib", "lz4", "zstd"])
def test_records_come_back(codec: str, tmp_path: Path) -> None:
    content = text(2) + bytes(PAGE) + noise(2) + b"abcdefgh" * 512
    body, checksum = compressed(content, codec)
    path = tmp_path / "image"
    with (
        path.open("wb") as file,
        a_queue(
            codec,
            kind=_core.decompressor,
            fill_zeros=True,
            output_fd=file.fileno(),
        ) as queue,
    ):
        request = queue.get_request()
        request.load_record(array.array("B", body), 5, 6, 0, checksum, False)
        queue.submit_request(request)
        queue.collect_request()
        assert bytes(memoryview(request)) == content
    assert path.read_bytes() == bytes(5 * PAGE) + content


@pytest.mark.parametrize(
    ("fd", "first_page", "words"),
    [(2**20, 0, "descriptor"), (1, 2**63, "too large"), (1, 2**52, "too large")],
)
def test_an_output_that_cannot_be_written(fd: int, first_page: int, words: str) -> None:
    body, checksum = compressed(text(1))
    queue = a_queue(kind=_core.decompressor, output_fd=fd)
    request = queue.get_request()
    request.load_record(body, first_page, 1, 0, checksum, False)
    queue.submit_request(request)
    with pytest.raises(OSError, match=words):
        queue.collect_request()
    queue.destroy()


def test_every_broken_record_is_an_error() -> None:
    content = text(1) + b"abcdefgh" * 512 + noise(1) + bytes(PAGE)
    body, _ = compressed(content)
    broken = [body[:size] for size in range(0, len(body), 97)]
    broken += [bytes([5]) + body[1:], body + b"!", b"\2" * 4 + bytes(32)]
    broken += [random.Random(seed).randbytes(1 + seed * 50) for seed in range(50)]
    for record in broken:
        queue = a_queue(kind=_core.decompressor)
        request = queue.get_request()
        request.load_record(record, 0, 4, 0, _core.xxh64(record), False)
        queue.submit_request(request)
        with pytest.raises(PageError) as raised:
            queue.collect_request()
        assert 0 <= raised.value.page < 4
        queue.destroy()


def test_a_wrong_checksum_is_the_inputs_fault() -> None:
    body, checksum = compressed(text(1))
    queue = a_queue(kind=_core.decompressor)
    request = queue.get_request()
    request.load_record(body, 9, 1, 0, checksum ^ 1, False)
    queue.submit_request(request)
    with pytest.raises(PageError, match="page 9: the record's checksum") as raised:
        queue.destroy()
    assert raised.value.of_input


def test_stale_results_are_gone_after_a_load(tmp_path: Path) -> None:
    """Deduplication that belongs to other pages is not looked at."""
    body = bytes([DEDUPLICATED]) + struct.pack("<Q", 900)
    null = Path(os.devnull).open("rb")  # noqa: SIM115
    with null, a_queue(kind=_core.decompressor, dedup=True) as queue:
        request = queue.get_request()
        request.load_record(body, 1000, 1, 0, _core.xxh64(body), False)
        queue.submit_request(request)
        queue.collect_request()
        assert request.counts == (0, 0, 1, 0, 0)
        request.restore_deduplicated(null.fileno())
        assert bytes(memoryview(request)) == bytes(PAGE)
        request.load_record(body, 0, 1, 0, _core.xxh64(body), False)
        request.restore_deduplicated(null.fileno())
        assert request.counts == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("salvage", [False, True])
def test_a_record_longer_than_any(salvage: bool) -> None:
    body = bytes(4) + bytes(16 * PAGE)
    with a_queue(kind=_core.decompressor, salvage=salvage) as queue:
        request = queue.get_request()
        request.load_record(body, 0, 4, 0, _core.xxh64(body), False)
        queue.submit_request(request)
        with pytest.raises(PageError, match="exceeds the header"):
            queue.collect_request()
