# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp inspect``: a stream's contents, and single pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import PAGE, command, program, sentence


def test_the_contents_are_those_of_the_run(
    make_stream: Callable[..., Path], image: Path, tmp_path: Path
) -> None:
    for options in (["-g", "page"], ["--dedup"], ["-g", "stream"]):
        output = tmp_path / "x.migc"
        run = command("run", image, "-o", output, "--json", "--force", *options).json
        found = command("inspect", output, "--json").json
        assert found["classes"] == run["classes"]
        assert found["image"]["digest"] == run["image"]["digest"]
        assert found["image"]["blocks"] == run["image"]["blocks"]
        assert found["stream"]["bytes"] == run["stream"]["bytes"]
        assert found["stream"]["framing-bytes"] == run["stream"]["framing-bytes"]
        assert found["problem"] == ""
        for name in ("codec", "level", "grouping", "dedup", "channels"):
            assert found["settings"][name] == run["settings"][name]
        pages = [sum(region["pages"].values()) for region in found["regions"]]
        assert pages == [128, 128, 44]


def test_the_text(make_stream: Callable[..., Path]) -> None:
    stream = make_stream(
        "--block", "pc.ram:0:1MiB", "--block", "rom\x1b[31m:0xfffc0000:176KiB"
    )
    text = command("inspect", stream).text
    assert text.startswith("guest.migc: 1.17 MiB in ")
    assert re.search(r"codec +zstd level 1, written by libzstd \d", text)
    assert re.search(r"pc\.ram +0 +1\.00 MiB +256", text)
    assert re.search(r"rom\\x1b\[31m +0xfffc0000 +176 KiB +44", text)
    assert re.search(r"^  zero +100 +33\.3 %", text, re.M)
    assert re.search(r"^ +0xfffc0000  [^ ]+ +176 KiB", text, re.M)
    assert max(map(len, text.splitlines())) <= 80


def test_many_blocks_are_summed_up(make_stream: Callable[..., Path]) -> None:
    blocks = [f"--block=b{i}:{i * 64}KiB:16KiB" for i in range(75)]
    text = command("inspect", make_stream(*blocks)).text
    assert re.search(r"and 63 more +0.98 MiB +252", text)
    assert "small blocks" in text


def test_a_cut_off_stream_shows_what_is_there(
    make_stream: Callable[..., Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.migc"
    cut.write_bytes(make_stream().read_bytes()[:-500])
    done = command("inspect", cut)
    assert done.code == 4
    assert re.search(r"image digest +unknown", done.text)
    assert re.search(r"^  zero +\d+ ", done.text, re.M)
    assert done.errors.startswith(f"migcomp: {cut}: it is cut off")
    done = command("inspect", cut, "--json")
    assert done.code == 4
    assert "cut off" in done.json["problem"]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--dedup"],
        ["-g", "page", "--dedup"],
        ["-g", "stream", "--packet-pages", "9"],
    ],
)
def test_every_page_alone(
    make_stream: Callable[..., Path], image: Path, options: list[str]
) -> None:
    stream = make_stream(*options)
    content = image.read_bytes()
    classes = set()
    for page in (0, 2, 3, 4, 5, 35, 127, 128, 170, 291, 299):
        found = command("inspect", stream, "--page", str(page), "--json").json
        assert bytes.fromhex(found["data"]) == content[page * PAGE : (page + 1) * PAGE]
        assert found["guest-address"] == page * PAGE
        classes.add(found["class"])
        if found["class"] == "deduplicated":
            equal = found["equals"]
            assert equal < page
            assert content[equal * PAGE :][:PAGE] == content[page * PAGE :][:PAGE]
    assert {"zero", "same-filled"} < classes
    assert ("deduplicated" in classes) == ("--dedup" in options)


def test_a_page_as_a_dump(stream: Path) -> None:
    lines = command("inspect", stream, "--page", "2").text.splitlines()
    assert lines[0] == "guest.migc: page 2, same-filled"
    assert lines[1].startswith("  ram at guest address 0x2000; record of 128 pages")
    assert lines[-3:] == [
        "00000000  "
        + "  ".join(["cc cc cc cc cc cc cc cc"] * 2)
        + "  |"
        + "." * 16
        + "|",
        "*",
        "00001000",
    ]


def test_a_page_that_is_not_there(stream: Path) -> None:
    done = command("inspect", stream, "--page", "300")
    assert done.code == 4
    assert "no page 300" in sentence(done)
    assert command("inspect", stream, "--page", "-1").code == 2


def test_standard_input(stream: Path) -> None:
    done = program("inspect", "-", stdin=stream.read_bytes())
    assert done.code == 0
    assert done.text.startswith("stdin: ")
    done = program("inspect", "-", "--page", "1", stdin=stream.read_bytes())
    assert done.code == 4
    assert "pipe" in sentence(done)


def test_a_page_whose_record_is_damaged(stream: Path) -> None:
    damaged = bytearray(stream.read_bytes())
    damaged[1000] ^= 1
    stream.write_bytes(damaged)
    done = command("inspect", stream, "--page", "3")
    assert done.code == 4
    assert "checksum" in sentence(done)
