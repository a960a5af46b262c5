# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp simulate`` of snapshots: how far apart they are."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import command, sentence
from tests.conftest import make_pages


def snapshots(folder: Path) -> list[Path]:
    paths = []
    for number in range(3):
        path = folder / f"round{number}.raw"
        path.write_bytes(make_pages(*(("text", page) for page in range(63)), "noise"))
        paths.append(path)
    return paths


def test_seconds_are_those_noted_unless_given(tmp_path: Path) -> None:
    paths = snapshots(tmp_path)
    simulate: list[str | Path] = ["simulate", *paths, "--link", "1Gbit", "--json"]
    assert command(*simulate).json["guest"] == "3 snapshots, 1 s apart"
    notes = tmp_path / "capture.json"
    images = [
        {"path": path.name, "taken": taken, "seconds": 0.1}
        for path, taken in zip(paths, (0, 0.5, 1.25), strict=True)
    ]
    notes.write_text(json.dumps({"paused": False, "images": images}))
    assert command(*simulate).json["guest"] == "3 snapshots, 0.5 to 0.75 s apart"
    given = command(*simulate, "--interval", "2")
    assert given.json["guest"] == "3 snapshots, 2 s apart"
    notes.write_text("{}")
    assert "does not tell when" in sentence(command(*simulate))
    assert command(*simulate, "--interval", "2").code == 0
