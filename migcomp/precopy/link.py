# SPDX-License-Identifier: LGPL-2.1-or-later
"""The link between the two hosts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """``bandwidth`` in bits a second, ``latency`` in seconds one way.

    Each ``segment`` bytes of payload take ``overhead`` bytes more: 1448 and 90 are
    TCP with time stamps over IPv4 in Ethernet frames of 1500, preamble and gap
    included (RFC 793, RFC 7323, IEEE 802.3).  ``buffer``: bytes that a writer may
    be ahead of the link; about what Linux lets a TCP socket hold
    (``net.ipv4.tcp_wmem``, half of whose 4 MiB go to its own records).
    """

    bandwidth: float
    latency: float = 0.0
    segment: int = 1448
    overhead: int = 90
    buffer: int = 2 << 20

    @property
    def bytes_per_second(self) -> float:
        """Of payload."""
        share = self.segment / (self.segment + self.overhead)
        return self.bandwidth / 8 * share
