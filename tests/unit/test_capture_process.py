# SPDX-License-Identifier: LGPL-2.1-or-later
"""The memory of a child whose pages are known, and of one that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from migcomp.capture import process
from migcomp.capture.process import PAGE_SIZE, capture_process
from migcomp.errors import ImageError
from migcomp.images.open import open_image
from migcomp.outputs import OutputFile
from tests.conftest import folder_names

PAGES = 4096
KEPT = 1024

# Each page of the region tells its number.  A line on standard input, and all of it
# but the first KEPT pages goes away.
CHILD = f"""
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3,
                      ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
size = {PAGES} * {PAGE_SIZE}
untouched = libc.mmap(None, 1 << 36, 3, 0x4022, -1, 0)
start = libc.mmap(None, size, 3, 0x22, -1, 0)
for page in range({PAGES}):
    if page % 16 != 3:
        data = (b"page %6d " % page) * 128
        ctypes.memmove(start + page * {PAGE_SIZE}, data, len(data))
print(start, untouched, flush=True)
sys.stdin.readline()
libc.munmap(start + {KEPT} * {PAGE_SIZE}, size - {KEPT} * {PAGE_SIZE})
print("gone", flush=True)
sys.stdin.readline()
"""


def page_of_child(number: int) -> bytes:
    if number % 16 == 3:
        return bytes(PAGE_SIZE)
    return (b"page %6d " % number * 128).ljust(PAGE_SIZE, b"\0")


class Child:
    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.process = child
        self.pid = child.pid
        assert child.stdout is not None
        self.start, self.untouched = map(int, child.stdout.readline().split())

    def unmap(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "gone\n"

    def freeze(self) -> None:
        """So that two captures see the same memory."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def child() -> Iterator[Child]:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield Child(running)
        finally:
            running.kill()


def captured(pid: int, path: Path) -> process.ProcessCapture:
    with OutputFile(str(path)) as sink:
        return capture_process(pid, sink)


def place(result: process.ProcessCapture, address: int) -> int:
    """Where the byte at ``address`` lies in the image."""
    before = 0
    for block in result.blocks:
        if block.guest_address <= address < block.guest_address + block.length:
            return before + address - block.guest_address
        before += block.length
    raise AssertionError(f"{address:#x} was not captured")


def test_every_page_is_in_the_image_at_its_address(
    child: Child, tmp_path: Path
) -> None:
    path = tmp_path / "child.raw"
    result = captured(child.pid, path)
    assert result.vanished_bytes == 0
    assert path.stat().st_size == result.image_bytes
    with path.open("rb") as file:
        file.seek(place(result, child.start))
        for number in range(PAGES):
            assert file.read(PAGE_SIZE) == page_of_child(number), number
    kinds = {block.name.partition("@")[0] for block in result.blocks}
    assert kinds == {"heap", "stack", "anon"}


def test_what_was_never_touched_takes_neither_time_nor_space(
    child: Child, tmp_path: Path
) -> None:
    path = tmp_path / "child.raw"
    result = captured(child.pid, path)
    assert result.image_bytes > 1 << 36
    place(result, child.untouched + (1 << 36) - 1)
    assert path.stat().st_blocks * 512 < 64 << 20
    assert PAGES * 15 // 16 * PAGE_SIZE <= result.stored_bytes < 64 << 20


def test_our_reader_takes_the_blocks(child: Child, tmp_path: Path) -> None:
    path = tmp_path / "child.raw"
    result = captured(child.pid, path)
    with open_image(str(path), page_size=PAGE_SIZE, layout=result.blocks) as image:
        assert image.blocks == result.blocks
        first = place(result, child.start) // PAGE_SIZE
        assert image.read(first + 5, 1) == page_of_child(5)


def test_pages_that_vanish_are_zero_and_counted(child: Child, tmp_path: Path) -> None:
    path = tmp_path / "child.raw"
    with OutputFile(str(path)) as sink:
        unmapped = False

        def watch(done: int, _total: int) -> None:
            nonlocal unmapped
            if not unmapped and os.pread(sink.fileno(), 13, done) == b"page      0 p":
                child.unmap()
                unmapped = True

        result = capture_process(child.pid, sink, watch)
    assert unmapped
    assert result.vanished_bytes > 0
    with path.open("rb") as file:
        file.seek(place(result, child.start))
        for number in range(KEPT):
            assert file.read(PAGE_SIZE) == page_of_child(number), number
        assert not any(file.read((PAGES - KEPT) * PAGE_SIZE))


def test_a_process_that_ends_meanwhile(child: Child, tmp_path: Path) -> None:
    path = tmp_path / "child.raw"
    with (
        pytest.raises(ImageError, match=rf"process {child.pid} ended"),
        OutputFile(str(path)) as sink,
    ):
        capture_process(child.pid, sink, lambda _done, _total: child.end())
    assert folder_names(tmp_path) == []


def test_a_process_that_has_ended(child: Child, tmp_path: Path) -> None:
    child.process.kill()
    # Until it is waited for, its entry in /proc stays.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ImageError, match=r"no memory of its own|no process"):
        captured(child.pid, tmp_path / "child.raw")
    child.end()
    with pytest.raises(ImageError, match=rf"there is no process {child.pid};"):
        captured(child.pid, tmp_path / "child.raw")
    assert folder_names(tmp_path) == []


def test_a_pipe_gets_the_same_bytes(child: Child, tmp_path: Path) -> None:
    path, pipe = tmp_path / "child.raw", tmp_path / "pipe"
    child.unmap()
    child.freeze()
    # 64 GiB of zeros would take their time.
    blocks, kept = process._blocks, 1 << 32
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            process,
            "_blocks",
            lambda lines: tuple(b for b in blocks(lines) if b.length < kept),
        )
        result = captured(child.pid, path)
        os.mkfifo(pipe)
        with (
            subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as cat,
            ThreadPoolExecutor(1) as pool,
        ):
            writing = pool.submit(captured, child.pid, pipe)
            assert cat.stdout is not None
            assert cat.stdout.read() == path.read_bytes()
            writing.result()
    assert result.image_bytes == path.stat().st_size


@pytest.mark.parametrize(
    ("scope", "advice"),
    [
        (0, "protects itself"),
        (1, "kernel.yama.ptrace_scope=0"),
        (2, "ptrace_scope is 2; run migcomp as root"),
        (3, "next boot"),
    ],
)
def test_why_it_may_not_be_read(
    scope: int, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_anything: object) -> None:
        raise PermissionError(13, "Permission denied")

    setting = tmp_path / "scope"
    setting.write_text(f"{scope}\n")
    monkeypatch.setattr(process, "_open", refuse)
    monkeypatch.setattr(process, "_PTRACE_SCOPE", setting)
    with pytest.raises(ImageError, match=r"may not be read by this user") as raised:
        captured(os.getpid(), tmp_path / "image.raw")
    assert advice in str(raised.value)


def test_a_process_of_another_user(child: Child, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root, to be another user for a moment")
    tmp_path.chmod(0o777)
    with OutputFile(str(tmp_path / "child.raw")) as sink:
        os.seteuid(65534)
        try:
            with pytest.raises(ImageError, match="belongs to user 0; run migcomp as"):
                capture_process(child.pid, sink)
        finally:
            os.seteuid(0)
