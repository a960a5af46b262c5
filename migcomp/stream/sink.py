# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing to whatever takes bytes, all of them, however little it takes at once."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


def write_all(sink: BinaryIO, data: Buffer, most: int | None = None) -> int:
    """All bytes of ``data``, or the first ``most``; how many these are.

    Raises the sink's OSError.
    """
    # Released even if writing fails: an exception keeps what its frames
    # refer to, and a queue cannot end while a request's data is in use.
    with memoryview(data) as view, view[:most] as whole:
        _write_rest(sink.write, sink, whole, 0)
        return whole.nbytes


def gathering_write(sink: BinaryIO | None) -> Callable[[list[Buffer]], None]:
    """Writes several buffers, without copying them where the sink is a file."""
    if sink is None:
        return lambda parts: None
    try:
        fd = sink.fileno()
    except (AttributeError, OSError):
        return lambda parts: _write_each(sink, parts)
    sink.flush()

    def write(parts: list[Buffer]) -> None:
        try:
            done = os.writev(fd, parts)
        except BlockingIOError:
            done = 0
        for part in parts:
            with memoryview(part) as whole:
                _write_rest(lambda data: os.write(fd, data), fd, whole, done)
                done = max(done - whole.nbytes, 0)

    return write


def _write_each(sink: BinaryIO, parts: list[Buffer]) -> None:
    for part in parts:
        write_all(sink, part)


def _write_rest(
    write: Callable[[memoryview], int | None],
    sink: BinaryIO | int,
    whole: memoryview,
    done: int,
) -> None:
    """All of ``whole`` but its first ``done`` bytes."""
    while done < whole.nbytes:
        with whole[done:] as rest:
            try:
                taken = write(rest)
            except BlockingIOError as error:
                # Buffered files tell so how much they took.
                taken = getattr(error, "characters_written", None)
        if taken is None:
            # Somebody made it non-blocking, and may rely on that.
            ready = select.poll()
            ready.register(sink, select.POLLOUT)
            ready.poll()
        done += taken or 0
