# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp verify``: sound, equal, damaged or another's."""

from __future__ import annotations

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


def test_a_sound_stream(make_stream: Callable[..., Path]) -> None:
    for options in ([], ["-g", "stream"], ["--dedup"]):
        done = command("verify", make_stream(*options, "--force"))
        assert done.code == 0
        assert done.text.splitlines()[0].endswith(", sound")


def test_an_equal_image(make_stream: Callable[..., Path], image: Path) -> None:
    for options in ([], ["--dedup"]):
        done = command("verify", make_stream(*options, "--force"), image)
        assert done.code == 0
        assert done.text.splitlines()[0].endswith(", equal")


def test_another_image(stream: Path, image: Path) -> None:
    content = bytearray(image.read_bytes())
    content[17 * 4096 + 5] ^= 1
    image.write_bytes(content)
    done = command("verify", stream, image)
    assert done.code == 8
    assert sentence(done) == f"{image} differs from {stream} in page 17"


def test_a_longer_image(stream: Path, image: Path) -> None:
    with image.open("ab") as file:
        file.write(bytes(4096))
    done = command("verify", stream, image)
    assert done.code == 8
    size = len(image_bytes())
    assert sentence(done) == (
        f"{stream} is of an image of {size} bytes, and {image} has {size + PAGE}"
    )


def test_what_is_no_image_of_it_at_all(stream: Path, tmp_path: Path) -> None:
    """The first page differs as well, which is not the point."""
    other = tmp_path / "x"
    other.write_text("a note")
    done = command("verify", stream, other)
    assert done.code == 8
    assert sentence(done).endswith(f" bytes, and {other} has 6")


def test_the_verdict_for_programs(stream: Path, image: Path) -> None:
    assert command("verify", stream, "--json").json["verdict"] == "sound"
    assert command("verify", stream, image, "--json").json["verdict"] == "equal"
    content = image.read_bytes()
    image.write_bytes(content[:-1] + b"?")
    done = command("verify", stream, image, "--json")
    assert done.code == 8
    reason = f"{image} differs from {stream} in page 299"
    assert done.json == {
        "schema": "migcomp.verify/1",
        "operation": "verify",
        "stream": {"path": str(stream)},
        "image": {"path": str(image)},
        "verdict": "different",
        "reason": reason,
    }
    assert done.errors == f"migcomp: {reason}\n"
    image.write_bytes(content[PAGE:])
    done = command("verify", stream, image, "--json")
    assert (done.code, done.json["verdict"]) == (8, "different")
    damaged = bytearray(stream.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    stream.write_bytes(damaged)
    done = command("verify", stream, "--json")
    assert (done.code, done.json["verdict"]) == (4, "damaged")
    assert done.json["image"] == {"path": ""}


def test_every_flipped_byte_is_found(stream: Path) -> None:
    sound = stream.read_bytes()
    for offset in range(0, len(sound), len(sound) // 40):
        damaged = bytearray(sound)
        damaged[offset] ^= 0x10
        stream.write_bytes(damaged)
        assert command("verify", stream, "-q").code == 4, offset


def test_standard_input(stream: Path, image: Path) -> None:
    done = program("verify", "-", image, "--json", stdin=stream.read_bytes())
    assert done.code == 0
    assert done.json["operation"] == "verify"
    assert done.json["stream"]["path"] == "-"


@pytest.mark.parametrize("options", [[], ["--dedup"], ["-g", "stream"]])
def test_an_image_from_a_pipe(
    make_stream: Callable[..., Path], image: Path, options: list[str]
) -> None:
    made, content = make_stream(*options), image.read_bytes()
    done = program("verify", made, "-", stdin=content)
    assert done.code == 0
    assert done.text.splitlines()[0].endswith(", equal")
    for other in (content[:-PAGE], content + bytes(PAGE), content[:-1] + b"x"):
        done = program("verify", made, "-", stdin=other)
        assert done.code == 8
        assert sentence(done).startswith("standard input differs from ") or (
            f" and standard input has {len(other)}" in sentence(done)
        )


def test_an_image_from_a_pipe_that_ends_within_a_page(tmp_path: Path) -> None:
    content = image_bytes(5) + b"end"
    made = tmp_path / "odd.migc"
    done = program("run", "-", "--pad", "-o", made, "-q", stdin=content)
    assert done.code == 0
    assert program("verify", made, "-", stdin=content).code == 0


def test_an_image_on_standard_input_that_was_partly_read(
    tmp_path: Path, image: Path
) -> None:
    made, longer = tmp_path / "rest.migc", tmp_path / "longer"
    longer.write_bytes(b"header" + image.read_bytes())
    assert command("run", image, "-o", made, "-q").code == 0
    with longer.open("rb", buffering=0) as file:
        file.seek(6)
        done = subprocess.run(
            [*COMMAND, "verify", made, "-", "-q"],
            stdin=file,
            env=environment(),
            capture_output=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_only_one_of_both_can_be_standard_input() -> None:
    done = command("verify", "-", "-")
    assert done.code == 2
    assert "only one of STREAM and IMAGE" in sentence(done)


def test_the_format_of_no_image(stream: Path) -> None:
    done = command("verify", stream, "--format", "raw")
    assert done.code == 2
    assert "--format is that of IMAGE" in sentence(done)


def test_a_missing_image(stream: Path, tmp_path: Path) -> None:
    done = command("verify", stream, tmp_path / "nothing.raw")
    assert done.code == 3
    sentence(done)


def test_quiet(stream: Path, image: Path) -> None:
    done = command("verify", stream, image, "-q")
    assert (done.code, done.stdout, done.stderr) == (0, b"", b"")
