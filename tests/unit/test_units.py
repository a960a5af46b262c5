# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sizes, rates and times, as written and as read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migcomp.units import (
    format_bit_rate,
    format_count,
    format_rate,
    format_seconds,
    format_share,
    format_size,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("64K", 65536),
        ("64k", 65536),
        ("64KiB", 65536),
        ("64KB", 65536),
        (" 1 MiB ", 2**20),
        ("1.5GiB", 3 * 2**29),
        ("2T", 2**41),
        ("1PiB", 2**50),
        ("1E", 2**60),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "-1", "1.5", "0.3KiB", "1 2", "4X", "1e3"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1024, "1.00 KiB"),
        (128 * 2**20, "128 MiB"),
        (3 * 2**29, "1.50 GiB"),
        (2**70, "1024 EiB"),
    ],
)
def test_a_size_has_three_digits(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(min_value=0, max_value=2**60))
def test_a_written_size_reads_back_within_its_digits(size: int) -> None:
    number, unit = format_size(size).split()
    back = parse_size(f"{float(number) * 1000:.0f}{unit}") / 1000
    assert back == pytest.approx(size, rel=0.006)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 ns"),
        (3e-9, "3.00 ns"),
        (2.5e-6, "2.50 us"),
        (0.0123, "12.3 ms"),
        (1.25, "1.25 s"),
        (7200, "7200 s"),
    ],
)
def test_seconds_take_a_fitting_unit(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_rates_are_decimal() -> None:
    assert format_rate(812e6) == "812 MB/s"
    assert format_bit_rate(812e6) == "6496 Mbit/s"


def test_counts_and_shares() -> None:
    assert format_count(262144) == "262,144"
    assert format_share(1, 3) == "33.3 %"
    assert format_share(0, 0) == "0.0 %"
