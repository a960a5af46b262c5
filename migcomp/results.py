# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a run measured: plain data, filled in by the pipeline, shown by reports.

Times are seconds unless a name says otherwise, sizes bytes, and pages are of
``Settings.page_size`` bytes.  Where QEMU has a figure, the property carries
its QMP name with underscores and its definition (QEMU 8.2,
``qapi/migration.json``, and ``migration/migration.c`` for the formulas).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Block:
    """A RAM block; ``guest_address`` is physical, ``length`` in bytes."""

    name: str
    length: int
    guest_address: int


@dataclass(frozen=True)
class CodecInfo:
    """The library that did the work; ``version`` is empty when it tells none."""

    name: str
    provider: str
    version: str
    path: str


@dataclass(frozen=True)
class Settings:
    """How a run was asked to work.

    ``channels`` is 0 unless ``grouping`` is ``stream``; ``handler`` names a
    codec in Python (``package.module:factory``) or is empty.
    """

    codec: str
    level: int
    grouping: str
    page_size: int
    packet_pages: int
    request_pages: int
    channels: int
    dedup: bool
    threads: int
    requests_per_thread: int
    handler: str = ""


@dataclass
class PageCounts:
    """Pages by class.  QEMU calls zero pages ``duplicate``."""

    zero: int = 0
    same_filled: int = 0
    deduplicated: int = 0
    normal: int = 0
    compressed: int = 0

    @property
    def total(self) -> int:
        return (
            self.zero
            + self.same_filled
            + self.deduplicated
            + self.normal
            + self.compressed
        )

    def add(
        self,
        zero: int = 0,
        same_filled: int = 0,
        deduplicated: int = 0,
        normal: int = 0,
        compressed: int = 0,
    ) -> None:
        self.zero += zero
        self.same_filled += same_filled
        self.deduplicated += deduplicated
        self.normal += normal
        self.compressed += compressed


@dataclass
class Region:
    """A stretch of the image, for the memory map: ``bytes_out`` in the stream."""

    first_page: int
    pages: PageCounts
    bytes_out: int


@dataclass(frozen=True)
class Worker:
    """One thread of the workqueue."""

    requests: int
    cpu_seconds: float
    sleeps: int
    spins: int
    wakeups: int


@dataclass(frozen=True)
class Queue:
    """The workqueue as the submitter saw it.

    ``requests`` were handed over, each ``submitted`` once for every stage it
    passes.  ``busy`` of them found none free at first, ``waits`` counts the times
    the submitter slept, depths are requests submitted and not collected, taken at
    each submission.
    """

    requests: int
    submitted: int
    busy: int
    waits: int
    spins: int
    wakeups: int
    depth_mean: float
    depth_max: int

    @property
    def busy_share(self) -> float:
        """Share of the requests that found none free, 0 to 1."""
        return self.busy / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class RequestTimes:
    """Nanoseconds a request spent in its handler; upper bounds within 2 %.

    A percentile is None where there were too few requests to tell it from the
    most: 10, 100 and 1000 are needed for p90, p99 and p999.
    """

    p50: int
    p90: int | None
    p99: int | None
    p999: int | None
    most: int


@dataclass(frozen=True)
class Machine:
    cpu: str
    usable_cpus: int
    memory_bytes: int
    kernel: str
    python: str
    load_average: float


@dataclass(frozen=True)
class RunResult:
    """One compression, restore or verification of an image.

    ``operation`` is ``run``, ``restore`` or ``verify``; ``image`` and
    ``stream`` are paths as given, ``-`` for standard input or output and empty
    when there is none; ``compressed_bytes`` is what the compressed blocks
    take without any framing, ``compressed_blocks`` their number;
    ``image_digest`` is the stream format's.  Of a damaged stream, ``pages`` are
    those that were saved, ``missing_bytes`` of the image are zeros instead of the
    rest, and ``lost_bytes`` of the stream gave nothing.
    """

    operation: str
    image: str
    stream: str
    blocks: tuple[Block, ...]
    settings: Settings
    codec: CodecInfo
    pages: PageCounts
    image_bytes: int
    stream_bytes: int
    compressed_bytes: int
    compressed_blocks: int
    image_digest: int
    wall_seconds: float
    submitter_cpu_seconds: float
    workers: tuple[Worker, ...]
    queue: Queue
    request_times: RequestTimes
    machine: Machine
    regions: tuple[Region, ...] = field(default=())
    missing_bytes: int = 0
    lost_bytes: int = 0

    @property
    def saved_bytes(self) -> int:
        """Bytes of the image that the stream gave: all, unless it is damaged."""
        return self.image_bytes - self.missing_bytes

    # --- QMP's figures ------------------------------------------------------

    @property
    def duplicate(self) -> int:
        """Zero pages."""
        return self.pages.zero

    @property
    def normal_bytes(self) -> int:
        return self.pages.normal * self.settings.page_size

    @property
    def mbps(self) -> float:
        """Stream bits per second, in 10**6."""
        return self._per_second(self.stream_bytes * 8 / 1e6)

    @property
    def pages_per_second(self) -> float:
        return self._per_second(self.pages.total)

    @property
    def compressed_size(self) -> int:
        """Compressed data with the 4-byte length that QEMU puts before it."""
        return self.compressed_bytes + 4 * self.compressed_blocks

    @property
    def compression_rate(self) -> float:
        """Size of the compressed pages over ``compressed_size``; 0 without any."""
        if not self.compressed_size:
            return 0.0
        return self.pages.compressed * self.settings.page_size / self.compressed_size

    @property
    def busy_rate(self) -> float:
        """``queue.busy`` over all pages handled, zero pages included."""
        return self.queue.busy / self.pages.total if self.pages.total else 0.0

    # --- Ours ---------------------------------------------------------------

    @property
    def image_rate(self) -> float:
        """Image bytes over stream bytes, as far as there are: what it all brought."""
        sound = self.stream_bytes - self.lost_bytes
        return self.saved_bytes / sound if sound else 0.0

    @property
    def nonzero_bytes(self) -> int:
        return (self.pages.total - self.pages.zero) * self.settings.page_size

    @property
    def image_bytes_per_second(self) -> float:
        return self._per_second(self.saved_bytes)

    @property
    def nonzero_bytes_per_second(self) -> float:
        return self._per_second(self.nonzero_bytes)

    @property
    def stream_bytes_per_second(self) -> float:
        return self._per_second(self.stream_bytes)

    @property
    def cpu_seconds(self) -> float:
        """Of the workers and the submitter together."""
        return self.submitter_cpu_seconds + sum(w.cpu_seconds for w in self.workers)

    @property
    def cpu_seconds_per_gib(self) -> float:
        """CPU seconds for each GiB of guest memory."""
        return self.cpu_seconds * 2**30 / self.saved_bytes if self.saved_bytes else 0.0

    def _per_second(self, amount: float) -> float:
        return amount / self.wall_seconds if self.wall_seconds else 0.0
