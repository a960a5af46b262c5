# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp report``: pages of results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from migcomp.units import format_size
from tests.cli.conftest import command, program, sentence
from tests.conftest import folder_names, piped
from tests.pages.results import SAMPLES, SETTINGS, measure


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "swept.jsonl"
    return measure(path, [SAMPLES / "idle-4m.raw"], SETTINGS[:2], rounds=1)


def test_a_page(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    made = program("report", results, "-o", page)
    assert (made.code, made.stdout, made.stderr) == (0, b"", b"")
    text = page.read_text()
    assert "<h1>What compressing idle-4m.raw costs and brings</h1>" in text
    again = program("report", results, "-o", page)
    assert again.code == 7
    assert "exists already" in sentence(again)
    assert program("report", results, "-o", page, "--force").code == 0
    assert page.read_text() == text


def test_several_files_on_standard_output(results: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_bytes(results.read_bytes())
    made = program("report", results, other, "-o", "-")
    assert made.code == 0
    assert made.text.startswith("<!DOCTYPE html>")
    assert f"idle-4m.raw in {other}</h1>" in made.text


def test_a_pipe_is_read_once(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    with piped(results.read_bytes()) as path:
        made = command("report", path, "-o", page)
    assert made.code == 0, made.errors
    assert "zstd" in page.read_text()


def test_an_interrupted_sweep(results: Path, tmp_path: Path) -> None:
    """What there is, and that it is not all."""
    lines = results.read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(lines[:-1]) + lines[-1][:100])
    made = program("report", cut, "-o", "-")
    assert made.code == 0, made.errors
    assert "The sweep has 3 of 4 samples" in made.text


def test_what_is_no_result(results: Path, image: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    plan = tmp_path / "plan.jsonl"
    plan.write_bytes(results.read_bytes().splitlines(keepends=True)[0])
    spoilt = tmp_path / "spoilt.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    lines[-1]["result"]["wall-seconds"] = -1
    spoilt.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for path in (empty, image, plan, spoilt, tmp_path, tmp_path / "none"):
        made = program("report", path, "-o", tmp_path / "page.html")
        assert made.code == 10, (path, made.errors)
        assert path.name in sentence(made)
        assert not (tmp_path / "page.html").exists()


def test_json_of_which_no_page_is_made(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text('{"schema": "migcomp.fleet/1"}')
    made = program("report", tmp_path / "fleet.json", "-o", tmp_path / "page.html")
    assert made.code == 10
    assert "has the schema 'migcomp.fleet/1', of which no page" in sentence(made)


def test_wrong_use(results: Path, tmp_path: Path) -> None:
    assert program("report", "-o", tmp_path / "page").code == 2
    assert program("report", results).code == 2
    same = program("report", results, "-o", results, "--force")
    assert same.code == 7
    assert "is what is being read" in sentence(same)
    full = program("report", results, "-o", "/dev/full")
    assert full.code == 7
    assert sentence(full).startswith("/dev/full cannot be written: No space left")


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_the_extra(
    tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before the results are read."""
    monkeypatch.setitem(sys.modules, package, None)
    made = command("report", tmp_path / "none", "-o", tmp_path / "page.html")
    assert made.code == 2
    assert f"the Python package {package} is not installed" in sentence(made)
    assert "pip install 'migcomp[html]'" in sentence(made)
    assert folder_names(tmp_path) == []


@pytest.fixture
def simulation(image: Path, tmp_path: Path) -> Path:
    link = ("--link", "1Gbit", "--engine", "multifd", "--multifd-compression", "zstd")
    done = command("simulate", image, *link, "--json")
    assert done.code == 0, done.errors
    path = tmp_path / "simulation.json"
    path.write_text(done.text)
    return path


def test_a_simulation_beside_a_sweep(
    results: Path, simulation: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    done = command("report", results, simulation, "-o", page)
    assert (done.code, done.errors) == (0, "")
    text = page.read_text()
    assert text.index("All settings") < text.index('<article id="migration-1">')
    assert "multifd over 1,000 Mbit/s" in text
    assert "Engine: multifd: 2 channels, zstd level 1." in text
    assert "Throttling" not in text
    sent = json.loads(simulation.read_text())["wire-bytes"]
    assert f"{format_size(sent)} over the link" in text


def test_simulations_only(simulation: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert command("report", simulation, "-o", page).code == 0
    assert "<h1>How 1 simulated migration went</h1>" in page.read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("progress-history", []),
        ("progress-history", [7]),
        ("progress-history", None),
        ("page-size", -1),
        ("page-size", 1e300),
        ("page-size", "4096"),
        ("link", []),
        ("images", []),
        ("query-migrate", {}),
    ],
)
def test_a_simulation_that_lies(
    simulation: Path, tmp_path: Path, name: str, value: object
) -> None:
    told = json.loads(simulation.read_text()) | {name: value}
    simulation.write_text(json.dumps(told))
    done = command("report", simulation, "-o", tmp_path / "page.html")
    assert done.code == 10
    assert f"{simulation} is damaged" in sentence(done)
    assert not (tmp_path / "page.html").exists()
