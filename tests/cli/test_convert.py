# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp convert``: one image in, another out."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest
import zstandard

from migcomp.convert.formats import FORMATS
from tests.cli.conftest import (
    COMMAND,
    Outcome,
    command,
    environment,
    program,
    sentence,
)
from tests.conftest import make_page
from tests.qemu_tools import a_stream, decode


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    path = tmp_path / "guest.qemu"
    path.write_bytes(a_stream()[0])
    return path


def test_there_and_back(guest: Path, tmp_path: Path) -> None:
    memory = a_stream()[1].memory
    raw, packed = tmp_path / "guest.raw", tmp_path / "packed.qemu"
    done = command("convert", guest, raw, "--to", "raw")
    assert done.code == 0
    assert done.text == "guest.qemu (qemu) written to guest.raw (raw, 176 KiB)\n"
    assert raw.read_bytes() == memory
    done = command("convert", guest, packed, "--to", "qemu", "-c", "zlib", "--json")
    assert done.json == {
        "schema": "migcomp.convert/1",
        "from": {"path": str(guest), "format": "qemu"},
        "to": {
            "path": str(packed),
            "format": "qemu",
            "bytes": packed.stat().st_size,
        },
    }
    assert b"".join(decode(packed.read_bytes()).memory.values()) == memory


def test_names_do_not_reach_the_terminal_raw(guest: Path, tmp_path: Path) -> None:
    output = tmp_path / "red\n\x1b[31m"
    done = command("convert", guest, output, "--to", "raw")
    assert done.code == 0
    written = "guest.qemu (qemu) written to red\\n\\x1b[31m (raw, 176 KiB)\n"
    assert done.text == written
    assert output.exists()


def test_through_pipes(guest: Path) -> None:
    stream = guest.read_bytes()
    done = program("convert", "-", "-", "--to", "raw", stdin=stream)
    assert done.code == 0
    assert done.stdout == a_stream()[1].memory
    assert done.errors == "stdin (qemu) written to stdout (raw)\n"
    done = program("convert", "-", "-", "--to", "seekable-zstd", stdin=stream)
    content = zstandard.ZstdDecompressor().stream_reader(
        done.stdout, read_across_frames=True
    )
    assert content.read() == a_stream()[1].memory
    assert done.errors == "stdin (qemu) written to stdout (seekable-zstd)\n"
    done = program("convert", "-", "-", "--to", "qemu", "-q", stdin=stream)
    assert b"".join(decode(done.stdout).memory.values()) == a_stream()[1].memory
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Missing option '--to'"),
        (["--to", "tape"], "is not one of raw, qemu"),
        (["--to", "raw", "-c", "zlib"], "format raw has no codecs"),
        (["--to", "qemu", "-c", "zstd"], "and not zstd"),
        (["--to", "seekable-zstd", "-c", "zlib"], "codecs zstd, and not zlib"),
        (["--to", "seekable-zstd", "-l", "99"], "zstd has levels -131072 to 22, not"),
        (["--to", "kdump", "-c", "zlib", "-l", "99"], "zlib has levels 0 to 9, not 99"),
        (["--to", "kdump", "-c", "none", "-l", "3"], "none has only level 0, not 3"),
        (["--to", "lime", "-l", "1"], "format lime has no codecs"),
    ],
)
def test_wrong_use(guest: Path, tmp_path: Path, options: list[str], words: str) -> None:
    done = command("convert", guest, tmp_path / "out", *options)
    assert done.code == 2
    assert words in done.errors
    assert not (tmp_path / "out").exists()


def test_nothing_is_lost(guest: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    done = command("convert", guest, other, "--to", "raw")
    assert done.code == 7
    assert "exists already" in sentence(done)
    assert other.read_bytes() == b"precious"
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "state.json").write_text("{}")
    memory = snapshot / "memory-ranges"
    guest.rename(memory)
    guest.symlink_to(memory)
    for arguments in (
        ("convert", guest, guest, "--to", "raw"),
        ("convert", guest, "--diff", other, other, "--to", "raw"),
        ("convert", snapshot, memory, "--to", "raw"),
        ("convert", f"file://{memory}", memory, "--to", "raw"),
        ("run", guest, "--diff", other, "-o", other),
    ):
        done = command(*arguments, "--force")
        assert done.code == 7, arguments
        assert "is what is being read" in sentence(done)
    assert other.read_bytes() == b"precious"
    assert command("convert", guest, other, "--to", "raw", "--force").code == 0
    assert other.read_bytes() == a_stream()[1].memory


def test_lost_addresses_are_told_on_standard_error(big: Path, tmp_path: Path) -> None:
    blocks = ["--block=low:0:80KiB", "--block=high:4GiB:80KiB"]
    to_qemu: list[str | Path] = [
        "convert",
        big,
        tmp_path / "x",
        "--to",
        "qemu",
        "--force",
        *blocks,
    ]
    done = command(*to_qemu)
    assert done.code == 0
    assert done.errors.startswith("migcomp: a QEMU stream tells no guest addresses: ")
    assert done.errors.count("\n") == 1
    assert command(*to_qemu, "-q").errors == ""


def test_a_spoilt_image_leaves_nothing(guest: Path, tmp_path: Path) -> None:
    stream = bytearray(guest.read_bytes())
    stream[stream.index(b"\x78\x01") + 20] ^= 0x55
    guest.write_bytes(stream)
    for to in FORMATS:
        done = command("convert", guest, tmp_path / "out", "--to", to)
        assert done.code == 3
        assert f"{guest}: page 3: " in sentence(done)
    assert command("convert", tmp_path / "no", tmp_path / "x", "--to", "raw").code == 3
    assert list(tmp_path.iterdir()) == [guest]


# --- No room --------------------------------------------------------------------------

ON_A_SMALL_DISK = """
mount -t tmpfs -o size=96k none "$0" && "$@"
code=$?
ls -A "$0"
exit $code
"""


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Of which no format makes less than 100 KiB."""
    path = tmp_path / "big.raw"
    path.write_bytes(b"".join(make_page("noise", n) for n in range(40)))
    return path


@pytest.mark.parametrize("to", FORMATS)
def test_a_file_that_may_not_grow(big: Path, tmp_path: Path, to: str) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [*COMMAND, "convert", big, out, "--to", to],
        env=environment(),
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000)),
    )
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    assert outcome.code == 7
    assert f"{out} cannot be written: File too large; write to" in sentence(outcome)
    assert list(tmp_path.iterdir()) == [big]


@pytest.mark.parametrize("to", FORMATS)
def test_a_full_disk(big: Path, tmp_path: Path, to: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    alone = ("unshare", "--mount")  # so that nothing stays mounted
    if subprocess.run(
        [*alone, "mount", "-t", "tmpfs", "none", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs to mount a tmpfs")
    line = [*COMMAND, "convert", str(big), str(disk / "out"), "--to", to]
    done = subprocess.run(
        [*alone, "sh", "-c", ON_A_SMALL_DISK, disk, *line],
        env=environment(),
        capture_output=True,
        check=False,
    )
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    assert outcome.code == 7
    assert "No space left on device; free some space" in sentence(outcome)
