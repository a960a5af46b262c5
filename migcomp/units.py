# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sizes, rates and times as people write and read them.

Sizes are IEC (1 KiB = 1024 bytes), rates decimal: MB/s is 10**6 bytes and
Mbit/s 10**6 bits in a second, as network links and QEMU's ``mbps`` count.
"""

from __future__ import annotations

import re

_IEC = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SIZE = re.compile(
    r"\s*([0-9]+)(?:\.([0-9]+))?\s*([kmgtpe]?)(?:i?b?)\s*", re.IGNORECASE
)
_BIT_RATE = re.compile(
    r"\s*([0-9]{1,16}(?:\.[0-9]{1,16})?)\s*([kmgt])(?:bit(?:/s)?|bps)?\s*",
    re.IGNORECASE,
)

#: Sizes and addresses are less than 2**64, in the formats as in the core.
SIZE_MAX = (1 << 64) - 1
_DIGITS_MAX = 64  # more, before or behind the point, make no size up to that
_SHOWN = 40


def parse_size(text: str) -> int:
    """Bytes that ``text`` means: ``4096``, ``64KiB``, ``64K``, ``1.5GiB``.

    All prefixes are powers of 1024, as in QEMU's ``-m``.  Raises ValueError.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{quoted(text)} is not a size such as 4096, 64KiB or 1.5GiB")
    whole, part, prefix = match.groups(default="")
    whole, part = whole.lstrip("0"), part.rstrip("0")
    if len(whole) > _DIGITS_MAX:
        raise ValueError(f"{quoted(text)} is more than 16 EiB")
    power = "kmgtpe".find(prefix.lower()) + 1 if prefix else 0
    size, rest = 0, bool(part)
    if len(part) <= _DIGITS_MAX:
        size, rest = divmod(int(whole + part or 0) << 10 * power, 10 ** len(part))
    if rest:
        raise ValueError(f"{quoted(text)} is not a whole number of bytes")
    if size > SIZE_MAX:
        raise ValueError(f"{quoted(text)} is more than 16 EiB")
    return size


def parse_bit_rate(text: str) -> float:
    """Bits a second that ``text`` means: ``100Mbit``, ``2.5 Gbit/s``, ``10G``.

    Prefixes are powers of 1000.  Raises ValueError.
    """
    match = _BIT_RATE.fullmatch(text)
    rate = 0.0
    if match is not None:
        number, prefix = match.groups()
        rate = float(number) * 1000 ** ("kmgt".find(prefix.lower()) + 1)
    if not 1e3 <= rate <= 1e15:
        raise ValueError(
            f"{quoted(text)} is not a rate such as 100Mbit, 2.5Gbit or 10Gbit/s"
        )
    return rate


def quoted(text: str) -> str:
    """What was given, in quotation marks; of a long text the beginning."""
    return repr(shortened(text))


def shortened(text: str) -> str:
    """For messages: of a long text the beginning."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def format_size(size: float) -> str:
    """``size`` bytes with three significant digits, as in ``1.50 GiB``."""
    unit = 0
    while abs(size) >= 999.5 and unit < len(_IEC) - 1:
        size /= 1024
        unit += 1
    if unit == 0:
        return f"{size:.0f} B"
    return f"{_three_digits(size)} {_IEC[unit]}"


def format_rate(bytes_per_second: float) -> str:
    """As in ``812 MB/s``, and ``1,758 MB/s``."""
    return f"{_thousands(bytes_per_second / 1e6)} MB/s"


def format_bit_rate(bytes_per_second: float) -> str:
    """As in ``812 Mbit/s``, and ``6,496 Mbit/s``."""
    return f"{_thousands(bytes_per_second * 8 / 1e6)} Mbit/s"


def format_link(bytes_per_second: float) -> str:
    """Of a link, with three significant digits: ``13.1 Mbit/s``, ``1.89 Gbit/s``."""
    mbits = bytes_per_second * 8 / 1e6
    if mbits < 999.5:
        return f"{_three_digits(mbits)} Mbit/s"
    return f"{_thousands(mbits / 1000)} Gbit/s"


def format_seconds(seconds: float) -> str:
    """As in ``12.3 ms`` or ``1.25 s``."""
    for factor, unit in ((1e-6, "ns"), (1e-3, "us"), (1.0, "ms")):
        if abs(seconds) < factor:
            return f"{_three_digits(seconds / factor * 1000)} {unit}"
    return f"{_three_digits(seconds)} s"


def format_count(count: float) -> str:
    """With thousands separated, as in ``262,144``."""
    return f"{count:,.0f}"


def format_share(part: float, whole: float) -> str:
    """``part`` of ``whole`` in percent, as in ``48.3 %``."""
    return f"{100 * part / whole:.1f} %" if whole else "0.0 %"


def _three_digits(value: float) -> str:
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def _thousands(value: float) -> str:
    return format_count(value) if value >= 999.5 else _three_digits(value)


def many(number: int, noun: str) -> str:
    """As in ``1 page`` and ``2 pages``."""
    return f"{format_count(number)} {noun}{'' if number == 1 else 's'}"
