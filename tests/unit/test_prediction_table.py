# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table of benchmarks.predictions: what was said, and what is off."""

from __future__ import annotations

from benchmarks.predictions import Row, table


def a_row(basis: str, megabytes: int, milliseconds: int) -> Row:
    return Row(
        "plain",
        basis,
        (1500, 1500),
        (9, 7),
        (4, 5),
        (10**8, megabytes * 10**6),
        (2000, milliseconds),
        (3, 3),
    )


def test_medians_of_what_is_off() -> None:
    rows = [
        a_row("recording", 101, 2000),
        a_row("snapshots", 100, 1000),
        a_row("recording", 102, 2100),
        a_row("recording", 90, 2200),
    ]
    assert list(table(rows)) == [
        "| setting | predicted from | normal | zero | syncs | MB | ms | ms down |",
        "|---|---|---|---|---|---|---|---|",
        "| plain | recording | 1,500 | 9 -2 | 4 +1 | 100.00 +1.00 % | 2,000 +5.0 % "
        "| 3 |",
        "| plain | snapshots | 1,500 | 9 -2 | 4 +1 | 100.00 +0.00 % | 2,000 -50.0 % "
        "| 3 |",
    ]
