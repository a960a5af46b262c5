# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of several files: diffs, Cloud Hypervisor's folders, CRIU's chains."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from migcomp.errors import ImageError
from migcomp.images.open import open_image
from migcomp.results import Block
from tests.conftest import PAGE, make_page, make_pages, piped
from tests.dump_files import CRIU_MAGIC, criu_dump, criu_message

A, B, C, ZERO = (make_pages(kind) for kind in ("rows", "noise", "text", "zero"))


def content(path: Path, **options: object) -> bytes:
    with open_image(str(path), **options) as image:  # type: ignore[arg-type]
        assert image.pages is not None
        return b"".join(image.read(page, 1) for page in range(image.pages))


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(str(path), **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sparse(path: Path, size: int, *stretches: tuple[int, bytes]) -> str:
    with path.open("wb") as file:
        for offset, data in stretches:
            os.pwrite(file.fileno(), data, offset)
        file.truncate(size)
    return str(path)


# --- Diffs -------------------------------------------------------------------------


def test_diffs_lie_over_one_another(tmp_path: Path) -> None:
    base = Path(sparse(tmp_path / "base", 6 * PAGE, (0, A * 3), (5 * PAGE, C)))
    first = sparse(tmp_path / "1", 6 * PAGE, (PAGE, B + ZERO), (4 * PAGE, B))
    second = sparse(tmp_path / "2", 6 * PAGE, (2 * PAGE, C * 2))
    assert content(base) == A * 3 + ZERO * 2 + C
    assert content(base, diffs=[first]) == A + B + ZERO + ZERO + B + C
    assert content(base, diffs=[first, second]) == A + B + C + C + B + C
    assert content(base, diffs=[second, first]) == A + B + ZERO + C + B + C
    layout = [Block("low", 2 * PAGE, 0), Block("high", 4 * PAGE, 1 << 32)]
    with open_image(str(base), diffs=[first], layout=layout) as image:
        assert image.blocks == tuple(layout)
        assert image.facts == {"diffs": [{"file": first}]}
        assert [(r.first_page, r.pages, r.hole) for r in image.runs(1)] == [
            (2, 1, False),
            (3, 1, True),
            (4, 2, False),
        ]


@pytest.mark.parametrize("seed", range(30))
def test_diffs_of_any_shape(tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    pages = 12
    expected = [ZERO] * pages
    paths = []
    for layer in range(4):
        chosen = [n for n in range(pages) if rng.random() < 0.4]
        data = [(n * PAGE, make_page("noise", layer * pages + n)) for n in chosen]
        for n, (_, page) in zip(chosen, data, strict=True):
            expected[n] = page
        paths.append(sparse(tmp_path / str(layer), pages * PAGE, *data))
    assert content(Path(paths[0]), diffs=paths[1:]) == b"".join(expected)


def test_diffs_that_are_none(tmp_path: Path) -> None:
    base = Path(sparse(tmp_path / "base", 2 * PAGE, (0, A)))
    full = sparse(tmp_path / "full", 2 * PAGE, (0, A + B))
    short = sparse(tmp_path / "short", PAGE)
    diff = sparse(tmp_path / "diff", 2 * PAGE, (0, B))
    (tmp_path / "link").symlink_to(diff)
    assert "has no holes, so that" in refusal(base, diffs=[full])
    assert "short has 4096 bytes, but" in refusal(base, diffs=[short])
    assert "base, and no diff of it" in refusal(base, diffs=[str(base)])
    assert "diff, and no diff" in refusal(base, diffs=[diff, str(tmp_path / "link")])
    assert "cannot be opened" in refusal(base, diffs=[str(tmp_path / "none")])
    with piped(A) as path:
        assert "is no file, and has no holes" in refusal(base, diffs=[path])
    with piped(A) as path:
        assert "is no file of whole pages" in refusal(Path(path), diffs=[diff])
    sparse(base, PAGE + 1)
    assert "is no file of whole pages" in refusal(base, diffs=[diff], pad=True)
    pagemap = criu_dump(tmp_path / "dump", [(0, A)])
    assert "is criu, and cannot have diffs" in refusal(pagemap, diffs=[diff])


def test_a_diff_whose_changes_cannot_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    base.write_bytes(A + B)
    diff = sparse(tmp_path / "diff", 2 * PAGE, (0, B))
    real = os.lseek

    def fail(fd: int, position: int, whence: int) -> int:
        if whence == os.SEEK_DATA:
            raise OSError(5, os.strerror(5))
        return real(fd, position, whence)

    monkeypatch.setattr(os, "lseek", fail)
    assert "cannot be read: Input/output error" in refusal(base, diffs=[diff])


def test_diffs_on_the_command_line(tmp_path: Path) -> None:
    base = sparse(tmp_path / "base", 3 * PAGE, (0, A))
    diffs = [
        sparse(tmp_path / "1", 3 * PAGE, (PAGE, B)),
        sparse(tmp_path / "2", 3 * PAGE, (2 * PAGE, B)),
    ]
    command = ["run", base, "--diff", diffs[0], "--diff", diffs[1]]
    done = subprocess.run(
        [sys.executable, "-m", "migcomp", *command, "--json"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["classes"]["zero"]["pages"] == 0
    command = ["convert", base, str(tmp_path / "raw"), "--to", "raw"]
    for diff in diffs:
        command += ["--diff", diff]
    done = subprocess.run(
        [sys.executable, "-m", "migcomp", *command], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "raw").read_bytes() == A + B + B


def test_firecrackers_state_is_no_memory(tmp_path: Path) -> None:
    for number in (0x0710198486640000, 0x07101984AAAA0000):
        path = tmp_path / "state"
        path.write_bytes(struct.pack("<Q", number).ljust(PAGE, b"\0"))
        assert "the state of a Firecracker guest" in refusal(path)


# --- Cloud Hypervisor ----------------------------------------------------------------

RANGES = {"data": [{"gpa": 0, "length": PAGE}, {"gpa": 1 << 32, "length": 2 * PAGE}]}


def snapshot(folder: Path, state: object) -> Path:
    (folder / "memory-ranges").write_bytes(A + B + C)
    (folder / "state.json").write_text(json.dumps(state))
    return folder / "memory-ranges"


@pytest.mark.parametrize("as_text", [False, True])
def test_a_folder_of_cloud_hypervisor(tmp_path: Path, as_text: bool) -> None:
    manager: object = {"memory_ranges": RANGES, "boot_ram": 3 * PAGE}
    if as_text:
        manager = json.dumps(manager)
    managers = {"memory-manager": {"snapshot_data": {"state": manager}}}
    memory = snapshot(tmp_path, {"id": "", "snapshots": managers})
    for path in (tmp_path, memory):
        with open_image(str(path)) as image:
            assert image.format == "cloud-hypervisor"
            assert image.blocks == (
                Block("ram@0x0", PAGE, 0),
                Block("ram@0x100000000", 2 * PAGE, 1 << 32),
            )
        assert content(path) == A + B + C
    diff = sparse(tmp_path / "diff", 3 * PAGE, (PAGE, A))
    assert content(tmp_path, diffs=[diff]) == A + A + C
    with open_image(str(memory), format="raw") as image:
        assert (image.format, len(image.blocks)) == ("raw", 1)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("\xff\xfe", "is no JSON"),
        ("{}", "does not tell in JSON where memory belongs"),
        ('{"state": "{"}', "does not tell in JSON"),
        ("[" * 80 + '{"memory_ranges": {"data": []}}' + "]" * 80, "does not tell"),
        ('{"memory_ranges": {"data": []}}', "are no such ranges"),
        ('{"memory_ranges": {"data": [1]}}', "are no such ranges"),
        ('{"memory_ranges": {"data": [{"gpa": 0}]}}', "are no such ranges"),
        ('{"memory_ranges": {"data": [{"gpa": -1, "length": 9}]}}', "are no such"),
        ('{"memory_ranges": {"data": [{"gpa": 0, "length": 0}]}}', "are no such"),
        (
            json.dumps({"memory_ranges": {"data": [{"gpa": 0, "length": PAGE}] * 2}}),
            "are no such ranges",
        ),
        (
            json.dumps({"memory_ranges": {"data": [{"gpa": 0, "length": 4 * PAGE}]}}),
            "lays out other memory than the 12288 bytes of",
        ),
    ],
)
def test_states_that_cannot_be(tmp_path: Path, state: str, sentence: str) -> None:
    memory = snapshot(tmp_path, {})
    (tmp_path / "state.json").write_bytes(state.encode("latin-1"))
    assert sentence in refusal(memory)


# --- CRIU ----------------------------------------------------------------------------


def test_a_process_and_its_parents(tmp_path: Path) -> None:
    oldest, middle, newest = (tmp_path / name for name in ("1", "2", "3"))
    criu_dump(oldest, [(0x10000, A + B + C + A), (0x20000, B)])
    criu_dump(middle, [(0x10000, 2), (0x12000, B), (0x13000, 1), (0x20000, 1)])
    criu_dump(newest, [(0x10000, C), (0x11000, 3), (0x20000, 1), (0x30000, A)])
    (middle / "parent").symlink_to("../1")
    (newest / "parent").symlink_to("../2")
    with open_image(str(newest)) as image:
        assert image.format == "criu"
        assert image.facts == {"addresses": "virtual", "parents": 2}
        assert image.blocks == (
            Block("ram@0x10000", 4 * PAGE, 0x10000),
            Block("ram@0x20000", PAGE, 0x20000),
            Block("ram@0x30000", PAGE, 0x30000),
        )
    assert content(newest) == C + B + B + A + B + A
    assert content(oldest / "pagemap-7.img") == A + B + C + A + B


def test_newer_fields(tmp_path: Path) -> None:
    """CRIU 4.2: the number of pages in a wider field, with flags."""
    criu_dump(tmp_path, [(0, A)])
    entry = criu_message(f1=0x5000, f2=0, f4=6, f5=2)
    (tmp_path / "pagemap-7.img").write_bytes(CRIU_MAGIC + criu_message(f1=8) + entry)
    (tmp_path / "pages-8.img").write_bytes(A + B)
    assert content(tmp_path) == A + B


def test_parents_in_a_circle(tmp_path: Path) -> None:
    for name, other in (("1", "2"), ("2", "1")):
        criu_dump(tmp_path / name, [(0, 1)])
        (tmp_path / name / "parent").symlink_to(f"../{other}")
    assert "is among its own parents" in refusal(tmp_path / "1")
    (tmp_path / "1" / "parent").unlink()
    (tmp_path / "1" / "parent").symlink_to(".")
    assert "is among its own parents" in refusal(tmp_path / "1")


def test_more_parents_than_anybody_has(tmp_path: Path) -> None:
    for n in range(300):
        criu_dump(tmp_path / str(n), [(0, 1)])
        (tmp_path / str(n) / "parent").symlink_to(f"../{n + 1}")
    assert "more than 256 parents" in refusal(tmp_path / "0")


def test_folders_without_and_with_many_processes(tmp_path: Path) -> None:
    assert "is a directory without page images of CRIU" in refusal(tmp_path)
    (tmp_path / "pagemap-shmem-4.img").touch()
    assert "a directory without" in refusal(tmp_path)
    for pid in range(8):
        criu_dump(tmp_path, [(0, A)], pid=pid)
    assert "holds 8 processes; name one of pagemap-0.img" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([], "names no pages file"),
        ([criu_message(f2=8)], "names no pages file"),
        ([criu_message(f1=8)], "holds no memory"),
        (
            [criu_message(f1=9), criu_message(f1=0, f2=1)],
            "pages-9.img cannot be opened",
        ),
        ([criu_message(f1=8), criu_message(f1=1, f2=1)], "0x1 begins no page of 4096"),
        ([criu_message(f1=8), criu_message(f1=0, f2=2)], "4096 bytes, not those of 2"),
        ([criu_message(f1=8), criu_message(f1=0, f5=2**63)], "overlaps another"),
        ([criu_message(f1=8), *[criu_message(f1=0, f2=1)] * 2], "overlaps another"),
        ([criu_message(f1=8), criu_message(f1=0, f2=1, f4=2)], "fetched lazily"),
        ([criu_message(f1=8), criu_message(f1=0, f2=1, f4=1)], "leaves pages to its"),
        ([criu_message(f1=8), b"\xff\xff\xff\xff"], "an entry has 4294967295 bytes"),
        ([criu_message(f1=8), b"\x05\0\0\0\x08"], "it ends within an entry"),
        ([criu_message(f1=8), b"\x01\0\0\0\x08"], "an entry is cut off"),
        ([criu_message(f1=8), b"\x02\0\0\0\x08\x80"], "an entry holds no number"),
        ([criu_message(f1=8), b"\x0c\0\0\0\x08" + b"\xff" * 11], "holds no number"),
        ([criu_message(f1=8), b"\x02\0\0\0\x32\0"], "a field of a newer CRIU"),
    ],
)
def test_pagemaps_that_cannot_be(
    tmp_path: Path, messages: list[bytes], sentence: str
) -> None:
    pagemap = criu_dump(tmp_path, [(0, A)])
    pagemap.write_bytes(CRIU_MAGIC + b"".join(messages))
    assert sentence in refusal(pagemap)


def test_pages_of_another_size(tmp_path: Path) -> None:
    pagemap = criu_dump(tmp_path, [(0, A), (0x10000, B)])
    (tmp_path / "pages-8.img").write_bytes((A + B) * 16)
    assert "2 pages of 65536 bytes; give --page-size 65536" in refusal(pagemap)
    with open_image(str(pagemap), page_size=65536) as image:
        assert image.read(0, 1) == (A + B) * 8


def test_a_parent_that_lacks_pages(tmp_path: Path) -> None:
    criu_dump(tmp_path / "1", [(0, A), (0x2000, A)])
    criu_dump(tmp_path / "2", [(0, 3)])
    (tmp_path / "2" / "parent").symlink_to("../1")
    assert "should have page 0x1" in refusal(tmp_path / "2")
