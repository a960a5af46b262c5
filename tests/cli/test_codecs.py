# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp codecs``: what does the work, and what is missing."""

from __future__ import annotations

import re

from tests.cli.conftest import command, program


def test_each_codec_has_one_library_in_use() -> None:
    found = command("codecs", "--json").json
    assert found["schema"] == "migcomp.codecs/1"
    for codec in ("zstd", "lz4", "zlib", "none"):
        chosen = [p for p in found["providers"] if p["codec"] == codec and p["chosen"]]
        assert len(chosen) == 1
        assert chosen[0]["usable"]


def test_the_text_has_library_version_levels_and_path() -> None:
    text = command("codecs").text
    assert re.search(
        r"^zstd +libzstd +1\.\d+\.\d+ +-131072 to 22, default 1 +in use$", text, re.M
    )
    assert re.search(r"^ +liblz4\.so\.1$", text, re.M)
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_library_that_is_missing_is_told_with_its_package() -> None:
    done = program("codecs", MIGCOMP_LIBLZ4="none")
    assert done.code == 0
    assert re.search(r"^lz4 +liblz4 +unavailable$", done.text, re.M)
    assert "MIGCOMP_LIBLZ4=none; Debian's package is liblz4-1" in done.text
    done = program("codecs", "--json", MIGCOMP_LIBLZ4="/nowhere/liblz4.so")
    (lz4,) = (p for p in done.json["providers"] if p["codec"] == "lz4")
    assert lz4["levels"] is None
    assert "/nowhere/liblz4.so" in lz4["path"] + lz4["problem"]


def test_a_wide_screen_has_the_path_beside() -> None:
    done = program("codecs", COLUMNS="200")
    assert re.search(r"^zlib .* libz\.so\.1$", done.text, re.M)
