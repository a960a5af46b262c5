# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every command and program in the README runs, in order.

The two commands of its first section set up an environment; .ci/run runs them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sample_images").symlink_to(ROOT / "sample_images")
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    programs = folder / "bin"
    programs.mkdir()
    migcomp = programs / "migcomp"
    migcomp.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m migcomp "$@"\n')
    migcomp.chmod(0o755)
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}


def test_commands(folder: Path, environment: dict[str, str]) -> None:
    commands = [
        line.removeprefix("$ ")
        for block in fenced("console")
        for line in block.splitlines()
    ]
    assert len(commands) > 20
    for command in commands:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_programs(folder: Path, environment: dict[str, str]) -> None:
    programs = fenced("python")
    assert programs
    for program in programs:
        subprocess.run(
            [sys.executable, "-c", program], cwd=folder, env=environment, check=True
        )


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target
