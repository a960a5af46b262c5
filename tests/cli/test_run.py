# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp run`` and each of its options."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import PAGE, command, image_bytes, program, sentence


def settings(*arguments: str | Path) -> Any:
    done = command("run", *arguments, "--json")
    assert done.code == 0, done.errors
    assert done.errors == ""
    return done.json["settings"]


def test_a_run_reports_and_keeps_nothing(image: Path) -> None:
    done = command("run", image)
    assert done.code == 0
    assert done.text.startswith("guest.raw: 1.17 MiB compressed to ")
    assert "not kept" in done.text.splitlines()[0]
    assert list(image.parent.iterdir()) == [image]


def test_text_and_json_agree(image: Path) -> None:
    text = command("run", image, "--dedup", "-t", "1").text
    done = command("run", image, "--dedup", "-t", "1", "--json").json
    for name, row in done["classes"].items():
        match = re.search(rf"^  {name} +([\d,]+) ", text, re.M)
        assert match
        assert int(match[1].replace(",", "")) == row["pages"]
    assert f"{done['image-rate']:.2f} image / stream" in text
    rate = done["compression"]["compression-rate"]
    assert f"compression rate {rate:.2f}" in text
    assert done["codec"]["provider"] in text
    assert done["machine"]["cpu"].split()[0] in text
    assert done["ram"]["duplicate"] == 100
    assert done["classes"]["deduplicated"]["pages"] > 40


def test_defaults(image: Path) -> None:
    found = settings(image)
    threads = found.pop("threads")
    assert threads >= 1
    assert found == {
        "codec": "zstd",
        "level": 1,
        "grouping": "packet",
        "packet-pages": 128,
        "request-pages": 128,
        "channels": 0,
        "dedup": False,
        "requests-per-thread": 4,
        "handler": "",
    }


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        (["-c", "lz4"], "codec", "lz4"),
        (["--codec", "zlib"], "codec", "zlib"),
        (["-c", "none"], "codec", "none"),
        (["-l", "3"], "level", 3),
        (["--level", "-5"], "level", -5),
        (["--compress-level", "2"], "level", 2),
        (["-t", "3"], "threads", 3),
        (["--threads", "2"], "threads", 2),
        (["--compress-threads", "1"], "threads", 1),
        (["-r", "1"], "requests-per-thread", 1),
        (["--requests-per-thread", "7"], "requests-per-thread", 7),
        (["-g", "page"], "grouping", "page"),
        (["-g", "page", "--request-pages", "1"], "request-pages", 1),
        (["--packet-pages", "16"], "packet-pages", 16),
        (["-g", "stream"], "channels", 2),
        (["-g", "stream", "--channels", "3"], "channels", 3),
        (["-g", "stream", "--multifd-channels", "1"], "channels", 1),
        (["--dedup"], "dedup", True),
        (["--cpus", "0"], "codec", "zstd"),
        (["--handler", "tests.cli.codec_of_ours:Codec"], "handler", None),
    ],
)
def test_an_option_reaches_the_run(
    image: Path, options: list[str], name: str, value: object
) -> None:
    found = settings(image, *options)
    assert found[name] == (options[1] if value is None else value)


@pytest.mark.parametrize("size", ["8192", "8KiB", "8k", "64KiB"])
def test_page_sizes(tmp_path: Path, size: str) -> None:
    path = tmp_path / "guest.raw"
    path.write_bytes(image_bytes(320))
    done = command("run", path, "--page-size", size, "--json").json
    assert done["ram"]["page-size"] == (65536 if size == "64KiB" else 8192)


def test_blocks(image: Path) -> None:
    done = command(
        "run",
        image,
        "--json",
        "--block",
        "pc.ram:0:1MiB",
        "--block",
        "0000:00:02.0/vga.vram:0xfd000000:176KiB",
    )
    assert done.json["image"]["blocks"] == [
        {"name": "pc.ram", "length": 2**20, "guest-address": 0},
        {
            "name": "0000:00:02.0/vga.vram",
            "length": 176 * 2**10,
            "guest-address": 0xFD000000,
        },
    ]


def test_an_image_that_ends_within_a_page(tmp_path: Path) -> None:
    path = tmp_path / "odd.raw"
    path.write_bytes(image_bytes(2) + b"end")
    done = command("run", path)
    assert done.code == 3
    assert sentence(done) == (
        f"{path} has 8195 bytes, which is no multiple of the page size 4096; give "
        "another --page-size, or --pad to fill up the last page with zeros"
    )
    assert command("run", path, "--pad", "--json").json["image"]["bytes"] == 8195


def test_standard_input_and_output(image: Path, stream: Path) -> None:
    done = program("run", "-", "-o", "-", stdin=image.read_bytes())
    assert done.code == 0
    assert done.errors.startswith("stdin to stdout: 1.17 MiB compressed to ")
    again = program("restore", "-", "-o", "-", stdin=done.stdout)
    assert again.stdout == image.read_bytes()
    assert again.errors.startswith("stdin to stdout: ")
    # The header of a pipe's stream cannot know the length; the records are equal.
    assert done.stdout.count(b"MREC") == stream.read_bytes().count(b"MREC")


def test_json_goes_to_standard_error_when_the_stream_takes_the_other(
    image: Path, stream: Path
) -> None:
    done = program("run", image, "-o", "-", "--json")
    assert done.stdout == stream.read_bytes()
    assert done.errors.startswith("{\n")


def test_quiet(image: Path, tmp_path: Path) -> None:
    done = command("run", image, "-q")
    assert (done.code, done.stdout, done.stderr) == (0, b"", b"")
    done = command("run", image, "--quiet", "--json", "-o", tmp_path / "x.migc")
    assert done.json["stream"]["bytes"] == (tmp_path / "x.migc").stat().st_size


def test_output_does_not_depend_on_threads(make_stream: Callable[..., Path]) -> None:
    for options in (["-g", "page"], ["-g", "stream"], ["--dedup"], ["-c", "lz4"]):
        one, many = (
            make_stream(*options, *numbers, "--force").read_bytes()
            for numbers in (["-t", "1"], ["-t", "5", "-r", "2"])
        )
        assert one == many


def test_an_existing_output_needs_force(image: Path, tmp_path: Path) -> None:
    output = tmp_path / "kept.migc"
    output.write_text("precious")
    done = command("run", image, "-o", output)
    assert done.code == 7
    assert "--force" in sentence(done)
    assert output.read_text() == "precious"
    assert command("run", image, "-o", output, "--force", "-q").code == 0
    assert output.read_bytes().startswith(b"\x89MIGC")


def test_the_image_is_never_the_output(image: Path) -> None:
    before = image.read_bytes()
    done = command("run", image, "-o", image, "--force")
    assert done.code == 7
    assert "is what is being read" in sentence(done)
    assert image.read_bytes() == before


def test_a_sparse_image(tmp_path: Path) -> None:
    path = tmp_path / "sparse.raw"
    with path.open("wb") as file:
        file.truncate(2**30)
        file.seek(2**29)
        file.write(b"x" * PAGE)
    done = command("run", path, "--json").json
    assert done["ram"]["duplicate"] == 2**18 - 1
    assert done["stream"]["bytes"] < 1000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-c", "zstdd"], "'zstdd' is not one of zstd, lz4, zlib, none"),
        (["-g", "pages"], "'pages' is not one of"),
        (["-t", "0"], "'0' is not a positive number"),
        (["-t", "1000000"], "1000000 is more than"),
        (["-r", "1000000"], "1000000 is more than"),
        (["--channels", "1000000"], "1000000 is more than"),
        (["-l", "fast"], "'fast' is not a valid integer"),
        (["--page-size", "big"], "'big' is not a size such as"),
        (["--page-size", "100"], "'100' is none of 4096, 8192, 16384"),
        (["-g", "stream", "--request-pages", "3"], "give --packet-pages instead"),
        (["--packet-pages", "1025"], "a packet has 1 to 1024 pages"),
        (["--block", "ram:0"], "'ram:0' is not of the form NAME:GUEST_ADDRESS:SIZE"),
        (["--block", "ram:x:1MiB"], "'x' is not a guest address such as"),
        (["--block", "ram:0:x"], "'x' is not a size such as"),
        (["--block", "a:0xffffffffffffffffff:4MiB"], "is not a guest address"),
        (["--block", "a:18446744073709551616:4MiB"], "is not a guest address"),
        (["--block", "a:18446744073709551615:4MiB"], "starts at 0xffffffffffffffff"),
        (["--block", "a:0:1MiB", "--block", "b:0x80000:176KiB"], "blocks a and b over"),
        (["--block", "ram:0:1MiB"], "its blocks take 1048576; correct --block"),
        (["--block", "ram:0:" + "9" * 5000], "is not a size such as"),
        (["-t", "9" * 5000], "is more than"),
        (["-t", "0" * 5000], "is not a positive number"),
        (["-r", "9" * 5000], "is more than"),
        (["--packet-pages", "9" * 5000], "is more than"),
        (["--packet-pages", "9" * 15], "a packet has 1 to 1024 pages"),
        (["--cpus", "0,a"], "'0,a' is not a list of CPUs"),
        (["--cpus", "1-0"], "'1-0' runs backwards; write 0-1"),
        (["--cpus", "0-99999999999"], "names others than the usable CPUs"),
        (["--cpus", "9" * 5000], "names others than the usable CPUs"),
        (["--cpus", "99999"], "names others than the usable CPUs"),
        (["--nonsense"], "No such option"),
        (["--handler", "nocolon"], "'nocolon' is not of the form package.module:fac"),
        (["--handler", "mine:Codec", "-c", "lz4"], "takes the place of --codec"),
        (["--channels", "2"], "--channels has a meaning with --grouping stream only"),
        (["-g", "page", "--multifd-channels", "2"], "with --grouping stream only"),
        (["--color", "blue"], "'blue' is not one of"),
    ],
)
def test_wrong_options(image: Path, options: list[str], words: str) -> None:
    done = command("run", image, *options)
    assert done.code == 2
    assert words in sentence(done)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["-l", "99"], 2, "levels -131072 to 22, not 99"),
        (["-c", "zlib", "-l", "10"], 2, "levels 0 to 9, not 10"),
        (["--handler", "no.such:thing"], 5, "cannot be imported"),
        (["--handler", "tests.cli.codec_of_ours:Broken"], 6, "failed on page"),
    ],
)
def test_what_cannot_be(image: Path, options: list[str], code: int, words: str) -> None:
    output = image.with_suffix(".migc")
    done = command("run", image, "-o", output, *options)
    assert done.code == code
    assert words in sentence(done)
    assert list(image.parent.iterdir()) == [image]


def test_a_codec_that_is_switched_off(image: Path) -> None:
    done = program("run", image, "-c", "lz4", MIGCOMP_LIBLZ4="none")
    assert done.code == 5
    assert "was found; do without MIGCOMP_LIBLZ4=none" in sentence(done)


def test_without_a_native_library_python_does_the_work(
    image: Path, stream: Path, tmp_path: Path
) -> None:
    output = tmp_path / "slow.migc"
    done = program("run", image, "-o", output, "--json", MIGCOMP_LIBZSTD="none")
    assert done.code == 0
    assert done.json["codec"]["provider"] == "zstandard"
    assert "the Python package zstandard does the work" in done.errors
    assert len(done.errors.splitlines()) == 1
    for path in (stream, output):
        done = program("verify", path, image, "-q", MIGCOMP_LIBZSTD="none")
        assert (done.code, done.errors) == (0, "")
