# SPDX-License-Identifier: LGPL-2.1-or-later
"""A connection to QEMU's monitor, by the QEMU project's own library."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migcomp.errors import ImageError

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

_PATIENCE_SECONDS = 10.0
_TCP = re.compile(r"(?:tcp:)?\[?(?P<host>[^/\[\]]+?)\]?:(?P<port>\d{1,5})")


class Refused(ImageError):
    """QEMU answered a command with an error; ``reason`` is its text."""

    def __init__(self, address: str, command: str, reason: str) -> None:
        super().__init__(f"{address}: QEMU refuses {command}: {reason}")
        self.reason = reason


class Monitor:
    """Executes commands.  A task that is cancelled gets the reply first.

    So it is known of every command whether it was carried out.
    """

    def __init__(self, address: str, client: QMPClient) -> None:
        self.address = address
        self._client = client

    @property
    def qemu(self) -> str:
        """The version of it."""
        greeting = self._client.greeting
        version: Any = greeting.QMP.version if greeting else {}
        parts = version.get("qemu", {})
        return ".".join(str(parts.get(n, "?")) for n in ("major", "minor", "micro"))

    async def __call__(self, command: str, **arguments: object) -> Any:
        """What QEMU returns.  Raises Refused, and ImageError if QEMU has gone."""
        from qemu.qmp import ExecuteError, QMPError

        # QMP's names have dashes.
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        reply = asyncio.ensure_future(self._client.execute(command, named))
        try:
            return await asyncio.shield(reply)
        except asyncio.CancelledError:
            with suppress(Exception):
                await reply
            raise
        except ExecuteError as error:
            raise Refused(self.address, command, str(error)) from error
        except (QMPError, OSError, EOFError) as error:
            raise ImageError(
                f"the connection to QEMU at {self.address} broke during {command}; "
                "if QEMU still runs, see whether its guest does (query-status)"
            ) from error


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Monitor]:
    """``address``: a unix socket's path, or HOST:PORT.  Raises ImageError."""
    try:
        from qemu.qmp import ConnectError, QMPClient
    except ImportError as error:
        raise ImageError(
            "capturing from QEMU needs a package: pip install 'migcomp[qmp]'"
        ) from error
    # It reports by exceptions, too.
    logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
    client = QMPClient("migcomp")
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await client.connect(_socket_address(address))
    except TimeoutError as error:
        raise ImageError(
            f"{address} accepts the connection, but does not answer: another program "
            "may be connected, and QEMU serves one at a time; give QEMU a second -qmp"
        ) from error
    except ConnectError as error:
        raise ImageError(_unreachable(address, error.exc)) from error
    try:
        yield Monitor(address, client)
    finally:
        # A broken connection was reported by the command that met it.
        with suppress(Exception):
            await client.disconnect()


def _socket_address(address: str) -> str | tuple[str, int]:
    match = _TCP.fullmatch(address)
    if match is None or Path(address).exists():
        return address.removeprefix("unix:")
    return match["host"], int(match["port"])


def _unreachable(address: str, error: Exception) -> str:
    advice = (
        "start QEMU with -qmp unix:PATH,server=on,wait=off, or -qmp tcp:... likewise"
    )
    if isinstance(error, OSError):
        if isinstance(error, PermissionError):
            advice = "run migcomp as the user that QEMU runs as, or as root"
        reason = error.strerror or str(error)
        return f"there is no QEMU to reach at {address}: {reason}; {advice}"
    return f"{address} does not speak QMP; {advice}"
