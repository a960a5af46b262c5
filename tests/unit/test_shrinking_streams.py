# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams in mapped files that become shorter while they are read.

Each in a process of its own, which would not survive a mistake.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from migcomp.choice import Choice
from tests.conftest import KINDS, PAGE, REPOSITORY, compressed, make_pages
from tests.stream_anatomy import dissect

SHRINKING = """
import os, sys
from migcomp import _core
from migcomp.codecs import open_codec
from migcomp.errors import PageError, StreamError
from migcomp.restore import restore
from migcomp.stream.reader import open_stream
from migcomp.workqueue import ThreadedWorkqueue

path, cut, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with open_stream(path) as reader, open(path + ".out", "wb+", buffering=0) as target:
    if mode == "worker":
        record = next(reader.records())
        os.truncate(path, cut)
        handler = _core.decompressor(
            open_codec("none").library, grouping=1, page_size=4096, pages_max=64
        )
        with ThreadedWorkqueue("shrink", 1, 1, handler=handler) as queue:
            request = queue.get_request()
            head = record.head
            request.load_record(
                record.body, 0, head.pages, 0, head.body_checksum, record.mapped
            )
            queue.submit_request(request)
            try:
                queue.collect_request()
            except PageError as error:
                print(error.of_input, error.reason)
    else:
        read_head = reader._read_head

        def read_and_cut():
            head = read_head()
            os.truncate(path, cut)
            return head

        reader._read_head = read_and_cut
        try:
            restore(reader, target, salvage=mode == "salvage", threads=1)
            print("saved")
        except StreamError as error:
            print(error)
"""


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("worker", "True the stream became shorter while it was read"),
        ("strict", "s.migc: it is cut off"),
        ("salvage", "saved"),
    ],
)
def test_a_stream_that_shrinks(tmp_path: Path, mode: str, sentence: str) -> None:
    path = tmp_path / "s.migc"
    stream, _ = compressed(make_pages(*KINDS * 20), Choice("none", packet_pages=64))
    path.write_bytes(stream)
    cut = dissect(stream).data[0].offset + 40
    done = subprocess.run(
        [sys.executable, "-c", SHRINKING, path, str(cut), mode],
        capture_output=True,
        cwd=REPOSITORY,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sentence in done.stdout


SHRINKING_UNDER_A_HANDLER = """
import os, sys, zlib
from migcomp import _core
from migcomp.stream.reader import open_stream
from migcomp.workqueue import ThreadedWorkqueue

path, cut = sys.argv[1], int(sys.argv[2])

class Cutter:
    def __init__(self, level): ...
    def decompress(self, data, size):
        os.truncate(path, cut)
        return zlib.decompress(data)

library = _core.python_library("cutter", "python", "", "", Cutter)
handler = _core.decompressor(library, grouping=0, page_size=4096, pages_max=64)
with open_stream(path) as reader:
    record = next(reader.records())
    with ThreadedWorkqueue("shrink", 1, 1, handler=handler) as queue:
        request, head = queue.get_request(), record.head
        request.load_record(
            record.body, 0, head.pages, 0, head.body_checksum, record.mapped
        )
        queue.submit_request(request)
        queue.collect_request()
        print(record.mapped, request.counts)
"""


def test_a_stream_that_shrinks_under_a_handler(tmp_path: Path) -> None:
    """Python code must not be left by a jump: it works on a copy."""
    path = tmp_path / "s.migc"
    choice = Choice("zlib", grouping="page", packet_pages=64)
    stream, _ = compressed(make_pages(*["text"] * 64), choice)
    path.write_bytes(stream)
    record = dissect(stream).data[0]
    assert len(record.body) > 3 * PAGE
    done = subprocess.run(
        [sys.executable, "-c", SHRINKING_UNDER_A_HANDLER, path, str(record.offset)],
        capture_output=True,
        cwd=REPOSITORY,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "True (0, 0, 0, 0, 64)\n"


SHRINKING_UNDER_INSPECT = """
import os, sys
from migcomp.cli.contents import read_contents
from migcomp.stream.reader import open_stream

path, cut = sys.argv[1], int(sys.argv[2])
with open_stream(path) as reader:
    read_head = reader._read_head

    def read_and_cut():
        head = read_head()
        os.truncate(path, cut)
        return head

    reader._read_head = read_and_cut
    print(read_contents(reader).problem)
"""


def test_a_stream_that_shrinks_while_it_is_inspected(tmp_path: Path) -> None:
    path = tmp_path / "s.migc"
    stream, _ = compressed(make_pages(*KINDS * 20), Choice("none", packet_pages=64))
    path.write_bytes(stream)
    cut = dissect(stream).data[0].offset + 40
    done = subprocess.run(
        [sys.executable, "-c", SHRINKING_UNDER_INSPECT, path, str(cut)],
        capture_output=True,
        cwd=REPOSITORY,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "s.migc: it is cut off" in done.stdout
