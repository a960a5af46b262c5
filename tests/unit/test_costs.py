# SPDX-License-Identifier: LGPL-2.1-or-later
"""Costs: measured, kept, and read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migcomp.errors import ImageError
from migcomp.precopy.costs import Costs, Work, load_costs, measured_costs
from tests.conftest import PAGE

ZSTD = Work("zstd", 1, "packet")


def measured() -> Costs:
    return Costs(PAGE, 100, 500, 200, 3000, 40_000, "here")


def test_measured_work_costs_what_it_took() -> None:
    costs = measured()
    assert costs.of(ZSTD, 10, 80, 10, 91_000) == 91_000
    assert costs.of(ZSTD, 0, 100, 0, 110_000) == 110_000


def test_stored_work_costs_what_it_did_on_average() -> None:
    costs = measured()
    costs.of(ZSTD, 10, 80, 10, 91_000)  # 1000 each without the zero pages
    costs.of(ZSTD, 0, 80, 0, 160_000)
    stored = costs.fixed()
    assert stored.of(ZSTD, 10, 100, 0, 7) == 10 * 100 + 100 * 1500
    assert stored.of(ZSTD, 0, 0, 5, 7) == 5 * 1000


def test_pages_never_met_cost_as_the_others() -> None:
    costs = measured()
    costs.of(ZSTD, 0, 10, 0, 20_000)
    assert costs.fixed().of(ZSTD, 0, 0, 1, 0) == 2000


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    costs = measured()
    costs.of(ZSTD, 0, 10, 1, 20_000)
    file = tmp_path / "costs.json"
    file.write_text(json.dumps(costs.to_json()))
    again = load_costs(str(file), PAGE)
    assert again.to_json() == costs.to_json()
    assert again.source == str(file)


def test_what_is_not_there_is_told() -> None:
    costs = measured()
    costs.of(ZSTD, 0, 1, 0, 1)
    with pytest.raises(
        ImageError,
        match="no cost of compressed pages for zstd level 3 in grouping page",
    ):
        costs.fixed().of(Work("zstd", 3, "page"), 0, 1, 0, 0)


def test_all_but_codecs_is_measured_at_once() -> None:
    costs = measured_costs(PAGE)
    for ns in (costs.zero_ns, costs.send_ns, costs.hash_ns, costs.submit_ns):
        assert 0 < ns < 1_000_000
    assert costs.handover_range is not None
    least, most = costs.handover_range
    assert 0 <= least <= costs.handover_ns <= most


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "other/1"}, "its schema is 'other/1'"),
        ({"page-size": 65536}, "for pages of 65536 bytes, and not of 4096"),
        ({"zero-ns": -1}, "zero-ns is -1"),
        ({"send-ns": 1.5}, "send-ns is 1.5"),
        ({"hash-ns": True}, "hash-ns is True"),
        ({"handover-ns": 10**12}, "handover-ns is 1000000000000"),
        ({"codecs": []}, "is not a file of costs"),
        ({"codecs": {"zstd": {"one": {"page": {}}}}}, "is not a file of costs"),
        ({"codecs": {"zstd": {"1": {"page": {"normal": 1}}}}}, "compressed"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps(measured().to_json() | change))
    with pytest.raises(ImageError, match=words):
        load_costs(str(file), PAGE)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"[1]"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "costs.json"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=r"costs\.json: is not .*--save-costs"):
        load_costs(str(file), PAGE)


def test_what_a_file_has_not_is_named(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    file.write_text("{}")
    with pytest.raises(ImageError, match="'schema' is missing;"):
        load_costs(str(file), PAGE)
    file.write_text("[]")
    with pytest.raises(ImageError, match="it is no JSON object;"):
        load_costs(str(file), PAGE)


def test_no_more_is_read_than_costs_take() -> None:
    with pytest.raises(ImageError, match="/dev/zero is too long"):
        load_costs("/dev/zero", PAGE)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        load_costs(str(tmp_path / "none"), PAGE)
