# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bare C loop that benchmarks compare with; no test here looks at a time."""

from __future__ import annotations

import json
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

ROOT = Path(__file__).parents[2]
# They are no part of the package, and run from the root of the repository.
sys.path.insert(0, str(ROOT))

from benchmarks import process  # noqa: E402
from benchmarks.programs import (  # noqa: E402
    build_limit,
    compiler,
    limit_command,
)
from migcomp.codecs import Provider, providers  # noqa: E402

PAGE = 4096
PACKET_PAGES = 128
HEAP = ROOT / "sample_images" / "heap-8m.raw"

pytestmark = pytest.mark.skipif(
    shutil.which(compiler()) is None, reason="no C compiler"
)


@pytest.fixture(scope="module")
def limit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_limit(tmp_path_factory.mktemp("limit"))


def provider(name: str) -> Provider:
    """The library of that name that migcomp uses."""
    usable = [p for p in providers() if p.provider == name and not p.problem]
    if not usable:
        pytest.skip(f"{name} is not installed")
    return max(usable, key=lambda p: p.chosen)


def packets_of(image: bytes) -> Iterator[bytes]:
    """The non-zero pages of each packet, side by side."""
    size = PAGE * PACKET_PAGES
    for packet in (image[i : i + size] for i in range(0, len(image), size)):
        content = b"".join(nonzero(packet))
        if content:
            yield content


def nonzero(pages: bytes) -> Iterator[bytes]:
    for page in (pages[i : i + PAGE] for i in range(0, len(pages), PAGE)):
        if any(page):
            yield page


def report_of(command: list[str]) -> dict[str, float]:
    report: dict[str, float] = json.loads(process.run(command).stdout)
    return report


@pytest.mark.parametrize("grouping", ["page", "packet"])
def test_limit_compresses_what_zstandard_compresses(limit: Path, grouping: str) -> None:
    libzstd, image = provider("libzstd"), HEAP.read_bytes()
    cut = nonzero if grouping == "page" else packets_of
    compress = zstandard.ZstdCompressor(level=1).compress
    expected = sum(len(compress(block)) for block in cut(image))
    report = report_of(
        limit_command(
            limit, HEAP, codec="zstd", library=libzstd.path, grouping=grouping
        )
    )
    version = ".".join(map(str, zstandard.ZSTD_VERSION))
    # Other versions make other choices, but not very different ones.
    tolerance = 0 if libzstd.version == version else 0.03
    assert report["bytes_out"] == pytest.approx(expected, rel=tolerance)
    assert report["pages"] == len(image) // PAGE
    assert report["zero_pages"] == len(image) // PAGE - len(list(nonzero(image)))


@pytest.mark.parametrize(
    ("codec", "name", "tolerance"),
    # Of zlib's size with other builds of zlib, and with other codecs.
    [("zlib", "libz", 0.05), ("libdeflate", "libdeflate", 0.1), ("lz4", "liblz4", 0.5)],
)
def test_limit_compresses_about_as_zlib_compresses(
    limit: Path, codec: str, name: str, tolerance: float
) -> None:
    expected = sum(len(zlib.compress(page, 1)) for page in nonzero(HEAP.read_bytes()))
    library = provider(name)
    report = report_of(limit_command(limit, HEAP, codec=codec, library=library.path))
    if name == "libz" and library.version == zlib.ZLIB_RUNTIME_VERSION:
        tolerance = 0
    assert report["bytes_out"] == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("grouping", ["page", "packet"])
@pytest.mark.parametrize("pages", [1, 127, 128, 300])
def test_limit_takes_each_page_once_whatever_the_threads(
    limit: Path, tmp_path: Path, pages: int, grouping: str
) -> None:
    image = tmp_path / "image.raw"
    # Every fifth page is zero; of the others only the last byte is not.
    image.write_bytes(
        b"".join(bytes(PAGE - 1) + bytes([i % 5 > 0]) for i in range(1, pages + 1))
    )
    zero = pages // 5
    for threads in (1, 2, 7):
        report = report_of(
            limit_command(
                limit, image, codec="memcpy", grouping=grouping, threads=threads
            )
        )
        assert report["pages"] == pages
        assert report["zero_pages"] == zero
        assert report["bytes_out"] == (pages - zero) * PAGE


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"codec": "rot13"}, "no codec rot13"),
        ({"codec": "zstd", "library": "libm.so.6"}, "no symbol ZSTD_createCCtx"),
        ({"codec": "zstd", "library": "libnowhere.so.1"}, "libnowhere.so.1"),
        ({"codec": "memcpy", "grouping": "stream"}, "neither page nor packet"),
        ({"codec": "memcpy", "threads": 0}, "number of threads"),
    ],
)
def test_limit_says_what_it_cannot_do(
    limit: Path, changed: dict[str, str], complaint: str
) -> None:
    with pytest.raises(process.ProcessError, match=complaint):
        process.run(limit_command(limit, HEAP, **changed))  # type: ignore[arg-type]
