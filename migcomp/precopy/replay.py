# SPDX-License-Identifier: LGPL-2.1-or-later
"""A recorded migration played again: its pages, with their content, round by round."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from migcomp import _core
from migcomp.errors import ImageError, PageError
from migcomp.images.qemu_recording import XBZRLE, Record, Recording
from migcomp.precopy.dirty import DirtySource
from migcomp.precopy.memory import GuestMemory

_WATCH_EVERY = 1 << 14


class Replay(DirtySource):
    """A QEMU migration stream, which tells no times: the guest writes at the end of
    a round what the recording sent in the next one.

    Pages that XBZRLE found unchanged left no trace, and are not written.
    """

    def __init__(self, path: str) -> None:
        """Raises ImageError."""
        self._recording = Recording(path)
        self._round = 1
        self._next = self._written_in(2)
        self._stopped_with = sum(1 for _ in self._recording.records(self._last))

    @property
    def description(self) -> str:
        return f"a recording of {self._recording.rounds} rounds"

    def memory(
        self, copied: Callable[[int], None] = lambda _pages: None
    ) -> GuestMemory:
        """The guest's, with each page as it was sent first; to be closed by the
        caller.  ``copied`` is told how many pages were.  Raises ImageError."""
        recording = self._recording
        memory = GuestMemory(recording.path, recording.blocks, recording.page_size)
        try:
            done = 0
            for number in range(1, recording.rounds + 1):
                for record in recording.records(number):
                    if record.first:
                        # What is never written is zero, and takes no room.
                        if not recording.is_zero(record):
                            self._write(memory, record)
                        done += 1
                        if done % _WATCH_EVERY == 0:
                            copied(done)
        except BaseException:
            memory.close()
            raise
        return memory

    def run(self, _memory: GuestMemory, _seconds: float) -> Sequence[int]:
        return ()

    def next_round(self, memory: GuestMemory) -> Sequence[int]:
        written = self._next
        for _ in self.changes(memory):
            pass
        return written

    def changes(self, memory: GuestMemory) -> Iterator[tuple[int, bytes, bytes]]:
        """As ``next_round``; of each page, as it is written, its number, and what it
        was and is.  Raises ImageError."""
        if self.last_round:
            return
        self._round += 1
        self._next = self._written_in(self._round + 1)
        for record in self._recording.records(self._round):
            if not record.first:
                before = memory.read(record.page)
                self._write(memory, record)
                yield record.page, before, memory.read(record.page)

    def _written_in(self, number: int) -> array[int]:
        if number > self._last:
            return array("Q")
        records = self._recording.records(number)
        return array("Q", sorted(each.page for each in records if not each.first))

    def too_early(self, is_pending: Callable[[int], bool]) -> bool:
        return any(map(is_pending, self._next))

    @property
    def least_threshold(self) -> int:
        return self._stopped_with + 1

    @property
    def _last(self) -> int:
        return self._recording.rounds

    @property
    def last_round(self) -> bool:
        return self._round == self._last

    def _write(self, memory: GuestMemory, record: Record) -> None:
        content = self._recording.content(record)
        if record.kind != XBZRLE:
            memory.write(record.page, content)
            return
        try:
            _core.xbzrle_load(
                memory.buffer,
                memory.page_size,
                struct.pack("=Q", record.page),
                bytes([_core.XBZRLE_DELTA]),
                struct.pack("=I", len(content)),
                content,
            )
        except PageError as error:
            raise ImageError(
                f"{self._recording.path}: page {record.page}: {error.reason}"
            ) from error

    def close(self) -> None:
        self._recording.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
