# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp inspect``: a stream's contents, and single pages."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import PAGE, command, program, sentence
from tests.qemu_tools import a_stream as qemu_stream
from tests.stream_anatomy import dissect


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


def test_quiet(stream: Path, image: Path, tmp_path: Path) -> None:
    """Errors only, and --json."""
    for source in (stream, image):
        for more in ([], ["--page", "3"]):
            done = command("inspect", source, *more, "-q")
            assert (done.code, done.text) == (0, "")
            assert command("inspect", source, *more, "-q", "--json").json
    cut = tmp_path / "cut.migc"
    cut.write_bytes(stream.read_bytes()[:-500])
    done = command("inspect", cut, "-q")
    assert done.code == 4
    assert "it is cut off" in sentence(done)


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


def test_a_page_that_repeats_one_that_repeats_another(
    make_stream: Callable[..., Path],
) -> None:
    """One step is all that a page needs; a chain of them could be endless."""
    stream = make_stream("--dedup", "--packet-pages", "1", "-g", "page")
    whole = dissect(stream.read_bytes())
    twice = [rec for rec in whole.data if rec.body[:1] == b"\2"]
    twice[-1].body = b"\2" + struct.pack("<Q", twice[0].first_page)
    stream.write_bytes(whole.pack())
    done = command("inspect", stream, "--page", str(twice[-1].first_page))
    assert done.code == 4
    assert "which is deduplicated itself" in sentence(done)


def test_totals_that_are_not_those_of_the_records(stream: Path) -> None:
    whole = dissect(stream.read_bytes())
    end = whole.records[-1]
    end.body = end.body[:56] + struct.pack("<Q", 10**15) + end.body[64:]
    stream.write_bytes(whole.pack())
    for name in ("inspect", "verify"):
        done = command(name, stream)
        assert done.code == 4
        assert "its end counts other pages, or other compressed data" in done.errors


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


# --- Images ---------------------------------------------------------------------------


def test_a_raw_image(image: Path) -> None:
    found = command("inspect", image, "--json").json
    assert found["schema"] == "migcomp.image/1"
    assert found["image"]["format"] == "raw"
    assert found["image"]["blocks"][0]["length"] == 300 * PAGE
    assert {name: row["pages"] for name, row in found["classes"].items()} == {
        "zero": 100,
        "same-filled": 50,
        "normal": 150,
    }
    text = command("inspect", image).text
    assert text.startswith("guest.raw: raw image, 1.17 MiB\n")
    assert re.search(r"^  same-filled +50 +16\.7 % +200 KiB$", text, re.M)
    assert "memory map" in text


def test_pages_of_a_raw_image(image: Path) -> None:
    content = image.read_bytes()
    for page, kind in ((0, "zero"), (2, "same-filled"), (299, "normal")):
        found = command("inspect", image, "--page", str(page), "--json").json
        assert bytes.fromhex(found["data"]) == content[page * PAGE : (page + 1) * PAGE]
        assert (found["class"], found["guest-address"]) == (kind, page * PAGE)
    piped = program("inspect", "-", "--page", "3", "--json", stdin=content)
    assert bytes.fromhex(piped.json["data"]) == content[3 * PAGE : 4 * PAGE]
    done = command("inspect", image, "--page", "300")
    assert done.code == 3
    assert sentence(done).endswith("has no page 300; its pages are 0 to 299")


def test_a_qemu_stream(tmp_path: Path) -> None:
    stream, writer = qemu_stream()
    path = tmp_path / "guest.qemu"
    path.write_bytes(stream)
    found = command("inspect", path, "--json").json
    assert found["image"]["format"] == "qemu"
    assert found["facts"]["statistics"]["ram"]["normal"] == 18
    assert sum(row["pages"] for row in found["classes"].values()) == 44
    text = command("inspect", path).text
    assert re.search(r"^  machine type +pc *$", text, re.M)
    assert re.search(r"^  ram +total 180,224, transferred ", text, re.M)
    assert re.search(r"^ +1 +9 +18 +17 +0 ", text, re.M)
    assert re.search(r"^  full +cpu +1 +1 +1 ", text, re.M)
    assert re.search(r"^  pc\.bios +1 MiB +16\.0 KiB +4$", text, re.M)
    assert max(map(len, text.splitlines())) <= 80
    memory = writer.memory
    for page in (0, 1, 3, 41):
        dump = command("inspect", path, "--page", str(page), "--json").json
        assert bytes.fromhex(dump["data"]) == memory[page * PAGE : (page + 1) * PAGE]
    as_raw = command("inspect", path, "--format", "raw", "--json").json
    assert as_raw["image"]["format"] == "raw"
    piped = program("inspect", "-", "--json", stdin=stream).json
    assert piped["facts"] == found["facts"]


def test_diffs_are_no_part_of_a_stream(make_stream: Callable[..., Path]) -> None:
    stream = make_stream()
    said = command("inspect", stream, "--diff", stream)
    assert said.code == 3
    assert "is migcomp, and cannot have diffs" in sentence(said)
