# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp restore``, of sound streams and of what is left of others."""

from __future__ import annotations

import re
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import (
    COMMAND,
    PAGE,
    command,
    environment,
    image_bytes,
    program,
    sentence,
)
from tests.stream_anatomy import dissect

FULL = Path("/dev/full")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--dedup"],
        ["-g", "page", "--dedup"],
        ["-g", "stream", "--channels", "3"],
        ["-c", "lz4", "-g", "page", "--request-pages", "1"],
        ["-c", "zlib", "-l", "6"],
        ["-c", "none"],
        ["--packet-pages", "7"],
        ["--block", "a:0:1MiB", "--block", "b:4GiB:176KiB"],
    ],
)
def test_bit_for_bit(
    make_stream: Callable[..., Path], image: Path, tmp_path: Path, options: list[str]
) -> None:
    back = tmp_path / "back.raw"
    done = command("restore", make_stream(*options), "-o", back, "-t", "3")
    assert done.code == 0, done.errors
    assert done.text.startswith("guest.migc to back.raw: ")
    assert back.read_bytes() == image.read_bytes()


def test_a_padded_image_gets_its_own_length_back(tmp_path: Path) -> None:
    odd, stream, back = (tmp_path / name for name in ("odd", "odd.migc", "back"))
    odd.write_bytes(image_bytes(5) + b"end")
    assert command("run", odd, "--pad", "-o", stream).code == 0
    assert command("restore", stream, "-o", back).code == 0
    assert back.read_bytes() == odd.read_bytes()


def test_a_codec_of_the_users(
    make_stream: Callable[..., Path], image: Path, tmp_path: Path
) -> None:
    handler = "tests.cli.codec_of_ours:Codec"
    stream = make_stream("--handler", handler)
    back = tmp_path / "back.raw"
    done = command("restore", stream, "-o", back)
    assert done.code == 5
    assert f"--handler {handler}" in sentence(done)
    assert command("restore", stream, "-o", back, "--handler", handler).code == 0
    assert back.read_bytes() == image.read_bytes()


def test_json(stream: Path, image: Path, tmp_path: Path) -> None:
    done = command("restore", stream, "-o", tmp_path / "back.raw", "--json").json
    assert done["operation"] == "restore"
    assert done["ram"]["total"] == image.stat().st_size
    assert done["ram"]["transferred"] == stream.stat().st_size
    assert "missing-pages" not in done


def test_an_output_is_required(stream: Path) -> None:
    done = command("restore", stream)
    assert done.code == 2
    assert "'-o' / '--output'" in done.errors


def test_an_existing_output_needs_force(stream: Path, tmp_path: Path) -> None:
    back = tmp_path / "back.raw"
    back.write_text("precious")
    done = command("restore", stream, "-o", back)
    assert done.code == 7
    assert "--force" in sentence(done)
    assert back.read_text() == "precious"
    assert command("restore", stream, "-o", back, "--force").code == 0


def test_the_stream_is_never_the_output(stream: Path) -> None:
    before = stream.read_bytes()
    done = command("restore", stream, "-o", stream, "--force")
    assert done.code == 7
    assert stream.read_bytes() == before


def test_what_is_no_stream(image: Path, tmp_path: Path) -> None:
    done = command("restore", image, "-o", tmp_path / "back.raw")
    assert done.code == 4
    assert sentence(done) == (
        f"{image}: it is not a migcomp stream; migcomp convert takes it if it is an "
        "image"
    )


@pytest.mark.parametrize("kept", [1, 30, 80, 5000, -1])
def test_a_cut_off_stream(stream: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.migc"
    cut.write_bytes(stream.read_bytes()[:kept])
    done = command("restore", cut, "-o", tmp_path / "back.raw")
    assert done.code == 4
    sentence(done)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "cut.migc",
        "guest.migc",
        "guest.raw",
    ]


def test_a_flipped_bit(stream: Path, tmp_path: Path) -> None:
    damaged = bytearray(stream.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    stream.write_bytes(damaged)
    done = command("restore", stream, "-o", tmp_path / "back.raw")
    assert done.code == 4
    assert "--salvage" in sentence(done)


def test_salvage_gives_back_all_up_to_the_cut(
    make_stream: Callable[..., Path], image: Path, tmp_path: Path
) -> None:
    stream = make_stream("--packet-pages", "10")
    cut, back = tmp_path / "cut.migc", tmp_path / "back.raw"
    cut.write_bytes(stream.read_bytes()[: stream.stat().st_size // 2])
    done = command("restore", cut, "-o", back, "--salvage", "--json")
    assert done.code == 4
    (missing,) = done.json["missing-pages"]
    first, pages = missing["first-page"], missing["pages"]
    assert first % 10 == 0
    assert first + pages == 300
    assert re.fullmatch(
        rf"migcomp: {cut} is damaged, and {back} has zeros for {pages} missing pages: "
        rf"{first} to 299\n",
        done.errors,
    )
    original = image.read_bytes()
    assert back.read_bytes()[: first * PAGE] == original[: first * PAGE]
    assert not any(back.read_bytes()[first * PAGE :])


def test_salvage_of_a_malformed_record(
    make_stream: Callable[..., Path], image: Path, tmp_path: Path
) -> None:
    """Its checksums are right: the advice to salvage leads somewhere."""
    stream = make_stream("--packet-pages", "10")
    back = tmp_path / "back.raw"
    whole = dissect(stream.read_bytes())
    rec = whole.data[5]
    rec.body = b"\x63" + rec.body[1:]
    stream.write_bytes(whole.pack())
    strict = command("restore", stream, "-o", back)
    assert strict.code == 4
    assert "of unknown class; migcomp restore --salvage saves" in sentence(strict)
    done = command("restore", stream, "-o", back, "--salvage", "--json")
    assert done.code == 4
    assert "--salvage" not in done.errors
    found = {"first-page": rec.first_page, "pages": rec.pages}
    assert done.json["missing-pages"] == [found]
    assert done.json["image"]["missing-bytes"] == rec.pages * PAGE
    assert done.json["stream"]["lost-bytes"] == 40 + len(rec.body)
    original = bytearray(image.read_bytes())
    at = rec.first_page * PAGE
    original[at : at + rec.pages * PAGE] = bytes(rec.pages * PAGE)
    assert back.read_bytes() == original


def test_salvage_of_many_gaps_names_some(
    make_stream: Callable[..., Path], tmp_path: Path
) -> None:
    stream = make_stream("--packet-pages", "1")
    damaged = bytearray(stream.read_bytes())
    step = len(damaged) // 15
    for offset in range(step, len(damaged) - step, step):
        damaged[offset] ^= 1
    stream.write_bytes(damaged)
    done = command("restore", stream, "-o", tmp_path / "back.raw", "--salvage", "-q")
    assert done.code == 4
    assert re.search(r"more ranges \(--json lists all\)$", done.errors.strip())


def test_salvage_of_a_sound_stream_is_a_restore(
    stream: Path, image: Path, tmp_path: Path
) -> None:
    back = tmp_path / "back.raw"
    done = command("restore", stream, "-o", back, "--salvage", "--json")
    assert done.code == 0
    assert done.json["missing-pages"] == []
    assert back.read_bytes() == image.read_bytes()


def test_to_standard_output(make_stream: Callable[..., Path], image: Path) -> None:
    for options in ([], ["--dedup", "-g", "page"]):
        stream = make_stream(*options, "--force")
        done = program("restore", stream, "-o", "-", "-q")
        assert done.code == 0
        assert done.stdout == image.read_bytes()
        assert done.errors == ""


@pytest.mark.parametrize("arguments", [["verify", "{}"], ["restore", "{}", "-o", "-"]])
def test_no_room_for_the_copy_that_deduplicated_pages_need(
    make_stream: Callable[..., Path], arguments: list[str], tmp_path: Path
) -> None:
    """It is not the output that cannot be written."""
    stream = make_stream("--dedup")
    done = subprocess.run(
        [*COMMAND, *(argument.format(stream) for argument in arguments)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        capture_output=True,
        env={**environment(), "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 4
    assert done.stderr.decode() == (
        f"migcomp: {stream} has deduplicated pages, and they need a copy of the image "
        f"in {tmp_path} (File too large); set TMPDIR to a folder with room for it\n"
    )


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_a_full_output_of_a_stream_with_deduplicated_pages(
    make_stream: Callable[..., Path],
) -> None:
    done = command("restore", make_stream("--dedup"), "-o", FULL)
    assert done.code == 7
    assert sentence(done).startswith(f"{FULL} cannot be written: No space left")
