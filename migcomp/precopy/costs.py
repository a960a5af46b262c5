# SPDX-License-Identifier: LGPL-2.1-or-later
"""What work on a page costs in CPU time: measured as it is done, or stored.

A file of costs is a JSON object, times nanoseconds of one thread for a page::

    {
      "schema": "migcomp.costs/1",
      "page-size": 4096,
      "zero-ns": 90,
      "send-ns": 700,
      "hash-ns": 300,
      "submit-ns": 3000,
      "handover-ns": 48000,
      "codecs": {"zstd": {"1": {"packet": {"compressed": 2900, "normal": 2900}}}}
    }

``zero-ns`` finds a page to be zero, ``send-ns`` gives a page to the kernel,
``hash-ns`` looks for an equal one.  Where a page is handed to a thread under a mutex,
``submit-ns`` is what that takes of the one thread's time, and ``handover-ns`` passes
until the other has it.  Under codec, level and grouping stand pages that shrink and
such that do not (``normal``).
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from migcomp._core import BenchJob, xxh64
from migcomp.errors import ImageError
from migcomp.measure import machine
from migcomp.precopy.results import MEASURED
from migcomp.small_file import read_small

_T = TypeVar("_T")

SCHEMA = "migcomp.costs/1"
_KINDS = ("compressed", "normal")
_MOST_NS = 10**9
_FILE_MAX = 1 << 20  # bytes
_TRIED_BYTES = 16 << 20
_TRIED_REQUESTS = 500
_REQUEST_NS = 50_000  # about what a page takes zlib
#: Times that a hand-over is measured, as what else runs decides over it.
_HANDOVER_TRIES = 7


@dataclass(frozen=True)
class Work:
    """A codec's, by whose name, level and grouping costs are kept."""

    codec: str
    level: int
    grouping: str

    def __str__(self) -> str:
        return f"{self.codec} level {self.level} in grouping {self.grouping}"


@dataclass
class _Tally:
    ns: int = 0
    pages: int = 0


@dataclass
class Costs:
    """``stored`` is None when work is measured; ``source`` is for reports."""

    page_size: int
    zero_ns: int
    send_ns: int
    hash_ns: int
    submit_ns: int
    handover_ns: int
    source: str
    stored: dict[tuple[Work, str], int] | None = None
    #: The least and the most of ``handover_ns`` that was measured; not stored.
    handover_range: tuple[int, int] | None = None
    _measured: dict[tuple[Work, str], _Tally] = field(default_factory=dict)

    def of(self, work: Work, zero: int, compressed: int, normal: int, ns: int) -> int:
        """Nanoseconds for so many pages of each kind, which took ``ns`` just now.

        Raises ImageError where the file does not say.
        """
        counts = dict(zip(_KINDS, (compressed, normal), strict=True))
        if self.stored is None:
            self._record(work, counts, max(ns - zero * self.zero_ns, 0))
            return ns
        total = zero * self.zero_ns
        for kind, pages in counts.items():
            if pages:
                total += pages * self._stored(work, kind)
        return total

    def _stored(self, work: Work, kind: str) -> int:
        assert self.stored is not None
        try:
            return self.stored[work, kind]
        except KeyError:
            raise ImageError(
                f"{self.source}: has no cost of {kind} pages for {work}; measure it "
                "with --save-costs"
            ) from None

    def _record(self, work: Work, counts: dict[str, int], ns: int) -> None:
        pages = sum(counts.values())
        for kind, part in counts.items():
            if part:
                tally = self._measured.setdefault((work, kind), _Tally())
                tally.ns += ns * part // pages
                tally.pages += part

    def fixed(self) -> Costs:
        """These, stored: from now on the same work costs the same."""
        return _from_json(self.to_json(), "costs measured before", self.page_size)

    def to_text(self) -> str:
        """A file of costs."""
        return json.dumps(self.to_json(), indent=2) + "\n"

    def to_json(self) -> dict[str, object]:
        """What was measured, or is stored; a kind never met costs as the other."""
        averages = self.stored or {
            key: tally.ns // tally.pages for key, tally in self._measured.items()
        }
        codecs: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
        for work in dict.fromkeys(work for work, _ in averages):
            known = {k: averages[work, k] for k in _KINDS if (work, k) in averages}
            levels = codecs.setdefault(work.codec, {})
            levels.setdefault(str(work.level), {})[work.grouping] = {
                kind: known.get(kind, max(known.values())) for kind in _KINDS
            }
        return {
            "schema": SCHEMA,
            "cpu": machine().cpu,
            "page-size": self.page_size,
            "zero-ns": self.zero_ns,
            "send-ns": self.send_ns,
            "hash-ns": self.hash_ns,
            "submit-ns": self.submit_ns,
            "handover-ns": self.handover_ns,
            "codecs": codecs,
        }


def measured_costs(page_size: int) -> Costs:
    """Measures at once what no engine's own work is, which takes 0.3 s."""
    handovers = sorted(_handover_ns() for _ in range(_HANDOVER_TRIES))
    handover, submit = handovers[_HANDOVER_TRIES // 2]
    return Costs(
        page_size,
        _zero_ns(page_size),
        _send_ns(page_size),
        _hash_ns(page_size),
        submit,
        handover,
        MEASURED,
        handover_range=(handovers[0][0], handovers[-1][0]),
    )


def load_costs(path: str, page_size: int) -> Costs:
    """Raises ImageError for what is no file of costs."""
    return read_costs(
        path,
        page_size,
        SCHEMA,
        lambda data: _from_json(data, path, page_size),
        most=_FILE_MAX,
        made_with="migcomp simulate --save-costs",
    )


def read_costs(
    path: str,
    page_size: int,
    schema: str,
    take: Callable[[Any], _T],
    *,
    most: int,
    made_with: str,
) -> _T:
    """What ``take`` makes of the JSON object in a file of ``most`` bytes at the most,
    which the command ``made_with`` writes.  Raises ImageError."""
    text = read_small(path, most, ImageError)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImageError(
            f"{path}: is not JSON; make such a file with {made_with}"
        ) from error
    try:
        if not isinstance(data, dict):
            raise ValueError("it is no JSON object")
        if data["schema"] != schema:
            raise ValueError(f"its schema is {data['schema']!r}")
        if data["page-size"] != page_size:
            raise ValueError(
                f"it is for pages of {data['page-size']} bytes, and not of {page_size}"
            )
        return take(data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ImageError(
            f"{path}: is not a file of costs (schema {schema}): {reason}; make one "
            f"with {made_with}"
        ) from error


def _from_json(data: Any, path: str, page_size: int) -> Costs:
    stored = {}
    for codec, levels in data["codecs"].items():
        for level, groupings in levels.items():
            for grouping, kinds in groupings.items():
                for kind in _KINDS:
                    work = Work(codec, int(level), grouping)
                    stored[work, kind] = _ns(kinds, kind)
    zero, send, hash_, submit, handover = (
        _ns(data, f"{name}-ns")
        for name in ("zero", "send", "hash", "submit", "handover")
    )
    return Costs(page_size, zero, send, hash_, submit, handover, path, stored)


def _ns(data: Any, name: str) -> int:
    ns = data[name]
    if type(ns) is not int or not 0 <= ns <= _MOST_NS:
        raise ValueError(f"{name} is {ns!r}, and not nanoseconds up to {_MOST_NS}")
    return ns


def _zero_ns(page_size: int) -> int:
    """By looking for what is not there, which is as fast as memory."""
    touched = b"\1" * _TRIED_BYTES
    start = time.thread_time_ns()
    touched.find(0)
    return (time.thread_time_ns() - start) * page_size // _TRIED_BYTES


def _hash_ns(page_size: int) -> int:
    touched = b"\1" * _TRIED_BYTES
    start = time.thread_time_ns()
    xxh64(touched)
    return (time.thread_time_ns() - start) * page_size // _TRIED_BYTES


def _send_ns(page_size: int) -> int:
    """The kernel's copy into a socket, whose other end a thread reads."""
    here, there = socket.socketpair()

    def read() -> None:
        room = bytearray(1 << 20)
        while there.recv_into(room):
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    pages = b"\1" * _TRIED_BYTES
    with here, there:
        start = time.thread_time_ns()
        here.sendall(pages)
        spent = time.thread_time_ns() - start
        here.shutdown(socket.SHUT_WR)
        reader.join()
    return spent * page_size // _TRIED_BYTES


def _handover_ns() -> tuple[int, int]:
    """(handover-ns, submit-ns), by the benchmark's queue with a mutex and a condition
    for each thread."""
    job = BenchJob(requests=_TRIED_REQUESTS, cost_ns=_REQUEST_NS)
    result = job.round("thread-locks", 1, 1, 0)
    submit = result["submitter_cpu_ns"] // _TRIED_REQUESTS
    passed = result["wall_ns"] // _TRIED_REQUESTS
    return max(passed - _REQUEST_NS, 0), submit
