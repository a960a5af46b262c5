# SPDX-License-Identifier: LGPL-2.1-or-later
"""A short run of Atheris on every format."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.fuzz.formats import FORMATS

SECONDS = 3

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", FORMATS)
def test_atheris(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="needs pip install 'migcomp[fuzz]'")
    limits = (f"-max_total_time={SECONDS}", "-timeout=20", "-rss_limit_mb=1024")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.atheris_target", name, *limits],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "Done " in done.stderr
