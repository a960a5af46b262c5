# SPDX-License-Identifier: LGPL-2.1-or-later
"""Libraries that are asked for, missing, wrong or broken."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from migcomp import _core
from migcomp.codecs import open_codec, providers
from migcomp.errors import CodecUnavailable
from tests.core_tools import OVERRIDES, PAGE, PAGES, needs, round_trip


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in OVERRIDES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)


@needs["libzstd"]
def test_override_with_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGCOMP_LIBZSTD", "libzstd.so.1")
    assert open_codec("zstd").info.path == "libzstd.so.1"
    found = [p for p in providers() if p.codec == "zstd"]
    assert [p.path for p in found if p.native] == ["libzstd.so.1"]
    monkeypatch.setenv("MIGCOMP_LIBZSTD", "")
    assert open_codec("zstd").info.path


@pytest.mark.parametrize(
    ("codec", "package"),
    [("zstd", "libzstd1"), ("lz4", "liblz4-1"), ("zlib", "libdeflate0 or zlib1g")],
)
def test_without_a_library(
    monkeypatch: pytest.MonkeyPatch, codec: str, package: str
) -> None:
    for name in OVERRIDES[codec]:
        monkeypatch.setenv(name, "none")
    found = [p for p in providers() if p.codec == codec]
    problems = [p.problem for p in found if p.native]
    substitutes = [p for p in found if not p.native]
    assert all("switched off by MIGCOMP_" in problem for problem in problems)
    assert all("Debian's package is" in problem for problem in problems)
    if codec == "lz4":
        with pytest.raises(CodecUnavailable, match="do without MIGCOMP_LIBLZ4=none"):
            open_codec(codec)
        assert not substitutes
        return
    with pytest.raises(CodecUnavailable, match=f"Debian's package {package}"):
        open_codec(codec, grouping="stream")
    fallback = open_codec(codec)
    (listed,) = substitutes
    assert listed.chosen
    info = fallback.info
    assert (info.provider, info.version) == (listed.provider, listed.version)
    assert re.fullmatch(r"\d+(\.\d+)+.*", info.version)
    assert package in fallback.notice
    for grouping in ("page", "packet"):
        size = round_trip(fallback, grouping)
        assert 0 < size < PAGES * PAGE * 0.9
    with pytest.raises(CodecUnavailable, match="levels"):
        open_codec(codec, level=23)


def test_without_the_python_package_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGCOMP_LIBZSTD", "none")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CodecUnavailable, match="no library for zstd was found"):
        open_codec("zstd")
    missing = [p for p in providers() if p.codec == "zstd" and not p.native]
    assert [p.problem for p in missing] == ["install the Python package zstandard"]


@pytest.mark.parametrize("name", ["missing.so", "text.so", "caf\u00e9.so", "\udcff.so"])
def test_override_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name == "text.so":
        path.write_text("no library")
    monkeypatch.setenv("MIGCOMP_LIBLZ4", str(path))
    with pytest.raises(CodecUnavailable, match="MIGCOMP_LIBLZ4 names cannot be used"):
        open_codec("lz4")
    (found,) = (p for p in providers() if p.codec == "lz4")
    assert not found.chosen
    assert "Debian's package is liblz4-1" in found.problem


def test_reasons_are_cut_between_characters(tmp_path: Path) -> None:
    """Whatever the length of a path is, its problem is readable text."""
    for extra in range(4):
        with pytest.raises(CodecUnavailable):
            _core.bind("libz", str(tmp_path / ("x" * extra + "\u00e9" * 120)))


def test_paths_that_are_none() -> None:
    with pytest.raises(ValueError, match="null"):
        _core.bind("libz", "lib\0z")
    with pytest.raises(ValueError, match="no codec provider"):
        _core.bind("libfoo", "")


def build(tmp_path: Path, source: str) -> str:
    (tmp_path / "fake.c").write_text(source)
    path = tmp_path / "fake.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", str(path), str(tmp_path / "fake.c")],
        check=True,
    )
    return str(path)


@needs["libz"]
def test_a_wrong_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGCOMP_LIBZSTD", "libz.so.1")
    (found,) = (p for p in providers() if p.codec == "zstd" and p.native)
    assert found.problem.startswith("has no symbol ZSTD_versionNumber")


def test_a_library_without_all_symbols(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = build(
        tmp_path,
        "unsigned ZSTD_versionNumber(void) { return 10500; }\n"
        "int ZSTD_minCLevel(void) { return -5; }\n",
    )
    monkeypatch.setenv("MIGCOMP_LIBZSTD", path)
    (found,) = (p for p in providers() if p.codec == "zstd" and p.native)
    assert found.problem.startswith("has no symbol ZSTD_maxCLevel;")
    with pytest.raises(CodecUnavailable, match="has no symbol ZSTD_maxCLevel"):
        open_codec("zstd")


LIBDEFLATE = """
#include <stddef.h>
#include <string.h>
static char context;
void *libdeflate_alloc_compressor(int level) { return &context; }
void libdeflate_free_compressor(void *c) {}
size_t libdeflate_zlib_compress(void *c, const void *in, size_t n, void *out,
                                size_t room) { memcpy(out, in, n); return n; }
size_t libdeflate_zlib_compress_bound(void *c, size_t n) { return n; }
void *libdeflate_alloc_decompressor(void) { return &context; }
void libdeflate_free_decompressor(void *d) {}
int libdeflate_zlib_decompress_ex(void *d, const void *in, size_t n, void *out,
                                  size_t size, size_t *taken, size_t *given)
{ memcpy(out, in, n); *taken = n; SPOIL; return STATUS; }
"""


@pytest.mark.parametrize(
    ("spoil", "status", "problem"),
    [
        ("((char *)out)[4095] ^= 1", 0, "spoils a trial page"),
        ("", 1, "malformed block"),
        ("*taken = n - 1", 0, "malformed block"),
        ("", 0, ""),
    ],
)
def test_a_library_must_bring_a_page_through(
    tmp_path: Path, spoil: str, status: int, problem: str
) -> None:
    source = LIBDEFLATE.replace("SPOIL", spoil).replace("STATUS", str(status))
    path = build(tmp_path, source)
    if problem:
        with pytest.raises(CodecUnavailable, match=problem):
            _core.bind("libdeflate", path)
    else:
        assert _core.bind("libdeflate", path).path == path


def test_a_library_that_is_too_old(tmp_path: Path) -> None:
    names = [
        *("versionNumber", "compressBound", "createStream", "freeStream"),
        *("resetStream_fast", "compress_fast_extState"),
        *("compress_fast_continue", "saveDict"),
        *("createStreamHC", "freeStreamHC", "resetStreamHC_fast"),
        *("compress_HC_extStateHC", "compress_HC_continue", "saveDictHC"),
        "decompress_safe_usingDict",
    ]
    path = build(
        tmp_path, "".join(f"int LZ4_{n}(void) {{ return 10803; }}\n" for n in names)
    )
    with pytest.raises(CodecUnavailable, match=r"is 1\.8\.3, older than 1\.9\.0"):
        _core.bind("liblz4", path)
