# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory images of a guest, written by its QEMU.

Commands and their meaning: QEMU 7.2, ``qapi/machine.json``, ``qapi/dump.json`` and
``qapi/migration.json``.  However it ends, the guest is left as it was found.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from migcomp.capture.methods import METHODS, Step
from migcomp.capture.monitor import Monitor, Refused, connect
from migcomp.errors import ImageError, OutputError
from migcomp.outputs import check_free, written_by_another
from migcomp.results import Block

_POLL_SECONDS = 0.1
#: What we, or a migration of ours, leave a guest in.
_STOPPED_BY_US = ("paused", "postmigrate")

#: A disk with less of it free is full: QEMU writes pieces of up to 1 MiB.
_ROOM_BYTES = 1 << 20

#: (number of the snapshot, bytes done, bytes in all)
Watch = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Wish:
    """``method`` is one of METHODS; ``pause``: the guest stands still meanwhile.

    ``interval`` seconds the guest runs between two snapshots.  ``dirty_rate``:
    seconds of a measurement before each of them, 0 for none.
    """

    method: str = "pmemsave"
    pause: bool = False
    interval: float = 1.0
    dirty_rate: int = 0


@dataclass(frozen=True)
class Snapshot:
    """``started``, by time.monotonic, it took ``seconds``.  ``blocks`` of a raw image;
    ``dirty_rate`` is what query-dirty-rate returned."""

    path: str
    format: str
    size: int
    started: float
    seconds: float
    blocks: tuple[Block, ...]
    dirty_rate: Mapping[str, object] | None


@dataclass(frozen=True)
class GuestCapture:
    """``found`` and ``left``: the guest's status before and after, in QMP's words."""

    address: str
    qemu: str
    found: str
    left: str
    wish: Wish
    snapshots: tuple[Snapshot, ...]


async def capture_guest(
    address: str,
    paths: Sequence[str],
    wish: Wish,
    *,
    force: bool = False,
    watch: Watch | None = None,
) -> GuestCapture:
    """One snapshot for each of ``paths``, written by the QEMU at ``address``.

    Cancelled, it leaves the guest as it was found, which takes until QEMU has ended
    what cannot be stopped (pmemsave, a dump).  Raises ImageError and OutputError.
    """
    for path in paths:
        _check_name(path)
        check_free(path, force=force)
    async with connect(address) as monitor:
        status = await monitor("query-status")
        found = str(status["status"])
        if not status["running"] and (len(paths) > 1 or wish.dirty_rate):
            raise ImageError(
                f"the guest at {address} does not run ({found}), so that nothing "
                "changes; let it run (cont), or ask for one snapshot only"
            )
        snapshots = []
        for number, path in enumerate(paths):
            if number:
                await asyncio.sleep(wish.interval)
            rate = await _dirty_rate(monitor, wish.dirty_rate)
            step: Step | None = None
            if watch is not None:

                def step(done: int, total: int, number: int = number) -> None:
                    watch(number, done, total)

            snapshots.append(await _snapshot(monitor, path, wish, force, rate, step))
        left = str((await monitor("query-status"))["status"])
        return GuestCapture(address, monitor.qemu, found, left, wish, tuple(snapshots))


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise OutputError(
            f"{path} is not UTF-8, in which QEMU takes names; give another name"
        ) from None


async def _snapshot(
    monitor: Monitor,
    path: str,
    wish: Wish,
    force: bool,
    dirty_rate: Mapping[str, object] | None,
    step: Step | None,
) -> Snapshot:
    method = METHODS[wish.method]
    with written_by_another(path, force=force) as temporary:
        blocks = await method.prepare(monitor)
        async with _as_found(monitor, wish.pause):
            start = time.monotonic()
            try:
                await method.write(monitor, temporary, blocks, step)
            except Refused as error:
                raise OutputError(
                    f"QEMU did not write {path}: {error.reason}; "
                    f"{_remedy(temporary.parent)}"
                ) from error
            seconds = time.monotonic() - start
        size = _size(temporary, path)
        expected = sum(block.length for block in blocks)
        if blocks and size != expected:
            raise OutputError(
                f"QEMU wrote {size} bytes of {path}, and not {expected}; is the disk "
                "full?"
            )
    return Snapshot(path, method.format, size, start, seconds, blocks, dirty_rate)


def _remedy(folder: Path) -> str:
    """What QEMU wrote there is still there."""
    room = os.statvfs(folder)
    if room.f_bavail * room.f_frsize < _ROOM_BYTES:
        return "the disk is full: free some space, or write to another disk"
    return (
        "it may run as another user or in another place (container, other machine): "
        "name a file in a folder that both of you can write"
    )


def _size(temporary: Path, path: str) -> int:
    try:
        return temporary.stat().st_size
    except FileNotFoundError:
        raise OutputError(
            f"QEMU wrote {temporary} in another place (container, other machine), "
            f"where it still is; name a file for {path} in a folder that both see"
        ) from None


@asynccontextmanager
async def _as_found(monitor: Monitor, pause: bool) -> AsyncIterator[None]:
    """Lets a guest that ran before run on behind it."""
    ran = (await monitor("query-status"))["running"]
    try:
        if pause and ran:
            await monitor("stop")
        yield
    finally:
        while (status := await monitor("query-status"))["status"] == "finish-migrate":
            await asyncio.sleep(_POLL_SECONDS)
        if ran and status["status"] in _STOPPED_BY_US:
            await monitor("cont")


async def _dirty_rate(monitor: Monitor, seconds: int) -> Mapping[str, object] | None:
    if not seconds:
        return None
    await monitor("calc-dirty-rate", calc_time=seconds)
    await asyncio.sleep(seconds)
    while True:
        answer: dict[str, object] = await monitor("query-dirty-rate")
        if answer["status"] == "measured":
            return answer
        await asyncio.sleep(_POLL_SECONDS)
