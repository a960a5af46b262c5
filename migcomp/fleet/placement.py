# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where guests that leave a host are to go."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heapreplace

from migcomp.errors import SetupError
from migcomp.fleet.fleet import Fleet
from migcomp.units import format_size, quoted


def place(
    fleet: Fleet, staying: Iterable[tuple[str, int]], leaving: Iterable[tuple[str, int]]
) -> list[str]:
    """A host's name for each of ``leaving``, in order.

    Both are guests by host and bytes of memory.  Each goes to the host with the most
    free memory or, where hosts' memory is not told, to that with the least memory of
    guests on it; among equals to the first in the file.  Raises SetupError where no
    host has room.
    """
    used = {host.name: 0 for host in fleet.hosts if not host.evacuate}
    for name, size in staying:
        used[name] += size
    to = [host for host in fleet.hosts if not host.evacuate]
    # Least first: minus what is free, or what is used.
    heap = [
        (used[host.name] - (host.memory or 0), index, host)
        for index, host in enumerate(to)
    ]
    heapify(heap)
    places = []
    for source, size in leaving:
        level, index, host = heap[0]
        if host.memory is not None and level + size > 0:
            raise SetupError(
                f"{fleet.path}: a guest of {format_size(size)} on host "
                f"{quoted(source)} finds no room: the most that is left is "
                f"{format_size(max(-level, 0))}, on host {quoted(host.name)}"
            )
        places.append(host.name)
        heapreplace(heap, (level + size, index, host))
    return places
