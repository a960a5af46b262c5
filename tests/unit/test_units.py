# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sizes, rates and times, as written and as read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migcomp.units import (
    format_bit_rate,
    format_count,
    format_link,
    format_rate,
    format_seconds,
    format_share,
    format_size,
    parse_bit_rate,
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


@given(st.integers(0, 2**64 - 1))
def test_a_size_loses_no_digit(size: int) -> None:
    assert parse_size(str(size)) == size
    for power, prefix in enumerate("KMGTPE", 1):
        places = 10 * power
        whole, part = divmod(size * 10**places >> 10 * power, 10**places)
        assert parse_size(f"{whole}.{part:0{places}}{prefix}") == size


@pytest.mark.parametrize(
    "text",
    ["16EiB", str(2**64), "9" * 400, "9" * 5000, "99999999999TiB", "9" * 70 + "K"],
)
def test_sizes_that_nothing_has(text: str) -> None:
    with pytest.raises(ValueError, match="is more than 16 EiB") as caught:
        parse_size(text)
    assert len(str(caught.value)) < 80


@pytest.mark.parametrize("text", ["0." + "0" * 5000 + "1E", "1." + "3" * 5000 + "E"])
def test_parts_of_a_byte(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole number of bytes"):
        parse_size(text)
    assert parse_size("1." + "0" * 5000) == 1


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


@given(st.integers(min_value=0, max_value=2**53))
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
    assert format_bit_rate(812e6) == "6,496 Mbit/s"


@pytest.mark.parametrize(
    ("bytes_per_second", "text"),
    [
        (1.634e6, "13.1 Mbit/s"),
        (12.5e6, "100 Mbit/s"),
        (124.9e6, "999 Mbit/s"),
        (124.99e6, "1.00 Gbit/s"),
        (236.2e6, "1.89 Gbit/s"),
        (12.5e9, "100 Gbit/s"),
        (1e12, "8,000 Gbit/s"),
    ],
)
def test_links_have_three_digits(bytes_per_second: float, text: str) -> None:
    assert format_link(bytes_per_second) == text


def test_counts_and_shares() -> None:
    assert format_count(262144) == "262,144"
    assert format_share(1, 3) == "33.3 %"
    assert format_share(0, 0) == "0.0 %"


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100Mbit", 1e8),
        ("10Gbit/s", 1e10),
        ("2.5 gbit", 2.5e9),
        ("40G", 4e10),
        ("1Tbps", 1e12),
        ("64kbit", 64e3),
    ],
)
def test_bit_rates(text: str, rate: float) -> None:
    assert parse_bit_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "10", "1Gbyte", "-1Gbit", "0Gbit", "1e9", "9999999999Tbit", "0.1kbit"]
)
def test_what_is_no_bit_rate(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate such as 100Mbit"):
        parse_bit_rate(text)
