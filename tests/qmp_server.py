# SPDX-License-Identifier: LGPL-2.1-or-later
"""What looks like a QEMU to who speaks QMP with it: a guest's state, and its moods."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

MEMORY = b"".join(bytes([page % 251]) * 4096 for page in range(256))

LAYOUT = """FlatView #0
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-00000000000fffff (prio 0, ram): pc.ram

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
{lines}

FlatView #2
 AS "other", root: other
  0000000000000000-0000000000ffffff (prio 0, ram): pc.ram
"""
ONE_BLOCK = LAYOUT.format(
    lines="  0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM\n"
    "  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem\n"
    "  00000000000c0000-00000000000fffff (prio 0, ram): pc.ram @00000000000c0000 KVM\n"
    "  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram\n"
)
TWO_BLOCKS = LAYOUT.format(
    lines="  0000000000000000-000000000007ffff (prio 0, ram): pc.ram\n"
    "  0000000100000000-000000010007ffff (prio 0, ram): pc.ram @0000000000080000\n"
)


class Guest:
    """What a test sets before, and looks at behind.

    ``refuse``: error texts by command.  ``drop``: the command at which the
    connection breaks.  ``hold``: the command that is answered (or, of dumps,
    migrations and measurements, comes to its end) only after ``released`` is set,
    and at which ``reached`` is.
    """

    def __init__(self) -> None:
        self.status = "running"
        self.layout = ONE_BLOCK
        self.capabilities = {"events": True, "multifd": True, "xbzrle": False}
        self.bandwidth = 134217728
        self.refuse: dict[str, str] = {}
        self.drop = ""
        self.hold = ""
        self.reached = threading.Event()
        self.released = threading.Event()
        self.log: list[str] = []
        self.stopped_for: list[str] = []
        self.dump = {"status": "none", "completed": 0, "total": 0}
        self.migration: dict[str, Any] = {}
        self.plain_during_migration = False
        self.uri = ""
        self.dump_path = Path()
        self.dump_error = False
        self.write = True

    @property
    def running(self) -> bool:
        return self.status == "running"

    def answer(self, command: str, arguments: dict[str, Any]) -> object:
        self.log.append(command)
        if command in self.refuse:
            raise RuntimeError(self.refuse[command])
        if command == self.hold:
            self.reached.set()
            if command == "pmemsave":
                self.released.wait(30)
        name = command.replace("-", "_")
        handler: Callable[..., object] = getattr(self, f"on_{name}")
        return handler(**{k.replace("-", "_"): v for k, v in arguments.items()})

    def on_qmp_capabilities(self, **_: Any) -> object:
        return {}

    def on_query_status(self) -> object:
        return {"status": self.status, "running": self.running, "singlestep": False}

    def on_stop(self) -> object:
        self.status = "paused"
        return {}

    def on_cont(self) -> object:
        self.status = "running"
        return {}

    def on_query_memdev(self) -> object:
        return [{"id": "pc.ram", "size": len(MEMORY)}]

    def on_human_monitor_command(self, command_line: str) -> object:
        assert command_line == "info mtree -f"
        return self.layout.replace("\n", "\r\n")

    def on_pmemsave(self, val: int, size: int, filename: str) -> object:
        self.stopped_for.append(self.status)
        start = val if val < 1 << 32 else val - (1 << 32) + (1 << 19)
        if self.write:
            Path(filename).write_bytes(MEMORY[start : start + size])
        return {}

    def on_dump_guest_memory(self, paging: bool, protocol: str, detach: bool) -> object:
        assert not paging
        assert detach
        self.stopped_for.append(self.status)
        self.dump_path = Path(protocol.removeprefix("file:"))
        self.dump_path.write_bytes(b"\x7fELF")
        self.dump = {"status": "active", "completed": 5, "total": 10}
        return {}

    def on_query_dump(self) -> object:
        said = dict(self.dump)
        ready = self.hold != "dump-guest-memory" or self.released.is_set()
        if self.dump["status"] == "active" and ready:
            self.dump_path.write_bytes(b"\x7fELF" + MEMORY)
            self.dump["status"] = "failed" if self.dump_error else "completed"
        return said

    def on_query_migrate_capabilities(self) -> object:
        return [{"capability": n, "state": s} for n, s in self.capabilities.items()]

    def on_migrate_set_capabilities(self, capabilities: list[dict[str, Any]]) -> object:
        for each in capabilities:
            self.capabilities[each["capability"]] = each["state"]
        return {}

    def on_query_migrate_parameters(self) -> object:
        return {"max-bandwidth": self.bandwidth, "downtime-limit": 300}

    def on_migrate_set_parameters(self, max_bandwidth: int) -> object:
        self.bandwidth = max_bandwidth
        return {}

    def on_migrate(self, uri: str) -> object:
        self.uri = uri
        self.stopped_for.append(self.status)
        self.plain_during_migration = not self.capabilities["multifd"]
        ram = {"total": 10, "remaining": 5}
        self.migration = {"status": "active", "ram": ram}
        return {}

    def on_query_migrate(self) -> object:
        said = dict(self.migration)
        if self.migration.get("status") == "active" and self.hold != "migrate":
            command = ["sh", "-c", self.uri.removeprefix("exec:")]
            subprocess.run(command, input=b"QEVM" + MEMORY, check=False)
            self.migration = {"status": "completed"}
            self.status = "postmigrate"
        return said

    def on_migrate_cancel(self) -> object:
        self.migration = {"status": "cancelled"}
        return {}

    def on_calc_dirty_rate(self, calc_time: int) -> object:
        self.calc_time = calc_time
        return {}

    def on_query_dirty_rate(self) -> object:
        measuring = self.hold == "calc-dirty-rate"
        return {"status": "measuring" if measuring else "measured", "dirty-rate": 17}


class Server:
    """Serves ``guest`` on a unix socket, or by TCP on a port of its own where
    ``path`` is None, one client after another.  ``address`` is what to name."""

    def __init__(self, guest: Guest, path: Path | None, *, greet: bool = True) -> None:
        self.guest = guest
        self._greet = greet
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.address = "{}:{}".format(*self._listener.getsockname())
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.address = str(path)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self.guest.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, suppress(OSError):
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        def say(**message: object) -> None:
            client.sendall(json.dumps(message).encode() + b"\r\n")

        if self._greet:
            version = {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}
            say(QMP={"version": version, "capabilities": []})
        for request in _requests(client):
            command = request["execute"]
            asked = {"id": request["id"]} if "id" in request else {}
            if command == self.guest.drop:
                return
            if command != "qmp_capabilities":
                at = {"seconds": 0, "microseconds": 0}
                say(event="RTC_CHANGE", data={}, timestamp=at)
            try:
                reply = self.guest.answer(command, request.get("arguments") or {})
            except RuntimeError as error:
                why = {"class": "GenericError", "desc": str(error)}
                say(error=why, **asked)
            else:
                say(**{"return": reply}, **asked)


def _requests(client: socket.socket) -> Iterator[dict[str, Any]]:
    """Objects that come one behind another, with nothing to part them."""
    text = ""
    while data := client.recv(65536):
        text += data.decode()
        while text:
            try:
                request, end = json.JSONDecoder().raw_decode(text)
            except json.JSONDecodeError:
                break
            text = text[end:].lstrip()
            yield request
