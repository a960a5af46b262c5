# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp explain``: what it prints, writes and refuses."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import command, image_bytes, program, sentence
from tests.cli.test_terminal import on_terminal
from tests.conftest import folder_names

PAGE = 4096

SAMPLES = Path(__file__).parents[2] / "sample_images"


def test_one_screen(image: Path) -> None:
    told = program("explain", image)
    assert told.code == 0, told.errors
    lines = told.text.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 40
    assert lines[0].startswith("guest.raw: 1.17 MiB of memory, ")
    assert lines[2].startswith("  - Leave out zero and same-filled pages, 50.0 % of ")
    for word in ("zero pages left out", "zstd in packets", "equal pages once"):
        assert word in told.text


def test_one_screen_with_all_there_is_to_tell() -> None:
    """More than what a page of text has would be no screen."""
    heap = SAMPLES / "heap-8m.raw"
    told = program("explain", heap, "--previous", SAMPLES / "writer-4m.raw")
    assert told.code == 0, told.errors
    assert len(told.text.splitlines()) <= 50
    for word in ("zstd with dictionary", "zstd deltas", "XBZRLE"):
        assert word in told.text


def test_blocks_that_are_one_row(image: Path) -> None:
    """Be they all there are, and equal."""
    blocks = [f"--block=b{n}:{n * 64}KiB:60KiB" for n in range(20)]
    told = command("explain", image, *blocks)
    assert told.code == 0, told.errors
    assert re.search(r"^ +20 small +1\.17 MiB", told.text, re.M)
    assert "  20 small: RAM blocks below 1/16 of the image, as one row\n" in told.text
    assert "as one row" not in command("explain", image).text


def test_every_cell_fits(image: Path, tmp_path: Path) -> None:
    """Nothing is cut off by rich, whatever the sizes."""
    sparse = tmp_path / "large.raw"
    sparse.write_bytes(image.read_bytes())
    with sparse.open("r+b") as file:
        file.truncate(1 << 40)
    told = program("explain", sparse, "--previous", image)
    assert told.code == 0, told.errors
    assert "…" not in told.text
    assert max(map(len, told.text.splitlines())) <= 80


def test_ascii_only(image: Path) -> None:
    told = program("explain", image, "--previous", image, PYTHONIOENCODING="ascii")
    assert told.stdout.isascii()
    assert "\\x" not in told.text
    assert "\\u" not in told.text


def test_progress_on_a_terminal(image: Path) -> None:
    told = on_terminal("explain", image, "--previous", image, NO_COLOR="1")
    doing = (
        "looking at pages",
        "trying deduplication",
        "trying compression",
        "trying a dictionary",
        "comparing pages",
        "trying deltas",
    )
    places = [told.find(each) for each in doing]
    assert -1 not in places
    assert places == sorted(places)
    assert "looking at pages" not in on_terminal("explain", image, "-q")
    plain = on_terminal("explain", image, NO_COLOR="1", columns=200)
    assert "zstd in packets" in plain


def test_json(image: Path) -> None:
    found = program("explain", image, "--json", "--previous", image).json
    assert found["schema"] == "migcomp.explain/1"
    assert found["pages"]["total"] == 300
    assert found["pages"]["zero"] == 100
    assert found["pages"]["same-filled"] == 50
    assert found["pages"]["duplicate"] == 45
    assert sum(each["pages"] for each in found["content-by-entropy"]) == 105
    assert sum(each["pages"] for each in found["duplicates-by-distance"]) == 45
    parts = found["techniques"]
    assert set(parts) >= {"zero", "same-filled", "deduplication", "page", "packet"}
    sent = ("zero", "same-filled", "deduplication", "packet")
    assert found["sent-bytes"] == sum(parts[n]["sent-bytes"]["value"] for n in sent)
    assert found["previous"] == {
        "path": str(image),
        "same": 150,
        "changed": 0,
        "new": 0,
    }
    for part in parts.values():
        assert part["saved-bytes"]["value"] == pytest.approx(
            part["guest-bytes"] - part["sent-bytes"]["value"]
        )


def test_a_page_that_is_cut_off(tmp_path: Path) -> None:
    """Refused as by the other commands, with what this one can do about it."""
    odd = tmp_path / "odd.raw"
    odd.write_bytes(b"x" * 5000)
    told = command("explain", odd)
    assert told.code == 3
    assert "5000 bytes, which is no multiple of the page size 4096" in sentence(told)
    assert "--pad" in sentence(told)
    padded = command("explain", odd, "--pad", "--previous", odd, "--json").json
    assert padded["image"]["bytes"] == 2 * PAGE
    assert padded["pages"]["total"] == 2
    text = command("explain", odd, "--pad").text
    assert text.startswith("odd.raw: 8.00 KiB of memory")
    assert "4.88 KiB" not in text


def test_standard_input(image: Path) -> None:
    told = program("explain", "-", "--json", stdin=image.read_bytes())
    assert told.json["pages"]["total"] == 300
    assert program("explain", "-", "-q", stdin=image.read_bytes()).stdout == b""


def test_a_stream_of_ours_is_an_image(image: Path, stream: Path) -> None:
    one = command("explain", image, "--json").json
    other = command("explain", stream, "--json").json
    assert one["pages"] == other["pages"]
    assert one["content-by-entropy"] == other["content-by-entropy"]
    assert other["image"]["format"] != "raw"


def test_pictures(image: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "it.html", tmp_path / "it.png"
    told = command("explain", image, "--html", page, "--png", picture)
    assert told.code == 0, told.errors
    assert "of memory" in told.text
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert text.count("<svg") == 12
    assert re.search(r"<h1>guest.raw: .*</h1>\s*<p class=\"lead\">1.17 MiB of", text)
    again = command("explain", image, "--html", page)
    assert again.code == 7
    assert "exists already" in sentence(again)
    assert page.read_text() == text
    assert command("explain", image, "--html", page, "--force", "-q").code == 0


def test_names_from_outside_are_no_markup(tmp_path: Path) -> None:
    image = tmp_path / "<img src=x onerror=alert(1)>$x$\x1b[31m&.raw"
    image.write_bytes(image_bytes(60))
    page = tmp_path / "it.html"
    told = command("explain", image, "--html", page, "--previous", image)
    assert told.code == 0, told.errors
    assert "\x1b" not in told.text
    assert "<img" not in page.read_text()
    assert "\x1b" not in page.read_text()
    assert "&lt;img src=x" in page.read_text()


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_the_extra(
    image: Path, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before any work, and nothing is left behind."""
    monkeypatch.setitem(sys.modules, package, None)
    page = tmp_path / "it.html"
    told = command("explain", tmp_path / "none", "--html", page)
    assert told.code == 2
    assert package in sentence(told)
    assert "pip install 'migcomp[html]'" in sentence(told)
    assert folder_names(tmp_path) == ["guest.raw"]
    assert command("explain", image).code == 0


def test_a_home_that_cannot_be_written(image: Path, tmp_path: Path) -> None:
    """matplotlib would speak of its cache, as it does while it makes that."""
    picture = tmp_path / "it.png"
    told = program(
        *("explain", image, "--png", picture, "-q"),
        HOME=str(image),
        MPLCONFIGDIR="",
        XDG_CACHE_HOME="",
        XDG_CONFIG_HOME="",
    )
    assert told.code == 0, told.errors
    assert told.errors == ""
    assert picture.exists()


def test_an_output_that_cannot_be_written(image: Path) -> None:
    told = program("explain", image, "--html", "/dev/full")
    assert told.code == 7
    assert sentence(told).startswith("/dev/full cannot be written: No space left")


def test_wrong_use(image: Path, tmp_path: Path) -> None:
    for arguments in (
        ("explain", image, "--html", "-"),
        ("explain", image, "--png", tmp_path / "a", "--html", f"{tmp_path}/./a"),
        ("explain", "-", "--previous", "-"),
        ("explain", image, "--sample", "much"),
    ):
        told = program(*arguments)
        assert told.code == 2, arguments
        sentence(told)
    told = command("explain", image, "--png", image, "--force")
    assert told.code == 7
    assert "is what is being read" in sentence(told)


def test_bad_images(image: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    cut = tmp_path / "cut.elf"
    cut.write_bytes(b"\x7fELF" + bytes(60))
    for path in (empty, cut, tmp_path / "none"):
        for arguments in (("explain", path), ("explain", image, "--previous", path)):
            told = command(*arguments)
            assert told.code == 3, told.errors
            assert path.name in sentence(told)


def test_the_reader_goes_away(image: Path) -> None:
    """Of what is printed, to a program that stopped reading."""
    import os

    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert program("explain", image, stdout=writing).code == 141
    finally:
        os.close(writing)


def test_the_advice_is_in_the_json(image: Path) -> None:
    told = command("explain", image, "--json")
    advice = json.loads(told.stdout)["advice"]
    assert advice[0].startswith("Leave out zero and same-filled pages, 50.0 % of all")
    zeros = image.with_name("zeros.raw")
    zeros.write_bytes(bytes(64 * PAGE))
    (only,) = command("explain", zeros, "--json").json["advice"]
    assert only.startswith("There is nothing to compress")
