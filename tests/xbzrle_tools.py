# SPDX-License-Identifier: LGPL-2.1-or-later
"""XBZRLE's encoder by QEMU's rules, in no clever way."""

from __future__ import annotations

#: What 14 bits hold.
RUN_MOST = 0x3FFF


def length(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    return bytes([number & 0x7F | 0x80, number >> 7])


def reference(old: bytes, new: bytes, room: int) -> bytes | None:
    """Where QEMU looks for room, and None where its assertion would end it."""
    delta, at = b"", 0
    while at < len(new):
        if len(delta) + 2 > room:
            return None
        same = at
        while same < len(new) and old[same] == new[same]:
            same += 1
        if same == len(new):
            break
        end = same
        while end < len(new) and old[end] != new[end]:
            end += 1
        if max(same - at, end - same) > RUN_MOST:
            return None
        delta += length(same - at)
        if len(delta) + 2 > room:
            return None
        delta += length(end - same) + new[same:end]
        if len(delta) > room:
            return None
        at = end
    return delta


def flip(page: bytes, at: int, size: int = 1) -> bytes:
    """Other bytes in a run, as far as the page goes."""
    run = bytes(byte ^ 0xA5 for byte in page[at : at + size])
    return page[:at] + run + page[at + len(run) :]
