# SPDX-License-Identifier: LGPL-2.1-or-later
"""On a terminal: colours, width, progress, and what must not go there."""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import pty
import re
import struct
import subprocess
import termios
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from migcomp.choice import Choice
from migcomp.cli import progress as progress_module
from migcomp.cli.progress import opening, progress
from migcomp.errors import ImageError
from migcomp.images.open import open_image
from migcomp.units import format_size
from tests.cli.conftest import COMMAND, command, environment
from tests.conftest import compressed, make_pages, piped
from tests.dump_files import avml, kdump, lime, virsh_save
from tests.qemu_tools import a_stream


def on_terminal(*arguments: str | Path, columns: int = 80, **changes: str) -> str:
    """What the program shows on a terminal of its own, both outputs."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(**changes),
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux tells the end
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    process.wait(30)
    return shown.decode()


def test_colours(image: Path) -> None:
    assert "\x1b[" in on_terminal("run", image)
    assert "\x1b[" not in on_terminal("run", image, NO_COLOR="1")
    assert "\x1b[" not in on_terminal("run", image, "--color", "never")
    assert "\x1b[" not in on_terminal("run", image, TERM="dumb")
    assert b"\x1b[" not in command("run", image).stdout
    assert b"\x1b[" in command("run", image, "--color", "always").stdout
    assert b"\x1b[" in command("codecs", "--color", "always").stdout


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_widths(image: Path, columns: int) -> None:
    shown = on_terminal("run", image, columns=columns, NO_COLOR="1")
    widest = max(len(line.rstrip()) for line in shown.splitlines())
    assert widest <= max(80, columns)
    assert ("memory map" in shown.splitlines()[2]) == (columns == 200)


def test_binary_data_stays_off_the_terminal(image: Path, stream: Path) -> None:
    assert "standard output is a terminal" in on_terminal("run", image, "-o", "-")
    assert "standard output is a terminal" in on_terminal("restore", stream, "-o", "-")
    assert "standard input is a terminal" in on_terminal("run", "-")
    assert "standard input is a terminal" in on_terminal("verify", "-")


# --- Progress ------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error as a terminal, and no patience."""
    file = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(progress_module, "sys", SimpleNamespace(stderr=file))
    monkeypatch.setattr(progress_module, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(progress_module, "_INTERVAL_SECONDS", 0.0)
    return file


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_progress_shows_pages_share_rate_size_and_time_left(terminal: Terminal) -> None:
    with progress("compressing", 32768, 4096, quiet=False, color="auto") as watch:
        assert watch
        for pages in (8192, 16384):
            time.sleep(0.01)
            watch(pages, 10 * 2**20)
    shown = plain(terminal.getvalue())
    assert re.search(
        r"compressing .* 50 % 16,384 pages, [\d,]+ MB/s, stream 10\.0 MiB, [\d:]+ left",
        shown,
    )
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count(
        "\x1b[?25h"
    )


def test_progress_of_a_pipe_has_no_share(terminal: Terminal) -> None:
    with progress("compressing", None, 4096, quiet=False, color="auto") as watch:
        assert watch
        watch(16384, 2**20)
    shown = plain(terminal.getvalue())
    assert "16,384 pages" in shown
    assert "%" not in shown


def test_progress_while_a_pipe_is_copied(terminal: Terminal) -> None:
    with progress("compressing", 32768, 4096, quiet=False, color="auto") as watch:
        assert watch
        watch(16384, 0)
    shown = plain(terminal.getvalue())
    assert re.search(r" 0 % 16,384 pages, .* copied to a temporary file", shown)


def test_progress_while_an_image_is_opened(terminal: Terminal, tmp_path: Path) -> None:
    """Of those whose opening goes through much of the file."""
    stream = a_stream()[0]
    data = make_pages("rows", "noise", "text") * 50
    files = {
        "qemu": stream,
        "virsh-save": virsh_save(gzip.compress(stream), 1),
        "kdump": kdump([(0, data)]),
        "avml": avml([(0, data)]),
        "lime": zlib.compress(lime([(0, data)])),
        "migcomp": compressed(data, Choice(packet_pages=2))[0],
    }
    for format, content in files.items():
        path = tmp_path / format
        path.write_bytes(content)
        told = opened(path)
        assert told == sorted(told)
        assert 0 < told[-1] <= len(content)
        shown = plain(terminal.getvalue())
        assert "opening" in shown
        assert format_size(told[-1]) in shown
        terminal.truncate(terminal.seek(0))


def opened(path: Path) -> list[int]:
    """What is told while an image is opened, and shown."""
    told: list[int] = []
    with opening(str(path), quiet=False, color="auto") as show:
        assert show is not None

        def watch(done: int, copy: int = 0, /) -> None:
            told.append(done)
            show(done, copy)

        with open_image(str(path), watch=watch):
            pass
    return told


def test_progress_while_a_pipe_is_copied_to_be_opened(terminal: Terminal) -> None:
    told: list[int] = []
    with piped(a_stream()[0][:60_000]) as path, pytest.raises(ImageError):
        open_image(path, watch=lambda done, copy=0: told.append(done))
    assert told[0] == 60_000
    with opening("-", quiet=False, color="auto") as watch:
        assert watch is not None
        watch(5 << 20)
        assert "5.00 MiB" in plain(terminal.getvalue())
        assert "copy" not in plain(terminal.getvalue())
    with opening("-", quiet=False, color="auto") as watch:
        assert watch is not None
        watch(6 << 20, 7 << 20)
    assert "6.00 MiB, 7.00 MiB in a temporary copy" in plain(terminal.getvalue())
    assert "%" not in plain(terminal.getvalue())


def test_short_work_shows_none(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "_PATIENCE_SECONDS", 60.0)
    with progress("compressing", 9, 4096, quiet=False, color="auto") as watch:
        assert watch
        watch(5, 5)
    assert terminal.getvalue() == ""


def test_nobody_watches_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "sys", SimpleNamespace(stderr=io.StringIO()))
    with progress("compressing", 9, 4096, quiet=False, color="auto") as watch:
        assert watch is None


def test_quiet(terminal: Terminal) -> None:
    with progress("compressing", 9, 4096, quiet=True, color="auto") as watch:
        assert watch is None
    assert terminal.getvalue() == ""


def test_long_work_on_a_terminal(tmp_path: Path) -> None:
    data = make_pages("spot") * (8 << 8)
    pipe = tmp_path / "guest.pipe"
    os.mkfifo(pipe)

    def feed() -> None:
        with pipe.open("wb") as file:
            file.write(data[: len(data) // 2])
            time.sleep(1.2)  # longer than what shows no progress
            file.write(data[len(data) // 2 :])

    feeder = threading.Thread(target=feed)
    feeder.start()
    shown = plain(on_terminal("run", pipe))
    feeder.join()
    assert re.search(r"compressing .* pages, [\d.,]+ MB/s, stream ", shown)
    assert "8.00 MiB compressed to" in shown
