# SPDX-License-Identifier: LGPL-2.1-or-later
"""An explanation as JSON, on the terminal and as a page, as they once were written.

What is counted, and XBZRLE's bytes, are measured here and now.  Sizes that depend on
zstd's version are replaced by given ones, as are CPU times, and pictures, which depend
on matplotlib's version, by their titles.  ``python -m tests.golden.test_explained``
writes those files that are not there.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from migcomp.explain.explain import explain
from migcomp.explain.results import Estimate, Explanation, Technique
from migcomp.images.open import open_image
from migcomp.report.console import open_console
from migcomp.report.explain import render
from migcomp.report.explain_json import to_json
from migcomp.report.html.explain import to_html
from migcomp.results import Block, CodecInfo, Machine
from tests.conftest import PAGE, make_pages, memory_file
from tests.golden.pages import steady

FOLDER = Path(__file__).parent / "explained"
LAYOUT = (Block("pc.ram", 40 * PAGE, 0), Block("rom", 24 * PAGE, 0xFFFC0000))
_GIVEN = ("page", "packet", "dictionary", "delta")  # come from zstd
_DELTAS = ("delta", "xbzrle")


def _memory() -> bytes:
    texts = [("text", n) for n in range(18)]
    low = make_pages(*texts, *["zero"] * 10, *texts[:5], *[("same", 1)] * 7)
    noise = [("noise", n) for n in range(12)]
    return low + make_pages(*[("rows", n) for n in range(12)], *noise)


def _explanation() -> Explanation:
    now = _memory()
    before = bytearray(now)
    for page in (3, 17, 50):
        before[page * PAGE + 100 : page * PAGE + 120] = bytes(range(20))
    with ExitStack() as stack:
        one = stack.enter_context(memory_file(now))
        other = stack.enter_context(memory_file(bytes(before)))
        image = stack.enter_context(open_image(one, layout=LAYOUT))
        previous = stack.enter_context(open_image(other))
        found = explain(image, previous, seed=7, threads=1)
    assert found.previous
    return replace(
        found,
        image="guest.raw",
        techniques=tuple(
            _given(number, each) for number, each in enumerate(found.techniques)
        ),
        previous=replace(found.previous, path="earlier.raw"),
        codec=CodecInfo("zstd", "libzstd", "1.5.7", "libzstd.so.1"),
        machine=Machine("Processor", 4, 1 << 34, "Linux 6.1", "3.11.7", 0.25),
        wall_seconds=1.5,
    )


def _given(number: int, technique: Technique) -> Technique:
    """With figures that depend on nothing but the technique."""
    sent, gain = technique.sent, technique.gain
    if technique.key in _GIVEN:
        sent = Estimate(technique.guest_bytes * 5 // (10 + number), 1000.0)
    if gain is not None:  # of deltas over packets half as large as the pages
        over = sent.value if technique.key in _DELTAS else technique.guest_bytes * 3 / 8
        gain = Estimate(technique.guest_bytes / 2 - over, 500.0)
    cost = 0.001 if technique.key == "xbzrle" else (number + 1) / 8
    return replace(technique, sent=sent, gain=gain, cpu_seconds_per_gib=cost)


def _as_json(found: Explanation) -> str:
    return json.dumps(to_json(found), indent=1) + "\n"


def _as_text(found: Explanation) -> str:
    stream = io.StringIO()
    render(found, open_console(stream, "never"))
    return stream.getvalue()


def _as_page(found: Explanation) -> str:
    return steady(to_html(found))


WRITERS: dict[str, Callable[[Explanation], str]] = {
    "guest.json": _as_json,
    "guest.txt": _as_text,
    "guest.html": _as_page,
}


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return _explanation()


@pytest.mark.parametrize("name", WRITERS)
def test_they_are_written_as_ever(name: str, explanation: Explanation) -> None:
    assert WRITERS[name](explanation) == (FOLDER / name).read_text()


def test_all_are_there_and_small() -> None:
    paths = sorted(FOLDER.iterdir())
    assert [path.name for path in paths] == sorted(WRITERS)
    assert all(path.stat().st_size <= 24 << 10 for path in paths)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    found = _explanation()
    for name, write in WRITERS.items():
        if not (FOLDER / name).exists():
            (FOLDER / name).write_text(write(found))
