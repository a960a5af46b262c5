# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file of results of schema 1, kept for ever, and what is printed of it.

``bench show`` and ``bench compare`` print what programs read: a key that is renamed,
or a figure that changes, shows here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from migcomp.bench.compare import compare
from migcomp.bench.results_file import read_results
from migcomp.report.compare_figures import compare_table
from migcomp.report.html.sweep import to_html
from migcomp.report.sweep_figures import sweep_table
from migcomp.report.sweep_json import compare_to_json, sweep_to_json
from migcomp.report.tables import to_csv, to_markdown, to_prometheus
from tests.golden.pages import steady
from tests.pages.full_sweep import SETTINGS, full_sweep
from tests.sweeps import IMAGE, STEADY, make_sweep, setting

FOLDER = Path(__file__).parent / "sweeps"
SWEEP = make_sweep(
    {
        setting(level=19): (IMAGE.bytes // 8, [x / 2 for x in STEADY]),
        setting("lz4", threads=1): (IMAGE.bytes // 4, [x / 4 for x in STEADY]),
    }
)
COMPARISON = compare(SWEEP, SWEEP, ("a", "b"))
#: Has every chart, and ranges of links that are narrow.
LARGER = full_sweep([s for s in SETTINGS if s.level == 1 and s.threads > 2])

FORMS: dict[str, Callable[[], str]] = {
    "show.csv": lambda: to_csv(sweep_table(SWEEP)),
    "show.md": lambda: to_markdown(sweep_table(SWEEP)),
    "show.prom": lambda: to_prometheus(sweep_table(SWEEP)),
    "show.json": lambda: json.dumps(sweep_to_json(SWEEP), indent=1) + "\n",
    "page.html": lambda: steady(to_html({"larger.results": LARGER})),
    "compare.csv": lambda: to_csv(compare_table(COMPARISON)),
    "compare.md": lambda: to_markdown(compare_table(COMPARISON)),
    "compare.prom": lambda: to_prometheus(compare_table(COMPARISON)),
    "compare.json": lambda: json.dumps(compare_to_json(COMPARISON), indent=1) + "\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_printed_stays(name: str) -> None:
    assert FORMS[name]() == (FOLDER / name).read_text()


def test_results_of_schema_1_are_read() -> None:
    assert read_results(str(FOLDER / "results.jsonl")) == SWEEP
