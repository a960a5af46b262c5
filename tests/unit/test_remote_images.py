# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images behind URLs: of files, of memory, and of a web server of our own."""

from __future__ import annotations

import errno
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from migcomp.bench import sweep_run
from migcomp.bench.sweep import swept_image
from migcomp.bench.sweep_results import Setting
from migcomp.bench.sweep_run import Task, take
from migcomp.choice import Choice
from migcomp.errors import ImageError
from migcomp.images import remote
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from tests.cli.conftest import command, image_bytes, sentence

fsspec = pytest.importorskip("fsspec")
CONTENT = image_bytes(600)


class Server(BaseHTTPRequestHandler):
    """Serves ``content``; ``mode`` says how badly, and ``log`` keeps what was asked."""

    content = CONTENT
    mode = "ranges"
    log: tuple[str, ...] = ()

    def do_HEAD(self) -> None:
        self._answer(b"", len(self.content))

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        Server.log += (wanted,)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if self.mode.isdecimal():
            self.send_error(int(self.mode))
        elif match and self.mode == "ranges":
            size = len(self.content)
            first, last = int(match[1]), min(int(match[2]), size - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self._send(self.content[first : last + 1])
        elif self.mode == "short":
            self._answer(self.content[:5000], len(self.content))
            self.close_connection = True
        else:
            self._answer(self.content, len(self.content))

    def _answer(self, data: bytes, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        if self.mode == "ranges":
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(data)

    def _send(self, data: bytes) -> None:
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients go away before the end, when they ask for ranges in vain


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an image."""
    Server.log = ()
    with Quiet(("127.0.0.1", 0), Server) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}/guest.raw"
        web.shutdown()
        thread.join()


def content_of(url: str) -> bytes:
    with open_image(url) as image:
        assert image.path == url
        assert image.pages is not None
        assert image.page_map is not None
        return image.read(0, image.pages)


def test_files_and_memory(tmp_path: Path) -> None:
    path = tmp_path / "guest.raw"
    path.write_bytes(CONTENT)
    assert content_of(f"file://{path}") == CONTENT
    fsspec.filesystem("memory").pipe("/guest.raw", CONTENT)
    assert content_of("memory://guest.raw") == CONTENT


def test_a_web_server_is_asked_for_ranges(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_RANGE", 1 << 20)
    assert content_of(server) == CONTENT
    assert Server.log == (
        "bytes=0-1048575",
        "bytes=1048576-2097151",
        f"bytes=2097152-{len(CONTENT) - 1}",
    )


@pytest.mark.parametrize("size", [4096, 100_000, 1 << 20, 8 << 20])
def test_a_web_server_that_knows_no_ranges(
    server: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(Server, "mode", "whole")
    monkeypatch.setattr(remote, "_RANGE", size)
    assert content_of(server) == CONTENT


def test_memory_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bounded_memory: None
) -> None:
    path = tmp_path / "guest.raw"
    with path.open("wb") as file:
        file.truncate(512 << 20)
    pieces = [len(data) for data in remote._ranges(f"file://{path}")]
    assert pieces == [8 << 20] * 64


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("short", "cannot be read: "),
        ("404", "cannot be opened: No such file or directory; check the URL"),
        ("403", "cannot be opened: Permission denied; configure fsspec with a user"),
        ("500", "cannot be read: the server says 500 Internal Server Error$"),
    ],
)
def test_what_a_web_server_does_not_give(
    server: str, monkeypatch: pytest.MonkeyPatch, mode: str, words: str
) -> None:
    monkeypatch.setattr(Server, "mode", mode)
    with pytest.raises(ImageError, match=f"^{server} {words}"):
        open_image(server)


class Refused(Exception):
    """Of a protocol that tells a number, and no more."""

    status = 500


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Refused("not today\nnor tomorrow"), "not today"),
        (Refused(), "Refused"),
        (
            FileNotFoundError(errno.ENOENT, "No such file", "/home/key"),
            "[Errno 2] No such file: '/home/key'",
        ),
    ],
)
def test_what_a_protocol_raises(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Iterator[bytes]:
        raise error

    monkeypatch.setattr(remote, "_read", fail)
    with pytest.raises(ImageError) as told:
        open_image("memory://guest.raw")
    assert str(told.value) == f"memory://guest.raw cannot be read: {words}"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://none.raw", "No such file or directory; check the URL"),
        ("memory://", "Is a directory; name a file in it"),
        ("file:///none/guest.raw", "No such file or directory; check the URL"),
        ("file:///etc", "Is a directory; name a file in it"),
        ("zip://guest.raw::memory://none.zip", "No such file or directory; check"),
        ("nothing://guest.raw", "fsspec knows no protocol nothing; check the URL"),
        ("http://127.0.0.1:9/guest.raw", "Connection refused; check host and port"),
        ("ftp://127.0.0.1:9/guest.raw", "Connection refused; check host and port"),
    ],
)
def test_urls_that_lead_nowhere(url: str, words: str) -> None:
    done = command("run", url)
    assert done.code == 3
    assert sentence(done).startswith(f"{url} cannot be opened: {words}")
    assert done.errors.count(url) == 1


def test_what_is_no_url() -> None:
    done = command("run", "http://")
    assert done.code == 3
    told = "http:// cannot be read: it is no URL that leads anywhere"
    assert sentence(done) == told


def test_a_protocol_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    done = command("run", "s3://bucket/guest.raw")
    assert done.code == 3
    told = "reading s3://bucket/guest.raw needs a package: Install s3fs"
    assert sentence(done).startswith(told)


def test_a_protocol_that_tells_at_length(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, path: str, *_: object, **__: object) -> None:
        raise RuntimeError(f"{'x' * 1000}\nmore")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "_open", fail)
    done = command("run", "memory://guest.raw")
    assert sentence(done) == f"memory://guest.raw cannot be read: {'x' * 200}"


def test_no_room_for_the_copy(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    monkeypatch.setattr(remote, "TemporaryFile", lambda **kw: full.open("wb", **kw))
    with pytest.raises(ImageError, match="cannot be copied to a temporary file in"):
        open_image(server)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ImageError, match=r"needs a package: pip install 'migcomp\[rem"):
        open_image("memory://guest.raw")


def test_a_run_and_another_format(server: str, tmp_path: Path) -> None:
    done = command("run", server, "--json")
    assert done.code == 0, done.errors
    assert done.json["image"]["path"] == server
    stream = tmp_path / "guest.migc"
    assert command("run", server, "-o", stream, "-q").code == 0
    assert content_of(f"file://{stream}") == CONTENT


@pytest.fixture
def archived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A stream of CONTENT, which the server serves as well."""
    (tmp_path / "guest.raw").write_bytes(CONTENT)
    stream = tmp_path / "guest.migc"
    made = command("run", tmp_path / "guest.raw", "-o", stream, "--dedup", "-q")
    assert made.code == 0, made.errors
    monkeypatch.setattr(Server, "content", stream.read_bytes())
    return stream.read_bytes()


def test_a_stream_is_verified_and_restored(
    archived: bytes, server: str, tmp_path: Path
) -> None:
    done = command("verify", server, tmp_path / "guest.raw", "--json")
    assert done.code == 0, done.errors
    assert (done.json["stream"]["path"], done.json["verdict"]) == (server, "equal")
    assert Server.log == (f"bytes=0-{len(archived) - 1}",)
    back = tmp_path / "back.raw"
    done = command("restore", server, "-o", back)
    assert done.code == 0, done.errors
    assert back.read_bytes() == CONTENT


def test_what_is_left_of_a_stream_is_restored(
    archived: bytes, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "content", archived[: len(archived) // 2])
    assert command("verify", server).code == 4
    back = tmp_path / "back.raw"
    done = command("restore", server, "-o", back, "--salvage")
    assert done.code == 4
    assert done.errors.startswith(f"migcomp: {server} is damaged, and {back} has zeros")
    assert back.stat().st_size == len(CONTENT)


@pytest.mark.parametrize("url", ["memory://none.migc", "nothing://guest.migc"])
def test_streams_that_are_not_there(url: str, tmp_path: Path) -> None:
    for arguments in (("verify", url), ("restore", url, "-o", tmp_path / "back.raw")):
        done = command(*arguments)
        assert done.code == 4
        assert done.errors.startswith(f"migcomp: {url} cannot be opened: ")
        assert done.errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_samples_of_a_sweep_share_one_copy(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_run, "_copies", {})
    image = swept_image(server, 4096)
    asked = Server.log
    task = Task(image, Setting("lz4", 1, "page", 1), 0, 0, 1)
    samples = [take(task)[1] for _ in range(3)]
    assert Server.log == asked
    assert all(sample.cached_share == 1.0 for sample in samples)
    (tmp_path / "guest.raw").write_bytes(CONTENT)
    with open_image(str(tmp_path / "guest.raw")) as local:
        expected = compress(local, None, Choice(codec="lz4", grouping="page"))
    assert {s.result.stream_bytes for s in samples} == {expected.stream_bytes}
    assert {s.result.image_digest for s in samples} == {expected.image_digest}


def test_a_worker_that_outlives_a_sweep_copies_what_is_there_now() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/swept.raw", CONTENT)
    task = Task(
        swept_image("memory://swept.raw", 4096), Setting("none", 0, "page", 1), 0, 0, 1
    )
    first = take(task)[1].result.image_digest
    memory.pipe("/swept.raw", bytes(len(CONTENT)))
    assert take(task)[1].result.image_digest == first
    later = take(replace(task, sweep="another command's"))[1]
    assert later.result.pages.zero == later.result.pages.total
    assert list(sweep_run._copies) == ["memory://swept.raw"]
