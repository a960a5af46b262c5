# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reports of one fixed run, in text and JSON."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest

from migcomp.report.advice import advice
from migcomp.report.console import open_console
from migcomp.report.json import to_json
from migcomp.report.terminal import render
from migcomp.results import (
    PageCounts,
    Queue,
    RequestTimes,
    Worker,
)
from tests.report_tools import MIB, a_result, text_of

ROW = "··-=░▒▓█"
GOLDEN = f"""\
paused.raw to paused.migc: 128 MiB compressed to 31.5 MiB in 296 ms

  rate          4.07 image / stream; compression rate 2.30 of compressed pages
  guest memory  453 MB/s, 110,703 pages/s; non-zero 296 MB/s
  output        111 MB/s, 892 Mbit/s
  CPU           4.59 s/GiB; workers 280 ms, 279 ms; submitter 14.1 ms
  workqueue     busy 93.4 % of 256 requests; depth 7.2 mean, 8 most
  per request   p50 2.10, p90 3.00, p99 3.40, p99.9 3.60, most 3.60 ms

  pages          number     share      guest     stream   rate
  zero           11,392    34.8 %   44.5 MiB
  same-filled     3,840    11.7 %   15.0 MiB
  deduplicated    3,200     9.8 %   12.5 MiB
  compressed     11,136    34.0 %   43.5 MiB   18.9 MiB   2.30
  normal          3,200     9.8 %   12.5 MiB   12.5 MiB   1.00
  framing                                      90.6 KiB
  total          32,768   100.0 %    128 MiB   31.5 MiB   4.07

  memory map  by guest address, 512 KiB to a cell
             0  {ROW * 8}
        32 MiB  {ROW * 8}
        64 MiB  {ROW * 8}
        96 MiB  {ROW * 8}
  · zero  - same-filled  = deduplicated  ░ <1/4 sent  ▒ <1/2  ▓ <3/4  █ more

  zstd level 1 by libzstd 1.5.4; packets of 128 pages; 2 threads x 4 requests
  Example CPU 3000, 2 usable CPUs, 8.00 GiB, Linux 6.1, Python 3.11.2, load 0.42"""


def test_the_report_at_80_columns() -> None:
    assert text_of(a_result()) == GOLDEN


@pytest.mark.parametrize("width", [80, 100, 149, 150, 200])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    assert max(map(len, text_of(a_result(), width).splitlines())) <= width


def test_a_wide_screen_shows_the_map_beside_and_every_thread() -> None:
    text = text_of(a_result(), 200)
    assert len(text.splitlines()) < len(GOLDEN.splitlines()) - 6
    for line in GOLDEN.splitlines():
        assert line.strip() in text
    assert re.search(r"submitter +256 +14\.1 ms +4\.8 % +91 +1,200 +90$", text, re.M)


def test_many_threads_are_summed_up() -> None:
    workers = tuple(Worker(4, 0.25 + i / 1000, 1, 2, 3) for i in range(64))
    result = replace(a_result(), workers=workers)
    assert "64 workers 250 ms to 313 ms; submitter 14.1 ms" in text_of(result)
    assert re.search(r"4 to 63 +240 ", text_of(result, 200))


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        ((1_000, 2_000, 3_000, 4_000, 5_000_000), "1.00, 2.00, 3.00, 4.00, 5000 us"),
        ((934_000, 13_238_000, 2e7, 3e7, 3e7), "0.93, 13.2, 20.0, 30.0, 30.0 ms"),
        ((120, 130, 140, 150, 160), "120, 130, 140, 150, 160 ns"),
        ((0, 0, 0, 0, 0), "0.00, 0.00, 0.00, 0.00, 0.00 ns"),
        (
            (1_000, 2_000, 3_000, 4_000, 5e9),
            "1.00 us, 2.00 us, 3.00 us, 4.00 us, 5.00 s",
        ),
    ],
)
def test_times_have_one_unit_where_one_fits(
    nanoseconds: tuple[float, ...], text: str
) -> None:
    times = RequestTimes(*map(int, nanoseconds))
    shown = " ".join(text_of(replace(a_result(), request_times=times), 100).split())
    _, _, shown = shown.partition("per request ")
    for name in ("p50 ", "p90 ", "p99 ", "p99.9 ", "most "):
        shown = shown.replace(name, "", 1)
    assert shown.startswith(text)


def test_percentiles_that_so_few_requests_cannot_tell() -> None:
    result = replace(a_result(), request_times=RequestTimes(10, 20, None, None, 30))
    assert "per request   p50 10.0, p90 20.0, most 30.0 ns" in text_of(result)
    times = json.loads(json.dumps(to_json(result)))["request-times-ns"]
    assert times == {"p50": 10, "p90": 20, "p99": None, "p99.9": None, "most": 30}


def test_pages_that_a_salvage_did_not_find() -> None:
    sound = a_result()
    result = replace(
        sound,
        image_bytes=sound.image_bytes + MIB,
        missing_bytes=MIB,
        stream_bytes=sound.stream_bytes + 5000,
        lost_bytes=5000,
    )
    text = text_of(result)
    assert re.search(r"^  missing +256 +1\.00 MiB +4\.88 KiB *$", text, re.M)
    # All else is of what was found, and so as ever.
    for line in text_of(sound).splitlines():
        if re.match("  (rate|guest memory|CPU|total|framing|zero|compressed) ", line):
            assert line.rstrip() in [shown.rstrip() for shown in text.splitlines()]


@pytest.mark.parametrize(
    ("operation", "image", "stream", "headline"),
    [
        ("run", "a/b.raw", "", "b.raw: 128 MiB compressed to 31.5 MiB in 296 ms, not"),
        (
            "run",
            "b.raw",
            "/dev/null",
            "b.raw to /dev/null: 128 MiB compressed to 31.5 M",
        ),
        ("run", "-", "-", "stdin to stdout: 128 MiB compressed to 31.5 MiB in 296 ms"),
        ("restore", "b.raw", "s.migc", "s.migc to b.raw: 31.5 MiB restored to 128 MiB"),
        (
            "verify",
            "",
            "s.migc",
            "s.migc: 128 MiB in 31.5 MiB checked in 296 ms, sound",
        ),
        ("verify", "b.raw", "-", "stdin and b.raw: 128 MiB in 31.5 MiB checked in"),
        ("run", "\x1b[31m\udcff.raw", "", "\\x1b[31m\\udcff.raw: 128 MiB"),
    ],
)
def test_the_headline(operation: str, image: str, stream: str, headline: str) -> None:
    result = replace(a_result(), operation=operation, image=image, stream=stream)
    assert text_of(result).startswith(headline)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"grouping": "page", "request_pages": 8},
            "page by page; 2 threads x 4 requests of 8",
        ),
        ({"grouping": "stream", "channels": 3}, "3 streams flushed every 128 pages"),
        ({"handler": "my.codec:Factory"}, "handler my.codec:Factory"),
        ({"dedup": False}, "  9.8 %"),
    ],
)
def test_settings_are_told(changes: dict[str, object], words: str) -> None:
    settings = replace(a_result().settings, **changes)  # type: ignore[arg-type]
    assert words in " ".join(
        text_of(replace(a_result(), settings=settings)).split("\n  ")
    )


def test_dedup_that_was_not_asked_for_is_off() -> None:
    settings = replace(a_result().settings, dedup=False)
    pages = replace(a_result().pages, deduplicated=0)
    text = text_of(replace(a_result(), settings=settings, pages=pages))
    assert re.search(r"deduplicated +off", text)


def test_nothing_measured_is_no_error() -> None:
    result = replace(
        a_result(),
        pages=PageCounts(),
        image_bytes=0,
        stream_bytes=0,
        compressed_bytes=0,
        compressed_blocks=0,
        wall_seconds=0.0,
        workers=(),
        queue=Queue(0, 0, 0, 0, 0, 0, 0.0, 0),
        request_times=RequestTimes(0, 0, 0, 0, 0),
        regions=(),
        blocks=(),
    )
    for width in (80, 200):
        assert "no workers" in text_of(result, width)
    json.dumps(to_json(result), allow_nan=False)


# --- Colours -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("color", "no_color", "colored"),
    [
        ("auto", "", False),  # no terminal
        ("always", "", True),
        ("always", "1", True),
        ("never", "", False),
    ],
)
def test_colours(
    monkeypatch: pytest.MonkeyPatch, color: str, no_color: str, colored: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    file = io.StringIO()
    render(a_result(), open_console(file, color))
    assert ("\x1b[" in file.getvalue()) == colored


@pytest.mark.parametrize(("no_color", "colored"), [("", True), ("1", False)])
def test_no_color_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, no_color: str, colored: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    file = Terminal()
    render(a_result(), open_console(file))
    assert ("\x1b[" in file.getvalue()) == colored


# --- Advice --------------------------------------------------------------------


def test_a_quiet_long_run_needs_no_advice() -> None:
    assert advice(a_result()) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wall_seconds": 0.05}, "lasted 50.0 ms"),
        ({"stream_bytes": 200 * MIB}, "larger than the image"),
        ({"settings": replace(a_result().settings, threads=8)}, "8 threads shared 2"),
        ({"machine": replace(a_result().machine, load_average=3.0)}, "load 3.0"),
    ],
)
def test_what_misleads_is_told(changes: dict[str, object], words: str) -> None:
    result = replace(a_result(), **changes)  # type: ignore[arg-type]
    (sentence,) = advice(result)
    assert words in sentence
    assert "Note: " + sentence.split()[0] in text_of(result)
    assert to_json(result)["notes"] == [sentence]


# --- JSON ----------------------------------------------------------------------


def test_json_has_qmps_figures() -> None:
    result = a_result()
    content = json.loads(json.dumps(to_json(result)))
    assert content["schema"] == "migcomp.run/1"
    assert content["ram"] == {
        "transferred": 33_000_000,
        "total": 134_217_728,
        "duplicate": 11_392,
        "normal": 3_200,
        "normal-bytes": 3_200 * 4096,
        "page-size": 4096,
        "mbps": pytest.approx(33_000_000 * 8 / 0.296 / 1e6),
        "pages-per-second": round(32_768 / 0.296),
    }
    assert content["compression"] == {
        "pages": 11_136,
        "busy": 239,
        "busy-rate": pytest.approx(239 / 32_768),
        "compressed-size": 19_800_000 + 4 * 160,
        "compression-rate": pytest.approx(11_136 * 4096 / (19_800_000 + 4 * 160)),
    }


def test_json_keys_are_lower_case_with_hyphens() -> None:
    def keys(content: object) -> list[str]:
        if isinstance(content, dict):
            return [*content, *(k for v in content.values() for k in keys(v))]
        if isinstance(content, list):
            return [k for v in content for k in keys(v)]
        return []

    for key in keys(to_json(a_result())):
        assert re.fullmatch(r"[a-z0-9.]+(-[a-z0-9]+)*", key), key


def test_json_is_complete() -> None:
    """Every figure of the terminal's report can be had from the JSON."""
    content = json.loads(json.dumps(to_json(a_result())))
    assert content["image"]["digest"] == "0123456789abcdef"
    assert [w["cpu-seconds"] for w in content["workers"]] == [0.2801, 0.2794]
    assert content["time"]["submitter-cpu-seconds"] == 0.0141
    assert content["time"]["cpu-seconds-per-gib"] == pytest.approx(4.5888)
    assert content["queue"]["depth-mean"] == 7.21
    assert content["queue"]["requests"] == 256
    assert content["queue"]["busy-share"] == pytest.approx(239 / 256)
    assert content["request-times-ns"]["p99.9"] == 3_600_000
    assert len(content["regions"]) == 256
    assert sum(c["pages"] for c in content["classes"].values()) == 32_768
    assert content["stream"]["framing-bytes"] == 33_000_000 - 19_800_000 - 3_200 * 4096
    assert content["machine"]["cpu"] == "Example CPU 3000"
