# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which library does the work, and that each level brings pages through."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import random
import zlib
from pathlib import Path

import pytest

from migcomp import ThreadedWorkqueue, _core, codecs, python_codecs
from migcomp.codecs import GROUPINGS, Codec, open_codec, providers
from migcomp.errors import CodecUnavailable, PageError
from tests.core_tools import (
    GUEST,
    OVERRIDES,
    PAGE,
    PAGES,
    SONAMES,
    is_installed,
    libraries,
    needs,
    round_trip,
)


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in OVERRIDES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)


# --- What is bound ---


def test_every_library_that_is_installed_is_found() -> None:
    found = {p.provider: p for p in providers() if p.native and not p.problem}
    for provider, soname in SONAMES.items():
        assert (provider in found) >= is_installed(soname)
    for listed in found.values():
        library = _core.bind(listed.provider, listed.path)
        assert (library.codec, library.version) == (listed.codec, listed.version)
        assert library.level_min <= library.level_default <= library.level_max


@pytest.mark.parametrize("codec", ["zstd", "lz4", "zlib"])
def test_the_default_is_the_highest_version(codec: str) -> None:
    usable = [p for p in providers() if p.codec == codec and not p.problem]
    if not usable:
        pytest.skip(f"no library for {codec}")
    chosen = [p for p in usable if p.chosen]
    assert len(chosen) == 1
    info = open_codec(codec).info
    assert (info.provider, info.version, info.path) == (
        *(chosen[0].provider, chosen[0].version, chosen[0].path),
    )
    # Of zlib's two, the faster one comes first.
    same = [p for p in usable if p.provider == usable[0].provider]
    numbers = [_core.bind(p.provider, p.path).version_number for p in same]
    assert chosen[0] is same[numbers.index(max(numbers))]


@needs["libzstd"]
def test_ties_go_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(Path(ctypes.util.find_library("zstd") or "libzstd.so.1"))
    monkeypatch.setattr(codecs, "_wheel_library", lambda *_: iter([path]))
    assert open_codec("zstd").info.path == "libzstd.so.1"


@needs["libz"]
@needs["libdeflate"]
def test_streams_take_the_library_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_codec("zlib").info.provider == "libdeflate"
    assert open_codec("zlib", grouping="stream").info.provider == "libz"
    monkeypatch.setenv("MIGCOMP_LIBDEFLATE", "none")
    assert open_codec("zlib").info.provider == "libz"


def test_none_is_built_in() -> None:
    codec = open_codec("none")
    assert (codec.level, codec.info.provider) == (0, "built in")
    assert [p.codec for p in providers()][-1] == "none"


# --- Round trips ---


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_levels_at_their_ends(grouping: str) -> None:
    for library in libraries():
        if grouping == "stream" and not library.streaming:
            continue
        low, high = library.level_min, library.level_max
        middle = {library.level_default, 0, 1, 2, 3, 9, -1, -3}
        for level in sorted({low, high, *(m for m in middle if low <= m <= high)}):
            size = round_trip(Codec(library.codec, level, library), grouping)
            assert size <= PAGES * PAGE + 1000


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_content_that_does_not_shrink(grouping: str) -> None:
    noise = random.Random(1).randbytes(64 * PAGE)
    for library in libraries():
        if grouping == "stream" and not library.streaming:
            continue
        codec = Codec(library.codec, library.level_default, library)
        size = round_trip(codec, grouping, noise)
        assert size <= 64 * PAGE or grouping == "stream"


def words(seed: int) -> bytes:
    generator = random.Random(seed)
    vocabulary = [generator.randbytes(generator.randint(3, 9)) for _ in range(60)]
    return b"".join(generator.choices(vocabulary, k=2000))[:PAGE]


@pytest.mark.parametrize("grouping", ["page", "packet"])
def test_outputs_do_not_depend_on_what_the_thread_did_before(grouping: str) -> None:
    """A compressor that was used makes what a new one makes."""
    content = b"".join(map(words, range(48)))
    page_map = _core.PageMap(content, [(0, 48, 0)], PAGE, False)
    step = 1 if grouping == "page" else 4

    def outputs(library: _core.Library, level: int, first: list[int]) -> list[bytes]:
        handler = _core.compressor(
            library,
            level=level,
            grouping=GROUPINGS.index(grouping),
            page_size=PAGE,
            pages_max=step,
        )
        made = []
        with ThreadedWorkqueue("same", 1, 1, handler=handler) as queue:
            request = queue.get_request()
            for page in first:
                request.load(page_map, page, step, 0, 0)
                queue.submit_request(request)
                queue.collect_request()
                made.append(bytes(memoryview(request)))
        return made

    numbers = list(range(0, 48, step))
    for library in libraries():
        low, high = library.level_min, library.level_max
        for level in {low, -4, 1, 4, 9, min(high, 12)}:
            if low <= level <= high:
                one_after_another = outputs(library, level, numbers)
                alone = [outputs(library, level, [n])[0] for n in numbers]
                assert one_after_another == alone, (library.provider, level)


def test_providers_of_zlib_read_each_other() -> None:
    for library in libraries():
        if library.codec != "zlib":
            continue
        handler = _core.compressor(library, level=6, page_size=PAGE, pages_max=1)
        with ThreadedWorkqueue("zlib", 1, 1, handler=handler) as queue:
            request = queue.get_request()
            request.load(_core.PageMap(GUEST, [(0, 1, 0)], PAGE, False), 0, 1, 0, 0)
            queue.submit_request(request)
            queue.collect_request()
            assert zlib.decompress(bytes(memoryview(request))) == GUEST[:PAGE]


@pytest.mark.parametrize("codec", ["zstd", "lz4", "zlib", "none"])
def test_levels_out_of_range(codec: str) -> None:
    for level in (-(10**6), 23, 2**40):
        with pytest.raises(CodecUnavailable, match=f"{codec} has (levels|only level)"):
            open_codec(codec, level=level)


# --- Codecs in Python ---

MODULE = """
import zlib
kept = []
class Good:
    def __init__(self, level): self.level = level
    def compress(self, pages): return bytearray(zlib.compress(pages, self.level))
    def decompress(self, data, size): return zlib.decompress(data)
class Keeps(Good):
    def compress(self, pages):
        kept.extend([pages, pages[:100]])
        return super().compress(pages)
class Raises(Good):
    def compress(self, pages): raise ValueError("\\u00e9" * 200)
class Text(Good):
    def compress(self, pages): return "text"
class Short(Good):
    def decompress(self, data, size): return b"short"
class Long(Good):
    def decompress(self, data, size): return bytes(size + 1)
class NoMethods:
    def __init__(self, level): pass
class NoLevel: pass
thing = 3
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"plugin_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_codec_of_the_users_own(plugin: str) -> None:
    codec = open_codec("zstd", level=6, handler=f"{plugin}:Good")
    assert codec.info.name == f"python:{plugin}:Good"
    for grouping in ("page", "packet"):
        assert round_trip(codec, grouping) < PAGES * PAGE * 0.9
    with pytest.raises(CodecUnavailable, match="grouping stream needs a native"):
        open_codec("zstd", handler=f"{plugin}:Good", grouping="stream")


def test_views_that_a_codec_keeps_stay_valid(plugin: str) -> None:
    round_trip(open_codec("x", handler=f"{plugin}:Keeps"), "packet")
    kept = importlib.import_module(plugin).kept
    assert bytes(kept[0])[:100] == bytes(kept[1]) == GUEST[:100]


@pytest.mark.parametrize(
    ("factory", "reason", "cause"),
    [
        ("Raises", "ValueError: \u00e9+", ValueError),
        ("Text", "TypeError: a bytes-like object", TypeError),
        ("NoMethods", "AttributeError", AttributeError),
        ("Short", "5 bytes where 4096 were expected", type(None)),
        ("Long", "4097 bytes where 4096 were expected", type(None)),
    ],
)
def test_codecs_that_fail(
    plugin: str, factory: str, reason: str, cause: type[BaseException]
) -> None:
    codec = open_codec("x", handler=f"{plugin}:{factory}")
    with pytest.raises(PageError, match=reason) as raised:
        round_trip(codec, "page")
    assert isinstance(raised.value.__cause__, cause)
    assert not raised.value.of_input


def test_a_factory_that_fails(plugin: str) -> None:
    codec = open_codec("x", handler=f"{plugin}:NoLevel")
    for _ in range(2):
        with pytest.raises(CodecUnavailable, match="takes no arguments"):
            round_trip(codec, "page")


@pytest.mark.parametrize(
    ("specification", "problem"),
    [
        ("zlib", "not of the form"),
        (":compress", "not of the form"),
        ("zlib:", "not of the form"),
        ("no_such_module:f", "ModuleNotFoundError"),
        ("zlib:no_such_name", "AttributeError"),
        (".zlib:compress", "cannot be imported"),
        ("PLUGIN:thing", "not callable"),
    ],
)
def test_specifications(plugin: str, specification: str, problem: str) -> None:
    with pytest.raises(CodecUnavailable, match=problem):
        open_codec("x", handler=specification.replace("PLUGIN", plugin))


def test_modules_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_codec.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CodecUnavailable, match="ZeroDivisionError"):
        open_codec("x", handler="broken_codec:f")


def test_blocks_that_claim_too_much() -> None:
    zstandard = pytest.importorskip("zstandard")
    bomb = memoryview(zstandard.ZstdCompressor().compress(bytes(1 << 20)))
    with pytest.raises(ValueError, match="malformed"):
        python_codecs._ZstandardCodec(1).decompress(bomb, PAGE)
    with pytest.raises(ValueError, match="malformed"):
        python_codecs._ZlibCodec(1).decompress(
            memoryview(zlib.compress(bytes(9999))), PAGE
        )


def test_unknown_codecs() -> None:
    with pytest.raises(CodecUnavailable, match="there is no codec 'lzma'"):
        open_codec("lzma")
