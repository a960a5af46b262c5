# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small guest under a real QEMU, in software emulation.

Needs Debian's qemu-system-x86, linux-image-amd64 and libc6-dev.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
QEMU = "qemu-system-x86_64"
MEMORY_MIB = 128
CAPABILITIES = ("compress", "xbzrle", "multifd")

#: How long anything may take before it counts as hung, in seconds.
WATCHDOG = 240


def kernel() -> Path | None:
    found = sorted(Path("/boot").glob("vmlinuz-*"))
    return found[-1] if found else None


def missing() -> str:
    """What the tests cannot do without; empty if all is there."""
    needed = {QEMU: shutil.which(QEMU), "/boot/vmlinuz-*": kernel()}
    needed["cc"] = shutil.which("cc")
    return ", ".join(name for name, path in needed.items() if path is None)


def initramfs(folder: Path) -> Path:
    """A cpio archive (newc) of init and the console that it writes to."""
    init = folder / "init"
    subprocess.run(["cc", "-O2", "-static", "-o", init, HERE / "init.c"], check=True)
    archive = b"".join(
        (
            _member("dev", 0o040755),
            _member("dev/console", 0o020600, device=(5, 1)),
            _member("init", 0o100755, init.read_bytes()),
            _member("TRAILER!!!", 0),
        )
    )
    path = folder / "initramfs"
    path.write_bytes(archive)
    return path


def _member(
    name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    head += bytes(-len(head) % 4)
    return head + data + bytes(-len(data) % 4)


class Machine:
    """A running QEMU and its monitor."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._serial, self._errors = folder / "serial", folder / "errors"
        self._socket = socket.socket(socket.AF_UNIX)
        self._until(lambda: self._connects(folder / "qmp"))
        self._monitor = self._socket.makefile("rw")
        self._monitor.readline()
        self("qmp_capabilities")

    def close(self) -> None:
        # What could not be sent to a QEMU that ended is tried once more.
        with suppress(OSError):
            self._monitor.close()
        self._socket.close()

    def __call__(self, command: str, **arguments: Any) -> Any:
        request = json.dumps({"execute": command, "arguments": arguments})
        try:
            self._monitor.write(request + "\n")
            self._monitor.flush()
            while line := self._monitor.readline():
                answer = json.loads(line)
                if "error" in answer:
                    raise RuntimeError(answer["error"]["desc"])
                if "return" in answer:
                    return answer["return"]
        except OSError:
            pass
        raise self._ended()

    def _ended(self) -> RuntimeError:
        self._process.wait(WATCHDOG)
        return RuntimeError(f"QEMU ended: {self._errors.read_text()}")

    def _connects(self, path: Path) -> bool:
        try:
            self._socket.connect(str(path))
        except OSError:
            return False
        return True

    def _until(self, done: Any) -> None:
        end = time.monotonic() + WATCHDOG
        while not done():
            if self._process.poll() is not None:
                raise self._ended()
            if time.monotonic() > end:
                raise TimeoutError
            time.sleep(0.05)

    def ticks(self) -> list[int]:
        """What the guest said since this QEMU runs; fails if memory was damaged."""
        text = self._serial.read_text(errors="replace")
        if "DAMAGED" in text:
            raise RuntimeError("the guest found its memory damaged")
        return [int(number) for number in re.findall(r"TICK (\d+)", text)]

    def wait_for_ticks(self, count: int) -> None:
        self._until(lambda: len(self.ticks()) >= count)

    def _set(self, *capabilities: str) -> None:
        self(
            "migrate-set-capabilities",
            capabilities=[
                {"capability": name, "state": name in capabilities}
                for name in CAPABILITIES
            ],
        )

    def migrate(self, path: Path, *capabilities: str, bandwidth: int = 10**12) -> Any:
        """Out to a file; what query-migrate says then."""
        parameters = {"max-bandwidth": bandwidth}
        return self.send(f"exec:cat > {path}", *capabilities, parameters=parameters)

    def send(self, uri: str, *capabilities: str, parameters: dict[str, Any]) -> Any:
        """Anywhere, with parameters by QMP's names; what query-migrate says then."""
        self._set(*capabilities)
        self("migrate-set-parameters", **parameters)
        self("migrate", uri=uri)
        self._until(self._migrated)
        return self("query-migrate")

    def load(self, path: Path, *capabilities: str) -> None:
        """A file into a machine that waits for it."""
        self.listen(f"exec:cat {path}", *capabilities, parameters={})
        self._until(self._migrated)

    def listen(self, uri: str, *capabilities: str, parameters: dict[str, Any]) -> None:
        """Has a machine that waits for a migration expect it there."""
        self._set(*capabilities)
        self("migrate-set-parameters", **parameters)
        self("migrate-incoming", uri=uri)

    def wait_for_migration(self) -> None:
        """Raises RuntimeError if it fails."""
        self._until(self._migrated)

    def _migrated(self) -> bool:
        status = self("query-migrate").get("status")
        if status in ("failed", "cancelled"):
            raise RuntimeError(f"the migration has {status}")
        return bool(status == "completed")


@contextmanager
def machine(
    folder: Path,
    initrd: Path,
    *more: str,
    incoming: bool = False,
    memory: Path | None = None,
) -> Iterator[Machine]:
    """``more``: options of QEMU.  ``incoming``: it waits for a migration, and stays
    stopped behind it.  With ``memory``, of MEMORY_MIB, it has that content, and does
    not start."""
    folder.mkdir()
    command = [QEMU, "-accel", "tcg", "-cpu", "max", "-m", f"{MEMORY_MIB}M"]
    command += ["-kernel", str(kernel()), "-initrd", str(initrd)]
    command += ["-append", "console=ttyS0 panic=-1 quiet", "-display", "none"]
    command += ["-serial", f"file:{folder / 'serial'}", "-nodefaults", "-no-reboot"]
    command += ["-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"]
    command += more
    if incoming:
        command += ["-incoming", "defer", "-S"]
    if memory is not None:
        backend = f"memory-backend-file,id=image,mem-path={memory},share=off"
        command += ["-object", f"{backend},size={MEMORY_MIB}M", "-S"]
        command += ["-machine", "memory-backend=image"]
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
        )
    with ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(process.kill)
        guest = Machine(process, folder)
        stack.callback(guest.close)
        yield guest
