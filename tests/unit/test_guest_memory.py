# SPDX-License-Identifier: LGPL-2.1-or-later
"""The memory of a simulated guest, where this machine has not enough of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from migcomp.precopy import memory as memory_module
from migcomp.precopy.memory import GuestMemory
from migcomp.results import Block
from tests.conftest import PAGE, make_page

#: Touches all of 8 MiB, and tells why it may not.
SCRIPT = """
import sys
from migcomp.errors import ImageError
from migcomp.precopy import memory
from migcomp.results import Block
memory._available_memory = lambda: 0
try:
    with memory.GuestMemory("a guest", [Block("ram", 8 << 20, 0)], 4096) as guest:
        for page in range(guest.pages):
            guest.write(page, b"x" * 4096)
except ImageError as error:
    print(error)
"""


def test_it_lies_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "_available_memory", lambda: 0)
    with GuestMemory("a guest", [Block("ram", 8 * PAGE, 0)], PAGE) as memory:
        assert memory.read(0, 8) == bytes(8 * PAGE)
        memory.write(5, make_page("text"))
        assert memory.read(5) == make_page("text")
        assert memory.read(6) == bytes(PAGE)


def test_a_disk_that_has_no_room_for_it(tmp_path: Path) -> None:
    """It is told at once: a page that a mapped file has no room for would end the
    program with SIGBUS."""
    alone = ("unshare", "--mount", "sh", "-c")  # so that nothing stays mounted
    mount = 'mount -t tmpfs -o size=4m none "$TMPDIR" && '
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    if subprocess.run(
        [*alone, f"{mount} true"], env=environment, capture_output=True, check=False
    ).returncode:
        pytest.skip("needs to mount a tmpfs")
    done = subprocess.run(
        [*alone, f'{mount} exec "$@"', "-", sys.executable, "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"a guest cannot be copied to a temporary file in {tmp_path} (No space left on "
        "device); set TMPDIR to a folder with room for it\n"
    )
