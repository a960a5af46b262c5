# SPDX-License-Identifier: LGPL-2.1-or-later
"""The private memory of a process, through /proc/PID/maps, pagemap and mem.

Sources: proc(5), and Documentation/admin-guide/mm/pagemap.rst of Linux.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from itertools import groupby
from pathlib import Path
from struct import iter_unpack
from typing import NoReturn

from migcomp.errors import ImageError
from migcomp.outputs import OutputFile
from migcomp.results import Block
from migcomp.stream.sink import write_all

#: (bytes done, bytes in all)
Watch = Callable[[int, int], None]

PAGE_SIZE = mmap.PAGESIZE
_ZERO_PAGE = bytes(PAGE_SIZE)
_STEP = 1 << 20
_ENTRY_BYTES = 8
_ENTRIES = 1 << 16
#: Bits of a pagemap entry: the page is in memory, or in swap.
_PRESENT = 1 << 63 | 1 << 62

_MAPPING = re.compile(
    r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<access>\S{4}) "
    r"[0-9a-f]+ \S+ \d+ *(?P<name>.*)"
)
_NAMED = {"[heap]": "heap", "[stack]": "stack"}
#: Of MAP_HUGETLB, which is anonymous all the same.
_HUGE = "/anon_hugepage (deleted)"
_PTRACE_SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")


@dataclass(frozen=True)
class ProcessCapture:
    """What was taken of a process.

    ``blocks`` lie back to back in the image; their addresses are virtual.
    ``stored_bytes`` are not holes of it; ``vanished_bytes`` were unmapped while
    they were read, and are zero in it.
    """

    pid: int
    command: str
    blocks: tuple[Block, ...]
    stored_bytes: int
    vanished_bytes: int
    seconds: float

    @property
    def image_bytes(self) -> int:
        return sum(block.length for block in self.blocks)


def capture_process(
    pid: int, sink: OutputFile, watch: Watch | None = None
) -> ProcessCapture:
    """Writes a raw image of the private anonymous memory, heap and stacks of ``pid``.

    The process runs on meanwhile: its pages are of different moments.  Pages that
    it never touched are not read, and become holes, as zero pages do.  Raises
    ImageError, and OSError where ``sink`` cannot be written.
    """
    start = time.monotonic()
    with ExitStack() as stack:
        try:
            # All that is opened below it belongs to this process, and to none that
            # is given the same number later.
            folder = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, folder)
            memory, pagemap = (
                stack.enter_context(_open(name, folder)) for name in ("mem", "pagemap")
            )
            blocks = _blocks(_read_text("maps", folder).splitlines())
            command = _read_text("comm", folder).strip()
        except OSError as error:
            _explain(pid, error)
        if not blocks:
            raise ImageError(
                f"process {pid} has no memory of its own: it has ended, or belongs to "
                "the kernel"
            )
        reader = _Reader(pid, memory.fileno(), pagemap.fileno())
        writer = _Writer(sink)
        total, before = sum(block.length for block in blocks), 0
        for block in blocks:
            for offset, data in reader.pages(block):
                writer.put(before + offset, data)
                if watch is not None:
                    watch(before + offset, total)
            before += block.length
        writer.finish(total)
    return ProcessCapture(
        pid,
        command,
        blocks,
        writer.stored,
        reader.vanished,
        time.monotonic() - start,
    )


def _open(name: str, folder: int) -> FileIO:
    return FileIO(os.open(name, os.O_RDONLY, dir_fd=folder), "rb")


def _read_text(name: str, folder: int) -> str:
    with _open(name, folder) as file:
        return file.readall().decode(errors="replace")


def _blocks(lines: Iterable[str]) -> tuple[Block, ...]:
    """The mappings wanted, in order; those of one kind that adjoin are one block."""
    found: list[tuple[str, int, int]] = []
    for line in lines:
        match = _MAPPING.fullmatch(line)
        kind = match and _kind(match["access"], match["name"])
        if not match or not kind:
            continue
        start, end = int(match["start"], 16), int(match["end"], 16)
        if found and found[-1][0] == kind and found[-1][2] == start:
            start = found.pop()[1]
        found.append((kind, start, end))
    return tuple(
        Block(f"{kind}@{start:x}", end - start, start) for kind, start, end in found
    )


def _kind(access: str, name: str) -> str | None:
    # What cannot be read is a guard page, or address space kept for later.
    if access[0] != "r" or access[3] != "p":
        return None
    if not name or name.startswith("[anon:") or name == _HUGE:
        return "anon"
    return _NAMED.get(name)


class _Reader:
    def __init__(self, pid: int, memory: int, pagemap: int) -> None:
        self._pid = pid
        self._memory = memory
        self._pagemap = pagemap
        self.vanished = 0

    def pages(self, block: Block) -> Iterator[tuple[int, bytes]]:
        """Whole pages, and where they belong in the block."""
        first = block.guest_address // PAGE_SIZE
        for page, count in self._touched(first, block.length // PAGE_SIZE):
            start, end = page * PAGE_SIZE, (page + count) * PAGE_SIZE
            while start < end:
                data = self._read(start, min(_STEP, end - start))
                if data:
                    yield start - block.guest_address, data
                else:
                    self.vanished += PAGE_SIZE
                start += len(data) or PAGE_SIZE

    def _touched(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """Runs of pages that the process has: the first, and how many."""
        for page in range(first, first + count, _ENTRIES):
            wanted = min(_ENTRIES, first + count - page) * _ENTRY_BYTES
            try:
                entries = os.pread(self._pagemap, wanted, page * _ENTRY_BYTES)
            except OSError as error:
                _explain(self._pid, error)
            if not entries:
                self._ended()
            # Of address space kept for later there can be terabytes.
            number = len(entries) // _ENTRY_BYTES
            first_entry = entries[:_ENTRY_BYTES]
            untouched = not int.from_bytes(first_entry, sys.byteorder) & _PRESENT
            if untouched and entries == first_entry * number:
                continue
            at = page
            for present, run in groupby(
                bool(entry & _PRESENT) for (entry,) in iter_unpack("=Q", entries)
            ):
                length = sum(1 for _ in run)
                if present:
                    yield at, length
                at += length

    def _read(self, address: int, size: int) -> bytes:
        """Whole pages from ``address`` on; empty if the first has gone."""
        try:
            data = os.pread(self._memory, size, address)
        except OSError as error:
            if error.errno == errno.EIO:
                return b""
            _explain(self._pid, error)
        if not data:
            self._ended()
        return data[: len(data) // PAGE_SIZE * PAGE_SIZE]

    def _ended(self) -> NoReturn:
        raise ImageError(
            f"process {self._pid} ended, or started another program, while its "
            "memory was read"
        )


class _Writer:
    """Leaves holes for what is zero, and writes zeros where there are none."""

    def __init__(self, sink: OutputFile) -> None:
        self._sink = sink
        self._position = 0
        self.stored = 0

    def put(self, offset: int, data: bytes) -> None:
        for start in range(0, len(data), PAGE_SIZE):
            page = data[start : start + PAGE_SIZE]
            if page != _ZERO_PAGE:
                self._move(offset + start)
                write_all(self._sink, page)
                self._position += PAGE_SIZE
                self.stored += PAGE_SIZE

    def finish(self, size: int) -> None:
        if self._sink.is_regular:
            self._sink.truncate(size)
        else:
            self._move(size)

    def _move(self, offset: int) -> None:
        if self._sink.is_regular:
            if offset != self._position:
                self._position = self._sink.seek(offset)
            return
        while self._position < offset:
            zeros = bytes(min(offset - self._position, _STEP))
            write_all(self._sink, zeros)
            self._position += len(zeros)


def _explain(pid: int, error: OSError) -> NoReturn:
    """Raises ImageError for what the system refused."""
    if error.errno in (errno.ENOENT, errno.ESRCH, errno.ENOTDIR):
        raise ImageError(f"there is no process {pid}; ps -e lists them") from error
    if error.errno in (errno.EACCES, errno.EPERM):
        raise ImageError(_refusal(pid)) from error
    raise ImageError(
        f"the memory of process {pid} cannot be read: {error.strerror}"
    ) from error


def _refusal(pid: int) -> str:
    sentence = f"the memory of process {pid} may not be read by this user"
    try:
        # Not /proc/PID itself: root owns that of a process that is not dumpable.
        status = Path(f"/proc/{pid}/status").read_text()
        owner = int(status.partition("\nUid:")[2].split()[0])
        scope = int(_PTRACE_SCOPE.read_text()) if _PTRACE_SCOPE.exists() else 0
    except (OSError, ValueError, IndexError):
        return f"{sentence}; try it as root"
    if owner != os.geteuid():
        return f"{sentence}: it belongs to user {owner}; run migcomp as root"
    if scope == 1:
        return (
            f"{sentence}: kernel.yama.ptrace_scope is 1, by which only a parent reads "
            "its children; run migcomp as root, or set it to 0 (sudo sysctl "
            "kernel.yama.ptrace_scope=0)"
        )
    if scope == 2:
        return f"{sentence}: kernel.yama.ptrace_scope is 2; run migcomp as root"
    if scope >= 3:
        return (
            f"{sentence}, nor by root: kernel.yama.ptrace_scope is 3 until the next "
            "boot; set kernel.yama.ptrace_scope to less in /etc/sysctl.d, and reboot"
        )
    return (
        f"{sentence}: it protects itself, as programs with privileges do; run migcomp "
        "as root"
    )
