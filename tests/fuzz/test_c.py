# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the core parses, under sanitizers, and under libFuzzer if it is there.

For longer: ``clang -fsanitize=fuzzer,address,undefined`` with the sources below
but spoil.c, and ``-max_total_time=`` as long as you like.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from migcomp.choice import Choice
from migcomp.codecs import GROUPINGS
from tests.c.programs import CORE, SANITIZERS, compiler
from tests.conftest import PAGE, compressed, make_page, make_pages
from tests.core_tools import a_map, a_queue
from tests.qemu_tools import BLOCKS, Writer
from tests.stream_anatomy import dissect

HERE = Path(__file__).parent
#: Sources of the core that each target needs; every codec besides.
TARGETS = {
    "qemu_ram": (
        *("qemu_ram", "page_map", "page_fetch", "pages", "xbzrle", "crc32c", "xxh64"),
        *("codec", "guard", "handlers"),
    ),
    "record_body": (
        *("block", "decompress", "record", "page_write", "pages", "xxh64", "event"),
        "page_hash",
        *("page_fetch", "page_map", "xbzrle", "crc32c"),
        *("codec", "guard", "handlers"),
    ),
}
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-pthread"]
ITERATIONS = 30_000
SECONDS = 10


def qemu_records() -> bytes:
    """The records of a small stream, without its framing."""
    writer = Writer(last=b"")
    for number in range(3):
        for name, _ in BLOCKS:
            writer.zero(name, 0)
            writer.normal(name, 1, make_page("rows", number))
            writer.compressed(name, 2, make_page("spot", number))
            for page in (1, 3):
                old = writer.pages.get((name, page), bytes(4096))
                writer.changed(name, page, bytes([number + 1]) + old[1:])
        writer.put("Q", 0x200)
        writer.put("Q", 0x10)
    return bytes(writer.data)


def record_bodies() -> Iterator[bytes]:
    """Of streams of ours, behind what chooses grouping, codec and pages."""
    data = make_pages("rows", "same", "zero", "text", "noise", "rows")
    for grouping, name in enumerate(GROUPINGS):
        choice = Choice(codec="zlib", grouping=name, dedup=True, packet_pages=8)
        for record in dissect(compressed(data, choice)[0]).data:
            yield bytes([grouping, 1, record.pages - 1]) + record.body


def delta_bodies() -> Iterator[bytes]:
    """Against what record_body.c has as the receiver's memory; every other one to
    be salvaged."""
    had = bytearray(i * i >> 5 & 0xFF for i in range(8 * PAGE))
    new = bytearray(had)
    new[PAGE + 9], new[4 * PAGE : 5 * PAGE] = 1, bytes(PAGE)
    for number, (codec, grouping) in enumerate(product(("zstd", "lz4"), (0, 1))):
        with a_queue(codec, grouping=grouping, deltas=True) as queue:
            request = queue.get_request()
            request.load(a_map(new), 0, 8, 0, 0, None, a_map(had))
            queue.submit_request(request)
            queue.collect_request()
            body = request.classes + request.details + bytes(memoryview(request))
        library = 2 + number // 2
        yield bytes([grouping, 0x80 | number % 2 << 6 | library, 7]) + body


def seeds(target: str) -> list[bytes]:
    if target == "qemu_ram":
        return [qemu_records()]
    return [*record_bodies(), *delta_bodies()]


def build(
    compiler: str, folder: Path, target: str, sanitizers: str, *more: Path
) -> Path:
    sources = [HERE / f"{target}.c", *more, *sorted(CORE.glob("codec_*.c"))]
    sources += [CORE / f"{name}.c" for name in TARGETS[target]]
    command = [compiler, *FLAGS, f"-fsanitize={sanitizers}", f"-I{CORE}", f"-I{HERE}"]
    command += ["-fno-sanitize-recover=all", *map(str, sources), "-ldl"]
    subprocess.run([*command, "-o", folder / "target"], check=True)
    return folder / "target"


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
@pytest.mark.parametrize("target", TARGETS)
def test_spoilt_input(target: str, tmp_path: Path) -> None:
    program = build(
        compiler() or "", tmp_path, target, "address,undefined", HERE / "spoil.c"
    )
    given, refused = 0, 0
    for seed in seeds(target):
        path = tmp_path / "seed"
        path.write_bytes(seed)
        done = subprocess.run(
            [program, str(ITERATIONS // len(seeds(target))), path],
            env=os.environ | SANITIZERS,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        counts = list(map(int, re.findall(r"\d+", done.stdout)))
        given, refused = given + counts[0], refused + counts[1]
        # Pages that a codec would have to decode, and deltas.
        assert len(counts) < 3 or counts[2] > ITERATIONS
    assert given > ITERATIONS
    assert ITERATIONS // 10 < refused < given


def clang() -> str | None:
    return next(
        filter(None, map(shutil.which, ("clang", "clang-16", "clang-14"))), None
    )


@pytest.mark.long
@pytest.mark.skipif(clang() is None, reason="needs clang, for libFuzzer")
@pytest.mark.parametrize("target", TARGETS)
def test_libfuzzer(target: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(target)):
        (corpus / str(number)).write_bytes(seed)
    program = build(clang() or "", tmp_path, target, "fuzzer,address,undefined")
    done = subprocess.run(
        [program, f"-max_total_time={SECONDS}", "-max_len=40000", corpus],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
