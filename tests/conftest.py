# SPDX-License-Identifier: LGPL-2.1-or-later
"""What several test rooms share: pages, files in memory, and a second reader.

The reader here was written from docs/stream-format.md, apart from migcomp's:
the two can only agree by both being right, or by the document being wrong.
"""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO, FileIO
from pathlib import Path
from random import Random
from typing import Any, cast

import lz4.block  # type: ignore[import-untyped]
import pytest
import zstandard

from migcomp._core import xxh64
from migcomp.choice import Choice
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from migcomp.restore import restore
from migcomp.results import PageCounts, RunResult
from migcomp.stream.reader import open_stream

PAGE = 4096
MEMORY = 128 << 20  # that reading a small stream may take at most
REPOSITORY = Path(__file__).parents[1]
REQUIRE_SHARED = "MIGCOMP_REQUIRE_SHARED"

KINDS = ("zero", "same", "text", "rows", "noise")  # and "spot", which is tiny


def make_page(kind: str, seed: int = 0, size: int = PAGE) -> bytes:
    """A page that depends on nothing but the arguments, in any Python."""
    if kind == "zero":
        return bytes(size)
    if kind == "same":
        return struct.pack("<Q", 0x0101010101010101 * (seed % 255 + 1) ^ 0x55) * (
            size // 8
        )
    if kind == "spot":
        return bytes(size - 8) + struct.pack("<Q", seed + 1)
    rng = Random(seed)
    if kind == "noise":
        return rng.getrandbits(size * 8).to_bytes(size, "little")
    if kind == "rows":
        rows = (struct.pack("<QIHH", n, seed, n % 7, 0xFFFF) for n in range(size // 16))
        return b"".join(rows)
    words = [b"%x " % rng.getrandbits(rng.randrange(4, 40)) for _ in range(60)]
    text = b"".join(words[rng.getrandbits(16) % 60] for _ in range(size // 2))
    return text[:size]


def make_pages(*kinds: tuple[str, int] | str, size: int = PAGE) -> bytes:
    """Pages side by side; a kind without seed has seed 0."""
    return b"".join(
        make_page(kind, 0, size) if isinstance(kind, str) else make_page(*kind, size)
        for kind in kinds
    )


# --- Files -----------------------------------------------------------------------


@contextmanager
def memory_file(data: bytes = b"", size: int | None = None) -> Iterator[str]:
    """The path of a regular file that lies in no folder."""
    fd = os.memfd_create("migcomp-test")
    try:
        os.truncate(fd, len(data) if size is None else size)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


@contextmanager
def piped(data: bytes) -> Iterator[str]:
    """The path of a pipe that gives ``data``, of no more than it holds at once."""
    reading, writing = os.pipe()
    try:
        os.write(writing, data)
        os.close(writing)
        yield f"/proc/self/fd/{reading}"
    finally:
        os.close(reading)


def compressed(data: bytes, choice: Choice, **options: Any) -> tuple[bytes, RunResult]:
    """The stream of an image; ``options`` are those of open_image."""
    sink = BytesIO()
    with memory_file(data) as path, open_image(path, **options) as image:
        result = compress(image, sink, choice)
    return sink.getvalue(), result


# A queue is made quickest so.
ONE_OF_EACH: dict[str, Any] = {"threads": 1, "requests_per_thread": 1}


def restored(stream: bytes, **options: Any) -> bytes:
    """The image in a stream; ``options`` are those of restore."""
    return salvaged(stream, salvage=False, **options)[0]


def salvaged(
    stream: bytes, *, salvage: bool = True, **options: Any
) -> tuple[bytes, set[int]]:
    """What restore writes, and the pages it calls missing."""
    with (
        memory_file(stream) as source,
        memory_file() as target,
        open_stream(source) as reader,
        FileIO(target, "rb+") as file,
    ):
        _, missing = restore(reader, file, salvage=salvage, **(ONE_OF_EACH | options))
        file.seek(0)
        return file.read(), {page for pages in missing for page in pages}


def threads_now() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def await_threads(count: int) -> None:
    """Fails unless there are as many before long: who was joined may linger."""
    for _ in range(500):
        if threads_now() == count:
            return
        time.sleep(0.01)
    assert threads_now() == count


def salvage_unread(stream: bytes) -> tuple[int, int, list[range]]:
    """The file's length, the result's, and what is missing.

    The file may be sparse and of any length: it must not be read.
    """
    with (
        memory_file(stream) as path,
        memory_file() as target,
        open_stream(path) as reader,
        FileIO(target, "rb+") as file,
    ):
        result, missing = restore(reader, file, salvage=True, **ONE_OF_EACH)
        return os.fstat(file.fileno()).st_size, result.image_bytes, missing


# --- Streams taken apart and put together --------------------------------------------

PAGES, ZEROS, INDEX, END = 1, 2, 3, 4
RECORD = struct.Struct("<4sBBHQIIQ")
HEADER = struct.Struct("<8sHHIIBBHIi")
FOOTER_MAGIC = b"MIGCEND\n"


def sealed(data: bytes, identity: bytes = b"") -> bytes:
    """With the checksum behind it; a record's covers the header's as well."""
    return data + struct.pack("<Q", xxh64(data + identity))


@dataclass
class Rec:
    """A record; sizes and checksums are right unless given."""

    kind: int
    first_page: int
    pages: int
    body: bytes = b""
    channel: int = 0
    flags: int = 0
    body_size: int | None = None
    body_sum: int | None = None
    offset: int = 0

    def pack(self, header: bytes) -> bytes:
        """In the stream with that header."""
        size = len(self.body) if self.body_size is None else self.body_size
        digest = xxh64(self.body) if self.body_sum is None else self.body_sum
        head = (self.kind, self.flags, self.channel, self.first_page, self.pages)
        fixed = RECORD.pack(b"MREC", *head, size, digest)
        return sealed(fixed, header[-8:]) + self.body


@dataclass
class Anatomy:
    """A stream in parts."""

    header: bytes
    records: list[Rec] = field(default_factory=list)

    @property
    def data(self) -> list[Rec]:
        return [rec for rec in self.records if rec.kind in (PAGES, ZEROS)]

    def pack(self, *, footer: bytes | None = None) -> bytes:
        """The stream as it stands, with INDEX offsets as they were."""
        parts, at = [self.header], len(self.header)
        for rec in self.records:
            rec.offset = at
            parts.append(rec.pack(self.header))
            at += len(parts[-1])
        if footer is None:
            end = self.records[-1].offset if self.records else 0
            footer = struct.pack("<Q", end) + FOOTER_MAGIC
        return b"".join((*parts, footer))

    def pack_indexed(self) -> bytes:
        """With INDEX and END made to fit the other records."""
        seen: list[tuple[int, int]] = []
        indexes: list[tuple[int, int]] = []
        at = len(self.header)
        for rec in self.records:
            rec.offset = at
            if rec.kind in (PAGES, ZEROS):
                seen.append((rec.first_page, at))
            elif rec.kind == INDEX and seen:
                rec.body = b"".join(struct.pack("<QQ", *entry) for entry in seen)
                rec.first_page, rec.pages = seen[0][0], len(seen)
                indexes.append((seen[0][0], at))
                seen = []
            elif rec.kind == END:
                (blocks,) = struct.unpack_from("<I", rec.body, 72)
                table = b"".join(struct.pack("<QQ", *entry) for entry in indexes)
                rec.body = rec.body[: 76 + blocks * 8] + (
                    struct.pack("<I", len(indexes)) + table
                )
            at += len(rec.pack(self.header))
        return self.pack()


def dissect(stream: bytes) -> Anatomy:
    """The parts of a sound stream."""
    (size,) = struct.unpack_from("<I", stream, 12)
    parts = Anatomy(stream[:size])
    at = size
    while len(stream) - at > 16:
        _, kind, flags, channel, first, pages, length, _ = RECORD.unpack_from(
            stream, at
        )
        body = stream[at + 40 : at + 40 + length]
        parts.records.append(Rec(kind, first, pages, body, channel, flags, offset=at))
        at += 40 + length
    assert parts.pack() == stream
    return parts


# --- The second reader --------------------------------------------------------------


@dataclass
class Decoded:
    image: bytes
    counts: PageCounts
    lengths: list[int]


class _Inflaters:
    """One block after the other, of a channel or independent."""

    def __init__(self, codec: str, grouping: int) -> None:
        self._codec = codec
        self._streaming = grouping == 2
        self._channels: dict[int, Any] = {}

    def block(self, data: bytes, size: int, channel: int) -> bytes:
        if not self._streaming:
            if self._codec == "zstd":
                return zstandard.ZstdDecompressor().decompress(data)
            if self._codec == "zlib":
                return zlib.decompress(data)
            return cast(bytes, lz4.block.decompress(data, uncompressed_size=size))
        if self._codec == "lz4":
            before = self._channels.get(channel, b"")[-65536:]
            pages = lz4.block.decompress(data, uncompressed_size=size, dict=before)
            self._channels[channel] = before + pages
            return cast(bytes, pages)
        if channel not in self._channels:
            zstd = zstandard.ZstdDecompressor(max_window_size=1 << 23)
            self._channels[channel] = (
                zstd.decompressobj() if self._codec == "zstd" else zlib.decompressobj()
            )
        return cast(bytes, self._channels[channel].decompress(data))


def decode(stream: bytes) -> Decoded:
    """Reads a stream by the letter of the document; AssertionError if it errs."""
    parts = dissect(stream)
    head = parts.header
    assert sealed(head[:-8]) == head
    magic, major, _, size, page_size, grouping, flags, channels, packet, _ = (
        HEADER.unpack_from(head)
    )
    assert (magic, major, size) == (b"\x89MIGC\r\n\x1a", 1, len(head))
    assert (channels > 0) == (grouping == 2)
    at, texts = HEADER.size, []
    for _ in range(3):
        texts.append(head[at + 1 : at + 1 + head[at]].decode())
        at += 1 + head[at]
    (blocks,) = struct.unpack_from("<I", head, at)
    at, announced = at + 4, []
    for _ in range(blocks):
        _, length, name = struct.unpack_from("<QQH", head, at)
        announced.append(length)
        at += 18 + name
    inflaters = _Inflaters(texts[0], grouping)
    image = bytearray()
    starts = [0]
    for length in announced:
        starts.append(starts[-1] + -(-length // page_size))
    classes = [0] * 5
    seen, indexes = [], []
    for rec in parts.records:
        if rec.kind in (PAGES, ZEROS):
            assert rec.first_page * page_size == len(image)
            seen.append((rec.first_page, rec.offset))
            start = max(page for page in starts[:-1] if page <= rec.first_page)
            stop = min(page for page in starts if page > start)
            after = rec.first_page + rec.pages - start
            assert (rec.first_page - start) % packet == 0
            assert after % packet == 0 or after == stop - start or stop > 1 << 40
        if rec.kind == ZEROS:
            assert rec.channel == 0
            image += bytes(rec.pages * page_size)
            classes[0] += rec.pages
        elif rec.kind == PAGES:
            assert rec.pages <= packet
            assert rec.channel == (
                rec.first_page // packet % channels if channels else 0
            )
            for kind in rec.body[: rec.pages]:
                classes[kind] += 1
                assert kind != 2 or flags & 1
            _decode_pages(rec, grouping, page_size, inflaters, image)
        elif rec.kind == INDEX:
            assert list(struct.iter_unpack("<QQ", rec.body)) == seen
            assert (rec.first_page, rec.pages) == (seen[0][0], len(seen))
            indexes.append((seen[0][0], rec.offset))
            seen = []
    end = parts.records[-1]
    pages = len(image) // page_size
    digests = b"".join(
        struct.pack("<QQ", i, xxh64(page))
        for i in range(pages)
        if any(page := image[i * page_size : (i + 1) * page_size])
    )
    digest = xxh64(struct.pack("<QQ", xxh64(digests), pages))
    fields = struct.unpack_from("<QQ5QQQI", end.body)
    lengths = list(struct.unpack_from(f"<{blocks}Q", end.body, 76))
    assert (end.kind, end.first_page, end.pages, seen) == (END, pages, 0, [])
    assert fields[:2] == (pages, digest)
    assert list(fields[2:7]) == classes
    assert all(a in (b, (1 << 64) - 1) for a, b in zip(announced, lengths, strict=True))
    rest = end.body[76 + blocks * 8 :]
    assert rest[4:] == b"".join(struct.pack("<QQ", *entry) for entry in indexes)
    assert sum(-(-n // page_size) for n in lengths) == pages
    return Decoded(bytes(image[: sum(lengths)]), PageCounts(*classes), lengths)


def _decode_pages(
    rec: Rec, grouping: int, size: int, inflaters: _Inflaters, image: bytearray
) -> None:
    classes, at = rec.body[: rec.pages], rec.pages
    details: list[int] = []
    for kind in classes:
        width = 8 if kind in (1, 2) else 2 if kind == 4 and grouping == 0 else 0
        details.append(int.from_bytes(rec.body[at : at + width], "little"))
        at += width
    payload = rec.body[at:]
    if grouping and any(kind == 4 for kind in classes):
        assert 3 not in classes
        payload = inflaters.block(payload, classes.count(4) * size, rec.channel)
    for kind, detail in zip(classes, details, strict=True):
        if kind == 0:
            image += bytes(size)
        elif kind == 1:
            image += struct.pack("<Q", detail) * (size // 8)
        elif kind == 2:
            assert detail * size < len(image)
            image += image[detail * size : (detail + 1) * size]
        elif kind == 4 and grouping == 0:
            image += inflaters.block(payload[:detail], size, 0)
            payload = payload[detail:]
        else:
            image += payload[:size]
            payload = payload[size:]
    assert not payload


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """What takes more memory than any small stream may need fails."""
    status = Path("/proc/self/status").read_text()
    used = int(status.partition("VmData:")[2].split()[0]) << 10
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


# --- Captured guests -----------------------------------------------------------------


@pytest.fixture(scope="session")
def shared() -> Path:
    """The captured guests and documents beside the repository."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        if os.environ.get(REQUIRE_SHARED) == "1":
            pytest.fail(f"{REQUIRE_SHARED}=1, but {folder} does not exist")
        pytest.skip(f"needs the captured guests in {folder}")
    return folder


@pytest.fixture(scope="session")
def guest_streams(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the captured QEMU streams (350 MiB) and QEMU's statistics."""
    folder = tmp_path_factory.mktemp("streams")
    with (
        (shared / "images/writer128.tar.zst").open("rb") as packed,
        zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(packed) as r,
        tarfile.open(fileobj=r, mode="r|") as archive,
    ):
        for member in archive:
            if member.name.endswith((".qemu", ".json")):
                archive.extract(member, folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def guest_images(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the captures unpacked (1 GiB): for tests marked long."""
    folder = tmp_path_factory.mktemp("guests")
    subprocess.run([sys.executable, shared / "images/unpack.py", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def paused_images(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with paused.raw, .elf and .kdump: one guest, three ways (300 MB)."""
    folder = tmp_path_factory.mktemp("paused")
    wanted = {f"paused.{kind}" for kind in ("raw", "elf", "kdump")}
    with (
        (shared / "images/writer128.tar.zst").open("rb") as file,
        zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(file) as tar,
        tarfile.open(fileobj=tar, mode="r|") as archive,
    ):
        for member in archive:
            if member.name in wanted:
                archive.extract(member, folder, filter="data")
                wanted.remove(member.name)
            if not wanted:
                break
    return folder


def folder_names(folder: Path, *, but: Sequence[Path] = ()) -> list[str]:
    """What lies in a folder besides ``but``."""
    return sorted(path.name for path in folder.iterdir() if path not in but)
