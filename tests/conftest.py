# SPDX-License-Identifier: LGPL-2.1-or-later
"""What several test rooms share: pages, files in memory, and real guests' images."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, FileIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard

from migcomp.choice import Choice
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from migcomp.restore import restore
from migcomp.results import RunResult
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
    for _ in range(6000):
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
