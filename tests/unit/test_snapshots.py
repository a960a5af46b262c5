# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots as a source of dirty pages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migcomp.convert.convert import Wish, convert
from migcomp.errors import ImageError
from migcomp.images.open import open_image
from migcomp.outputs import OutputFile
from migcomp.precopy.snapshots import Snapshots, noted_seconds, turned
from tests.conftest import PAGE, make_page, memory_file

PAGES = 80  # more than are compared at once
NS = 10**9

#: Of a snapshot: page -> seed of what it is now.
CHANGES = st.dictionaries(st.integers(0, PAGES - 1), st.integers(1, 9), max_size=12)
#: Milliseconds that the guest runs at a time.
STEPS = st.lists(st.integers(0, 700), max_size=12)


def images(changes: Sequence[dict[int, int]]) -> list[bytes]:
    memory = [make_page("rows", page) for page in range(PAGES)]
    found = [b"".join(memory)]
    for change in changes:
        for page, seed in change.items():
            memory[page] = make_page("zero" if seed == 1 else "text", seed)
        found.append(b"".join(memory))
    return found


@contextmanager
def source(memories: Sequence[bytes], *seconds: float) -> Iterator[Snapshots]:
    with ExitStack() as stack:
        paths = [stack.enter_context(memory_file(data)) for data in memories]
        yield stack.enter_context(Snapshots(paths, seconds))


def differing(one: bytes, other: bytes) -> list[int]:
    return [
        page
        for page in range(len(one) // PAGE)
        if one[page * PAGE : (page + 1) * PAGE]
        != other[page * PAGE : (page + 1) * PAGE]
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(CHANGES, min_size=1, max_size=3), STEPS)
def test_every_written_page_is_reported(
    changes: list[dict[int, int]], steps: list[int]
) -> None:
    memories = images(changes)
    seconds = [0.5 + number / 4 for number in range(len(changes))]
    with source(memories, *seconds) as guest, guest.memory() as memory:
        before = memory.buffer[:]
        assert before == memories[0]
        for step in steps:
            written = guest.run(memory, step / 1000)
            assert list(written) == sorted(set(written))
            after = memory.buffer[:]
            assert set(differing(before, after)) <= set(written)
            before = after


@settings(deadline=None, max_examples=60)
@given(st.lists(CHANGES, min_size=1, max_size=3), STEPS)
def test_the_steps_of_time_make_no_difference(
    changes: list[dict[int, int]], steps: list[int]
) -> None:
    memories = images(changes)
    seconds = [0.5] * len(changes)
    with (
        source(memories, *seconds) as one,
        source(memories, *seconds) as other,
        one.memory() as first,
        other.memory() as second,
    ):
        written: set[int] = set()
        for step in steps:
            written |= set(one.run(first, step / 1000))
        assert sorted(written) == list(other.run(second, sum(steps) / 1000))
        assert first.buffer[:] == second.buffer[:]


@settings(deadline=None, max_examples=60)
@given(st.lists(CHANGES, min_size=1, max_size=3))
def test_at_the_time_of_a_snapshot_memory_is_the_snapshot(
    changes: list[dict[int, int]],
) -> None:
    memories = images(changes)
    seconds = [0.25 * (number + 1) for number in range(len(changes))]
    with source(memories, *seconds) as guest, guest.memory() as memory:
        for number, expected in enumerate(memories[1:]):
            assert list(guest.run(memory, seconds[number])) == differing(
                memories[number], expected
            )
            assert memory.buffer[:] == expected
        for number in range(len(changes)):
            again = guest.run(memory, seconds[number])
            assert list(again) == differing(memories[number], memories[number + 1])


def test_pages_are_written_evenly_and_not_in_their_order() -> None:
    memories = images([dict.fromkeys(range(40), 5)])
    with source(memories, 4.0) as guest, guest.memory() as memory:
        found = [guest.run(memory, 1.0) for _ in range(4)]
        assert [len(pages) for pages in found] == [10, 10, 10, 10]
        assert list(found[0]) != list(range(10))
        assert sorted(page for pages in found for page in pages) == list(range(40))


@given(st.binary(min_size=64, max_size=64), st.binary(min_size=64, max_size=64))
def test_what_changed_changes_again(old: bytes, new: bytes) -> None:
    for times in (0, 1, 2, 254, 255, 256):
        found = turned(old, new, times)
        for before, after, now in zip(old, new, found, strict=True):
            if before == after or not after:
                assert now == after
            else:
                assert now == (after + times - 1) % 255 + 1


def test_snapshots_of_any_format(tmp_path: Path) -> None:
    memories = images([{3: 7}, {5: 1, 70: 2}])
    paths = []
    for number, data in enumerate(memories):
        path = str(tmp_path / f"round{number}.zst")
        with (
            memory_file(data) as raw,
            open_image(raw) as image,
            OutputFile(path) as sink,
        ):
            convert(image, sink, "seekable-zstd", Wish())
        paths.append(path)
    with Snapshots(paths, [1, 1]) as guest, guest.memory() as memory:
        assert guest.description == "3 snapshots, 1 s apart"
        assert guest.run(memory, 1.0) == [3]
        assert guest.run(memory, 1.0) == [5, 70]
        assert memory.buffer[:] == memories[2]
        # The images were closed meanwhile, and their changes kept.
        assert guest.run(memory, 2.0) == [3, 5, 70]


def test_a_comparison_tells_how_far_it_is() -> None:
    """When it is made, which is not before its time has come."""
    seen: list[int] = []
    with source(images([{3: 7}, {5: 1}]), 1, 1) as guest, guest.memory() as memory:
        guest.compared = seen.append
        guest.run(memory, 0.5)
        assert seen == [0, 64]
        guest.run(memory, 1.0)
        assert seen == [0, 64] * 2


def test_snapshots_that_are_none() -> None:
    memories = images([{3: 7}])
    with pytest.raises(ValueError, match="two snapshots"), source(memories[:1]):
        pass
    with pytest.raises(ImageError, match="millisecond"), source(memories, 0):
        pass
    with (
        source([memories[0], memories[1][:-PAGE]], 1) as guest,
        guest.memory() as memory,
        pytest.raises(ImageError, match="no later snapshot"),
    ):
        guest.run(memory, 0)
    with (
        memory_file(memories[0]) as path,
        Snapshots([path, "none"], [1.0]) as guest,
        guest.memory() as memory,
        pytest.raises(ImageError, match="none"),
    ):
        guest.run(memory, 0.1)


def test_seconds_that_capture_noted(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"round{number}.raw") for number in range(3)]
    assert noted_seconds(paths) is None
    notes = tmp_path / "capture.json"
    images: list[dict[str, object]] = [
        {"path": f"elsewhere/round{number}.raw", "taken": taken, "seconds": 0.25}
        for number, taken in enumerate((0.0, 1.5, 4.0))
    ]
    notes.write_text(json.dumps({"paused": False, "images": images}))
    assert noted_seconds(paths) == [1.5, 2.5]
    assert noted_seconds(paths[::2]) == [4.0]
    # A guest that was paused did nothing meanwhile.
    notes.write_text(json.dumps({"paused": True, "images": images}))
    assert noted_seconds(paths) == [1.25, 2.25]
    for text in (
        *("", "[]", "{}", "[" * 100_000),
        json.dumps({"paused": True, "images": images[1:]}),
    ):
        notes.write_text(text)
        with pytest.raises(ImageError, match=r"capture\.json does not tell"):
            noted_seconds(paths)
    for taken in ("NaN", "1e999", "1" + "0" * 400, "1.5001"):
        images[2]["taken"] = None
        written = json.dumps({"paused": False, "images": images})
        notes.write_text(written.replace("null", taken))
        with pytest.raises(ImageError, match=r"capture\.json does not tell"):
            noted_seconds(paths)


def test_time_that_was_noted_and_did_not_pass(tmp_path: Path) -> None:
    """Of a guest that was paused for longer than from one snapshot to the next."""
    images = [{"path": n, "taken": t, "seconds": 5} for n, t in (("a", 0), ("b", 1))]
    notes = {"paused": True, "images": images}
    (tmp_path / "capture.json").write_text(json.dumps(notes))
    paths = [str(tmp_path / name) for name in "ab"]
    with pytest.raises(ImageError, match=r"capture\.json does not tell"):
        noted_seconds(paths)
