# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ways in which QEMU writes a guest's memory to a file."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from migcomp.capture.monitor import Monitor, Refused
from migcomp.errors import ImageError, OutputError
from migcomp.results import Block

_POLL_SECONDS = 0.1
#: How long a file that is being completed may stand still.
_PATIENCE_SECONDS = 10.0
_COPY_BYTES = 16 << 20

#: (bytes done, bytes in all)
Step = Callable[[int, int], None]

#: An accelerator names itself at the end of its lines.
_LINE = re.compile(
    r"\s*([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, ram\): (.+?)"
    r"(?: @[0-9a-f]{16})?(?: [A-Z]\w+)?"
)
#: Between the RAM below 640 KiB and that above 1 MiB, PCs have others' memory.
_SMALL_GAP = 1 << 20

#: Unlimited, for all that is known of disks; bytes in a second.
_BANDWIDTH = 10**12
_UNDER_WAY = (
    *("setup", "cancelling", "active", "postcopy-active", "postcopy-paused"),
    *("postcopy-recover", "pre-switchover", "device", "wait-unplug", "colo"),
)


class Method(Protocol):
    """``format``: of the image, by our readers' name."""

    format: str
    suffix: str

    async def prepare(self, monitor: Monitor) -> tuple[Block, ...]:
        """The RAM blocks that the image will have, if the image does not tell."""

    async def write(
        self,
        monitor: Monitor,
        path: Path,
        blocks: tuple[Block, ...],
        step: Step | None,
    ) -> None:
        """Writes ``path``.  Cancelled, it comes back when QEMU does nothing more."""


class Pmemsave:
    """A raw image.  QEMU does nothing else meanwhile, and cannot be stopped."""

    format = "raw"
    suffix = "raw"

    async def prepare(self, monitor: Monitor) -> tuple[Block, ...]:
        names = {str(each.get("id")) for each in await monitor("query-memdev")}
        text = await monitor("human-monitor-command", command_line="info mtree -f")
        blocks = ram_blocks(text, names)
        if not blocks:
            raise ImageError(
                f"{monitor.address}: QEMU does not tell where the guest's RAM lies; "
                "use --method dump"
            )
        return blocks

    async def write(
        self,
        monitor: Monitor,
        path: Path,
        blocks: tuple[Block, ...],
        step: Step | None,
    ) -> None:
        total = sum(block.length for block in blocks)
        done = 0
        for block in blocks:
            part = path.with_name(f"{path.name}.part") if done else path
            saving = asyncio.ensure_future(
                monitor(
                    "pmemsave",
                    val=block.guest_address,
                    size=block.length,
                    filename=str(part),
                )
            )
            try:
                while not (await asyncio.wait({saving}, timeout=_POLL_SECONDS))[0]:
                    if step is not None and part.exists():
                        step(done + part.stat().st_size, total)
            finally:
                await asyncio.wait({saving})
            saving.result()
            if done:
                await _append(part, path)
            done += block.length


def ram_blocks(text: str, names: set[str]) -> tuple[Block, ...]:
    """Where RAM lies that backs the guest, by what ``info mtree -f`` prints.

    ``names`` are those of the memory backends.  Gaps below 1 MiB are filled.
    """
    memory = text.partition('AS "memory"')[2].partition("FlatView #")[0]
    found: list[tuple[str, int, int]] = []
    for line in memory.splitlines():
        match = _LINE.fullmatch(line)
        # Other RAM belongs to devices.
        if not match or match[3].rpartition("/")[2] not in names:
            continue
        start, end, name = int(match[1], 16), int(match[2], 16) + 1, match[3]
        if found and found[-1][0] == name and start - found[-1][2] < _SMALL_GAP:
            start = found.pop()[1]
        found.append((name, start, end))
    return tuple(
        Block(f"{name}@{start:x}", end - start, start) for name, start, end in found
    )


async def _append(part: Path, path: Path) -> None:
    try:
        with part.open("rb") as source, path.open("r+b") as target:
            # sendfile takes no file that is open for appending.
            target.seek(0, os.SEEK_END)
            while os.sendfile(target.fileno(), source.fileno(), None, _COPY_BYTES):
                # Ctrl-C comes through.
                await asyncio.sleep(0)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be put together: {error.strerror}; run migcomp as the "
            "user that QEMU runs as, or use --method dump"
        ) from error
    part.unlink()


class Dump:
    """An ELF core file.  QEMU halts the guest meanwhile, and cannot be stopped."""

    format = "elf"
    suffix = "elf"

    async def prepare(self, monitor: Monitor) -> tuple[Block, ...]:
        if (await monitor("query-dump"))["status"] == "active":
            raise ImageError(
                f"{monitor.address}: another dump is under way; wait for it"
            )
        return ()

    async def write(
        self,
        monitor: Monitor,
        path: Path,
        blocks: tuple[Block, ...],
        step: Step | None,
    ) -> None:
        try:
            await monitor(
                "dump-guest-memory", paging=False, protocol=f"file:{path}", detach=True
            )
            answer = await _until_idle(
                monitor, "query-dump", ("active",), _dumped(step)
            )
        except BaseException:
            await _until_idle(monitor, "query-dump", ("active",))
            raise
        if answer["status"] != "completed":
            raise Refused(
                monitor.address,
                "dump-guest-memory",
                f"the dump has {answer['status']}",
            )


class Migrate:
    """A migration stream.  A running guest runs on until the last round."""

    format = "qemu"
    suffix = "qemu"

    async def prepare(self, monitor: Monitor) -> tuple[Block, ...]:
        answer = await monitor("query-migrate")
        if answer.get("status") in _UNDER_WAY:
            raise ImageError(
                f"{monitor.address}: a migration is under way ({answer['status']}); "
                "wait for it, or use --method pmemsave"
            )
        return ()

    async def write(
        self,
        monitor: Monitor,
        path: Path,
        blocks: tuple[Block, ...],
        step: Step | None,
    ) -> None:
        # The name appears only when the shell has all of it: QEMU calls a migration
        # completed while the pipe may still be full.
        part = shlex.quote(f"{path}.part")
        uri = f"exec:cat > {part} && mv {part} {shlex.quote(str(path))}"
        async with _plain_migration(monitor):
            try:
                await monitor("migrate", uri=uri)
                answer = await _until_idle(
                    monitor, "query-migrate", _UNDER_WAY, _migrated(step)
                )
            except BaseException:
                await _cancel(monitor)
                raise
        if answer.get("status") != "completed":
            reason = answer.get("error-desc") or f"it has {answer.get('status')}"
            raise Refused(monitor.address, "migrate", str(reason))
        await _renamed(monitor, path)


async def _renamed(monitor: Monitor, path: Path) -> None:
    """Waits for ``path`` while its forerunner grows."""
    part = path.with_name(f"{path.name}.part")
    size, since = -1, time.monotonic()
    while not path.exists():
        # Without anything of it here, the caller knows better what to say.
        try:
            grown = part.stat().st_size
        except FileNotFoundError:
            return
        if grown != size:
            size, since = grown, time.monotonic()
        if time.monotonic() - since > _PATIENCE_SECONDS:
            reason = "not all of it reached the file"
            raise Refused(monitor.address, "migrate", reason)
        await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def _plain_migration(monitor: Monitor) -> AsyncIterator[None]:
    """Without capabilities and limits that a file cannot bear, until it is over.

    release-ram would take the guest its memory, and multifd needs a socket.
    """
    capabilities = [
        each["capability"]
        for each in await monitor("query-migrate-capabilities")
        if each["state"] and each["capability"] != "events"
    ]
    parameters = await monitor("query-migrate-parameters")
    before = parameters["max-bandwidth"]
    try:
        await _set(monitor, capabilities, False)
        await monitor("migrate-set-parameters", max_bandwidth=_BANDWIDTH)
        yield
    finally:
        try:
            await monitor("migrate-set-parameters", max_bandwidth=before)
        finally:
            await _set(monitor, capabilities, True)


async def _set(monitor: Monitor, capabilities: list[str], state: bool) -> None:
    if capabilities:
        settings = [{"capability": name, "state": state} for name in capabilities]
        await monitor("migrate-set-capabilities", capabilities=settings)


async def _cancel(monitor: Monitor) -> None:
    answer = await monitor("query-migrate")
    if answer.get("status") in _UNDER_WAY:
        await monitor("migrate_cancel")
        await _until_idle(monitor, "query-migrate", _UNDER_WAY)


async def _until_idle(
    monitor: Monitor,
    command: str,
    busy: tuple[str, ...],
    look: Callable[[dict[str, Any]], None] = lambda _answer: None,
) -> dict[str, Any]:
    while True:
        answer: dict[str, Any] = await monitor(command)
        if answer.get("status") not in busy:
            return answer
        look(answer)
        await asyncio.sleep(_POLL_SECONDS)


def _dumped(step: Step | None) -> Callable[[dict[str, Any]], None]:
    def look(answer: dict[str, Any]) -> None:
        if step is not None and answer["total"]:
            step(answer["completed"], answer["total"])

    return look


def _migrated(step: Step | None) -> Callable[[dict[str, Any]], None]:
    def look(answer: dict[str, Any]) -> None:
        ram = answer.get("ram")
        if step is not None and ram:
            step(ram["total"] - ram["remaining"], ram["total"])

    return look


METHODS: dict[str, Method] = {
    "pmemsave": Pmemsave(),
    "dump": Dump(),
    "migrate": Migrate(),
}
