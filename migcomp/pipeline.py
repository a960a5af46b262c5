# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compressing an image: pages -> workqueue -> collector -> ordered stream.

The calling thread is submitter and collector.  It touches whole requests only;
pages are classified and compressed on the queue's threads.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from migcomp import _core
from migcomp.choice import Choice
from migcomp.codecs import GROUPINGS, Codec, open_codec
from migcomp.errors import MigcompError, PageError, WorkerError
from migcomp.images.file import Copied, reading, unwatched
from migcomp.images.image import UNKNOWN_LENGTH, Image, pages_in
from migcomp.images.raw import check_length
from migcomp.measure import PageSizes, RegionMap, TimeHistogram, machine
from migcomp.results import Block, Queue, RunResult, Settings, Worker
from migcomp.stream.header import StreamHeader
from migcomp.stream.writer import StreamWriter
from migcomp.workqueue import ThreadedWorkqueue

if TYPE_CHECKING:
    from migcomp._core import PageRequest, QueueStats

#: (pages done, stream bytes so far); called often.  There is no byte in the stream
#: while the pages are copied to a temporary file.
Progress = Callable[[int, int], None]

_WHOLE, _CLASSIFY, _COMPRESS = range(3)
_ENDLESS = 1 << 63


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one request takes: pages of one packet.

    ``last``: the packet is complete with them.  ``holes``: a byte for each
    page, not 0 for those that need no reading; None when all do.
    """

    first_page: int
    pages: int
    channel: int
    last: bool
    holes: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Zeros:
    """Whole packets in a hole."""

    first_page: int
    pages: int


def compress(
    image: Image,
    sink: BinaryIO | None,
    choice: Choice,
    *,
    progress: Progress | None = None,
    stream_name: str = "",
    sizes: PageSizes | None = None,
) -> RunResult:
    """Writes ``image`` to ``sink`` as a migcomp stream; None keeps nothing.

    ``sizes`` gets those of the compressed pages; it takes time, and is for grouping
    ``page``, where each page is a block.
    Raises ImageError, CodecUnavailable, WorkerError, and the sink's OSError.
    """
    codec = open_codec(
        choice.codec,
        level=choice.level,
        grouping=choice.grouping,
        handler=choice.handler,
    )
    settings = choice.settings(codec, image.page_size)
    clocks = time.perf_counter(), time.thread_time()
    with ExitStack() as stack:
        if settings.dedup:
            from migcomp.images.decode import readable_again

            again = readable_again(image, copied_to(progress))
            image = again if again is image else stack.enter_context(again)
        run = _Run(image, sink, codec, settings, progress, sizes)
        return run.result(choice.cpus, stream_name, clocks)


def copied_to(progress: Progress | None) -> Copied:
    """Tells of pages that are copied before the work proper."""
    return unwatched if progress is None else lambda pages: progress(pages, 0)


class _Run:
    def __init__(
        self,
        image: Image,
        sink: BinaryIO | None,
        codec: Codec,
        settings: Settings,
        progress: Progress | None,
        sizes: PageSizes | None,
    ) -> None:
        self._image = image
        self._codec = codec
        self._settings = settings
        self._progress = progress
        self._sizes = sizes
        info = codec.info
        self._writer = StreamWriter(
            sink,
            StreamHeader(
                settings.page_size,
                settings.grouping,
                settings.packet_pages,
                settings.channels,
                settings.dedup,
                info.name,
                settings.level,
                info.provider,
                info.version,
                image.blocks,
            ),
        )
        self._dedup = _core.DedupTable() if settings.dedup else None
        self._regions = RegionMap(settings.packet_pages)
        self._times = TimeHistogram()
        self._pending: deque[_Piece | _Zeros] = deque()
        self._read_bytes = 0
        self._busy = 0  # requests of which none was free at first

    def result(
        self, cpus: tuple[int, ...], stream_name: str, clocks: tuple[float, float]
    ) -> RunResult:
        """``clocks``: wall and CPU time when the work began."""
        settings = self._settings
        handler = _core.compressor(
            self._codec.library,
            level=settings.level,
            grouping=GROUPINGS.index(settings.grouping),
            page_size=settings.page_size,
            pages_max=settings.request_pages,
            channels=settings.channels,
            source=self._image.page_map,
        )
        try:
            with ThreadedWorkqueue(
                "compress",
                settings.threads,
                settings.requests_per_thread,
                handler=handler,
                cpus=cpus,
            ) as queue:
                blocks = self._feed(queue)
                stats = queue.stats()
        except PageError as error:
            raise self._worker_error(error) from error.__cause__
        self._writer.finish(blocks)
        wall, cpu = time.perf_counter() - clocks[0], time.thread_time() - clocks[1]
        writer = self._writer
        return RunResult(
            operation="run",
            image=self._image.path,
            stream=stream_name,
            blocks=tuple(blocks),
            settings=settings,
            codec=self._codec.info,
            pages=writer.counts,
            image_bytes=sum(block.length for block in blocks),
            stream_bytes=writer.written,
            compressed_bytes=writer.compressed_bytes,
            compressed_blocks=writer.compressed_blocks,
            image_digest=writer.image_digest,
            wall_seconds=wall,
            submitter_cpu_seconds=cpu,
            workers=workers_of(stats),
            queue=queue_of(stats, self._busy, stages=1 if self._dedup is None else 2),
            request_times=self._times.summary(),
            machine=machine(),
            regions=self._regions.regions(),
        )

    def _worker_error(self, error: PageError) -> MigcompError:
        image = self._image
        if error.of_input:
            from migcomp.images.decode import page_error

            return page_error(image, error)
        return WorkerError(
            f"{self._codec.name} level {self._codec.level} failed on page "
            f"{error.page} of {image.path}: {error.reason}"
        )

    # --- Submitting -------------------------------------------------------------

    def _feed(self, queue: ThreadedWorkqueue) -> list[Block]:
        """Brings all pages through the queue; the blocks with their lengths."""
        blocks = list(self._image.blocks)
        for number, block in enumerate(blocks):
            if self._image.page_map is None:
                before = self._read_bytes
                self._feed_from_pipe(queue, block)
                blocks[number] = replace(block, length=self._read_bytes - before)
            else:
                self._feed_from_memory(queue, number)
            while (request := queue.collect_request()) is not None:
                self._collect(queue, request)
            self._emit_zeros()
            self._writer.end_block()
        if self._image.page_map is None:
            self._check_read()
        return blocks

    def _feed_from_memory(self, queue: ThreadedWorkqueue, block: int) -> None:
        page_map = self._image.page_map
        assert page_map is not None
        stage = _WHOLE if self._dedup is None else _CLASSIFY
        for piece in self._cut(block):
            if isinstance(piece, _Zeros):
                self._pending.append(piece)
                self._emit_zeros()
                continue
            request = self._free_request(queue, piece.channel)
            request.load(
                page_map,
                piece.first_page,
                piece.pages,
                stage,
                piece.channel,
                piece.holes,
            )
            self._pending.append(piece)
            queue.submit_request(request)

    def _feed_from_pipe(self, queue: ThreadedWorkqueue, block: Block) -> None:
        settings, size = self._settings, self._settings.page_size
        first = pages_in(self._read_bytes, size)
        left = _ENDLESS if block.length == UNKNOWN_LENGTH else block.length
        done = 0
        while left > 0:
            room = settings.packet_pages - done % settings.packet_pages
            pages = min(settings.request_pages, room, pages_in(left, size))
            channel = self._channel(first + done)
            request = self._free_request(queue, channel)
            taken = b"" if self._read_bytes else self._image.taken
            with reading(self._image.path):
                got = request.read(self._image.fd, first + done, pages, channel, taken)
            if not got:
                queue.release_request(request)
                break
            self._read_bytes += got
            left -= got
            here = pages_in(got, size)
            done += here
            last = done % settings.packet_pages == 0
            self._pending.append(_Piece(first + done - here, here, channel, last))
            queue.submit_request(request)
            if here < pages or got % size:
                break

    def _check_read(self) -> None:
        """After all that could be read."""
        with reading(self._image.path):
            rest = len(os.read(self._image.fd, 1)) if self._read_bytes else 0
        check_length(self._image, self._read_bytes + rest)

    def _channel(self, page: int) -> int:
        channels = self._settings.channels
        return page // self._settings.packet_pages % channels if channels else 0

    def _cut(self, block: int) -> Iterator[_Piece | _Zeros]:
        """A block of the image in pieces for requests."""
        packet = self._settings.packet_pages
        holes = bytearray()  # of the packet that is not complete
        start = page = -1
        for run in self._image.runs(block):
            page = run.first_page
            start = page if start < 0 else start
            end = page + run.pages
            while page < end:
                offset = (page - start) % packet
                whole = (end - page) // packet * packet
                if run.hole and not offset and whole:
                    yield _Zeros(page, whole)
                    page += whole
                    continue
                here = min(packet - offset, end - page)
                holes += bytes([run.hole]) * here
                page += here
                if len(holes) == packet:
                    yield from self._pieces(page - packet, bytes(holes))
                    holes.clear()
        yield from self._pieces(page - len(holes), bytes(holes))

    def _pieces(self, first_page: int, holes: bytes) -> Iterator[_Piece | _Zeros]:
        """A packet in pieces; ``holes`` has a byte for each of its pages."""
        if all(holes):
            if holes:
                yield _Zeros(first_page, len(holes))
            return
        channel = self._channel(first_page)
        for i in range(0, len(holes), self._settings.request_pages):
            part = holes[i : i + self._settings.request_pages]
            last = i + len(part) == self._settings.packet_pages
            yield _Piece(
                first_page + i, len(part), channel, last, part if any(part) else None
            )

    def _free_request(self, queue: ThreadedWorkqueue, channel: int) -> PageRequest:
        """A channel's requests all go to one thread, in order."""
        thread = channel % self._settings.threads if self._settings.channels else None
        if (request := queue.get_request(thread=thread)) is None:
            self._busy += 1
        while request is None:
            self._collect(queue, queue.collect_request())
            request = queue.get_request(thread=thread)
        return request  # type: ignore[no-any-return]

    # --- Collecting -------------------------------------------------------------

    def _collect(self, queue: ThreadedWorkqueue, request: PageRequest) -> None:
        """Takes the oldest request, which is handled, one step further."""
        if request.stage == _CLASSIFY:
            assert self._dedup is not None
            assert self._image.page_map is not None
            self._dedup.resolve(request, self._image.page_map)
            request.stage = _COMPRESS
            queue.submit_request(request)
            return
        piece = self._pending.popleft()
        assert isinstance(piece, _Piece)
        writer, counts = self._writer, request.counts
        before = writer.written
        writer.add_pages(
            counts,
            request.classes,
            request.details,
            request,
            request.hashes,
            request.checksum,
            channel=piece.channel,
            last=piece.last,
        )
        self._times.add(request.elapsed_ns)
        if self._sizes is not None:
            self._sizes.add(request.classes, request.details)
        queue.release_request(request)
        self._regions.add(piece.first_page, counts, writer.written - before)
        self._emit_zeros()

    def _emit_zeros(self) -> None:
        """Those that nothing precedes any more; also tells how far the work is."""
        while self._pending and isinstance(self._pending[0], _Zeros):
            zeros = self._pending.popleft()
            before = self._writer.written
            self._writer.add_zeros(zeros.pages)
            self._regions.add_zeros(
                zeros.first_page, zeros.pages, self._writer.written - before
            )
        if self._progress is not None:
            self._progress(self._writer.pages, self._writer.written)


def workers_of(stats: QueueStats) -> tuple[Worker, ...]:
    return tuple(
        Worker(
            thread["requests"],
            thread["cpu_ns"] / 1e9,
            thread["sleeps"],
            thread["spins"],
            thread["wakeups"],
        )
        for thread in stats["threads"]
    )


def queue_of(stats: QueueStats, busy: int, stages: int = 1) -> Queue:
    """``busy``: requests that found none free, for which the queue may have been
    asked again and again; ``stages``: how often each was submitted."""
    submitted = stats["submitted"]
    return Queue(
        requests=submitted // stages,
        submitted=submitted,
        busy=busy,
        waits=stats["waits"],
        spins=stats["spins"],
        wakeups=stats["wakeups"],
        depth_mean=stats["depth_sum"] / submitted if submitted else 0.0,
        depth_max=stats["depth_max"],
    )
