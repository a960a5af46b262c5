# SPDX-License-Identifier: LGPL-2.1-or-later
"""Restoring and verifying: stream -> workqueue -> collector -> image."""

from __future__ import annotations

import contextlib
import errno
import time
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

from migcomp import _core
from migcomp.choice import settings_of
from migcomp.codecs import GROUPINGS, HANDLER_PREFIX, Codec, open_codec
from migcomp.errors import (
    CodecUnavailable,
    Mismatch,
    PageError,
    StreamError,
    WorkerError,
)
from migcomp.images.decode import readable_again
from migcomp.images.image import UNKNOWN_LENGTH, Image, pages_in
from migcomp.images.raw import RawImage
from migcomp.measure import RegionMap, TimeHistogram, machine
from migcomp.pipeline import Progress, copied_to, queue_of, workers_of
from migcomp.results import Block, PageCounts, RunResult
from migcomp.salvage import Losses
from migcomp.stream.layout import (
    DEDUPLICATED,
    PAGES,
    RECORD_HEADER_SIZE,
    compressed_in,
    image_digest,
)
from migcomp.stream.reader import SALVAGE, Record, StreamReader
from migcomp.targets import (
    Comparison,
    Nowhere,
    Pipe,
    SparseFile,
    Target,
    erase,
    is_regular,
    room_for_copy,
)
from migcomp.workqueue import DEFAULT_REQUESTS, ThreadedWorkqueue

if TYPE_CHECKING:
    from migcomp._core import PageRequest


def restore(
    reader: StreamReader,
    target: BinaryIO,
    *,
    threads: int | None = None,
    requests_per_thread: int = DEFAULT_REQUESTS,
    salvage: bool = False,
    handler: str = "",
    progress: Progress | None = None,
    target_name: str = "",
) -> tuple[RunResult, list[range]]:
    """Writes the image to ``target``; also the pages that could not be saved.

    Zero pages become holes where ``target`` is a regular file, which must be
    empty and readable.  With ``salvage`` damage is skipped and pages without
    content stay zero; otherwise the list is empty.  Raises StreamError,
    CodecUnavailable, WorkerError (not with ``salvage``), and the target's OSError.
    """
    header = reader.header
    clocks = time.perf_counter(), time.thread_time()
    with ExitStack() as stack:
        where: Target
        keep = None
        if is_regular(target):
            where = SparseFile(target)
        else:
            length = sum(block.length for block in header.blocks)
            known = UNKNOWN_LENGTH if header.pages is None else length
            keep = _spool(reader, stack)
            where = Pipe(target, header.page_size, known, keep)
        stack.enter_context(room_for_copy(reader.path, keep, where))
        run = _Run(reader, where, salvage, progress)
        result = run.result(
            "restore", threads, requests_per_thread, handler, target_name, clocks
        )
        return result, run.losses.missing


def verify(
    reader: StreamReader,
    image: Image | None = None,
    *,
    threads: int | None = None,
    requests_per_thread: int = DEFAULT_REQUESTS,
    handler: str = "",
    progress: Progress | None = None,
) -> RunResult:
    """Decompresses everything and checks it, against ``image`` if given.

    Raises StreamError, Mismatch, CodecUnavailable and WorkerError.
    """
    header = reader.header
    clocks = time.perf_counter(), time.thread_time()
    with ExitStack() as stack:
        target: Target
        if image is None:
            keep = _spool(reader, stack)
            target = Nowhere(keep)
        elif image.page_size != header.page_size:
            raise Mismatch(
                f"{reader.path} has pages of {header.page_size} bytes; "
                f"open {image.path} with the same page size"
            )
        else:
            again = readable_again(image, copied_to(progress))
            image = again if again is image else stack.enter_context(again)
            keep = None if image.format == RawImage.format else _spool(reader, stack)
            target = Comparison(image, reader.path, keep)
        stack.enter_context(room_for_copy(reader.path, keep, target))
        name = "" if image is None else image.path
        run = _Run(reader, target, False, progress)
        return run.result("verify", threads, requests_per_thread, handler, name, clocks)


def _spool(reader: StreamReader, stack: ExitStack) -> BinaryIO | None:
    """Where deduplicated pages find their content when there is no image file."""
    if not reader.header.dedup:
        return None
    import tempfile

    return stack.enter_context(tempfile.TemporaryFile(buffering=0))


class _Run:
    def __init__(
        self,
        reader: StreamReader,
        target: Target,
        salvage: bool,
        progress: Progress | None,
    ) -> None:
        self._reader = reader
        self._header = reader.header
        self._target = target
        self._salvage = salvage
        self._progress = progress
        self._pending: deque[Record] = deque()
        self._digest = _core.Xxh64()
        self._counts = PageCounts()
        self._compressed_bytes = self._compressed_blocks = 0
        self._regions = RegionMap(self._header.packet_pages)
        self._times = TimeHistogram()
        self._next_page = 0
        self._busy = 0  # requests of which none was free at first
        self.losses = Losses(self._header, reader.packets)

    def result(
        self,
        operation: str,
        threads: int | None,
        requests_per_thread: int,
        handler: str,
        image: str,
        clocks: tuple[float, float],
    ) -> RunResult:
        """``clocks``: wall and CPU time when the work began."""
        reader, header = self._reader, self._header
        codec = codec_of(reader, handler)
        settings = settings_of(
            header,
            threads=threads,
            requests_per_thread=requests_per_thread,
            handler=handler,
        )
        self._threads = settings.threads
        native = _core.decompressor(
            codec.library,
            grouping=GROUPINGS.index(header.grouping),
            page_size=header.page_size,
            pages_max=header.packet_pages,
            channels=header.channels,
            fill_zeros=self._target.fill_zeros,
            output_fd=self._target.output_fd,
            dedup=header.dedup,
            salvage=self._salvage,
        )
        try:
            with ThreadedWorkqueue(
                "decompress", settings.threads, requests_per_thread, handler=native
            ) as queue:
                self._feed(queue)
                stats = queue.stats()
        except PageError as error:
            raise self._worker_error(codec, error) from error.__cause__
        blocks = self._finish()
        wall, cpu = time.perf_counter() - clocks[0], time.thread_time() - clocks[1]
        length = sum(block.length for block in blocks)
        pages = sum(pages_in(block.length, header.page_size) for block in blocks)
        return RunResult(
            operation=operation,
            image=image,
            stream=reader.path,
            blocks=blocks,
            settings=settings,
            codec=codec.info,
            pages=self._counts,
            image_bytes=length,
            stream_bytes=reader.stream_bytes,
            compressed_bytes=self._compressed_bytes,
            compressed_blocks=self._compressed_blocks,
            image_digest=image_digest(pages, self._digest.intdigest()),
            wall_seconds=wall,
            submitter_cpu_seconds=cpu,
            workers=workers_of(stats),
            queue=queue_of(stats, self._busy),
            request_times=self._times.summary(),
            machine=machine(),
            regions=self._regions.regions(),
            missing_bytes=self.losses.missing_bytes(length),
            lost_bytes=self.losses.stream_bytes,
        )

    def _worker_error(
        self, codec: Codec, error: PageError
    ) -> StreamError | WorkerError:
        place = f"{self._reader.path}: page {error.page}: {error.reason}"
        if error.of_input or not codec.name.startswith(HANDLER_PREFIX):
            advice = "" if self._salvage else f"; {SALVAGE}"
            return StreamError(place + advice)
        return WorkerError(place)

    # --- Submitting -------------------------------------------------------------

    def _feed(self, queue: ThreadedWorkqueue) -> None:
        reader = self._reader
        if self._salvage:
            # Tells the lengths of blocks, if the end is there.
            with contextlib.suppress(StreamError):
                reader.load_end()
        records = reader.salvage() if self._salvage else reader.records()
        for record in records:
            if self._salvage and not self.losses.usable(record):
                self.losses.drop(record)
                continue
            if record.head.kind == PAGES:
                self._submit(queue, record)
            self._pending.append(record)
            self._take_zeros()
        while (request := queue.collect_request()) is not None:
            self._collect(queue, request)
        self._take_zeros()
        if self._salvage:
            self.losses.stream_bytes += reader.lost_bytes

    def _submit(self, queue: ThreadedWorkqueue, record: Record) -> None:
        head, channels = record.head, self._header.channels
        # A channel's packets must be decompressed in order, by one thread.
        thread = head.channel % self._threads if channels else None
        if (request := queue.get_request(thread=thread)) is None:
            self._busy += 1
        while request is None:
            self._collect(queue, queue.collect_request())
            request = queue.get_request(thread=thread)
        request.load_record(
            record.body,
            head.first_page,
            head.pages,
            head.channel,
            head.body_checksum,
            record.mapped,
        )
        queue.submit_request(request)

    # --- Collecting -------------------------------------------------------------

    def _collect(self, queue: ThreadedWorkqueue, request: PageRequest) -> None:
        self._take_zeros()
        record = self._pending.popleft()
        self._skip_to(record.head.first_page)
        if request.lost or not self._fetch_deduplicated(request, record):
            self.losses.drop(record)
        else:
            self._take(request, record)
        queue.release_request(request)
        self._tell()

    def _fetch_deduplicated(self, request: PageRequest, record: Record) -> bool:
        """False when it refers to what cannot be, and nothing of it was kept."""
        if not request.counts[DEDUPLICATED]:
            return True
        head = record.head
        try:
            request.restore_deduplicated(self._target.fd)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ELOOP):
                raise
            if not self._salvage:
                raise StreamError(
                    f"{self._reader.path}: a deduplicated page near page "
                    f"{head.first_page} refers to one that it must not refer to"
                ) from error
            size = self._header.page_size
            erase(self._target, head.first_page * size, head.pages * size)
            return False
        request.write_deduplicated()
        return True

    def _take(self, request: PageRequest, record: Record) -> None:
        head = record.head
        zero, same, deduplicated, normal, compressed = counts = request.counts
        size, blocks = compressed_in(self._header, counts, head.body_size)
        if deduplicated and self._salvage:
            deduplicated -= self.losses.add_orphans(record)
        self._digest.update(request.hashes)
        self._target.pages(request)
        restored = (zero, same, deduplicated, normal, compressed)
        self._counts.add(*restored)
        self._compressed_bytes += size
        self._compressed_blocks += blocks
        self._times.add(request.elapsed_ns)
        self._next_page = head.first_page + head.pages
        self._regions.add(
            head.first_page, restored, RECORD_HEADER_SIZE + head.body_size
        )

    def _take_zeros(self) -> None:
        while self._pending and self._pending[0].head.kind != PAGES:
            head = self._pending.popleft().head
            self._skip_to(head.first_page)
            self._target.zeros(head.first_page, head.pages)
            self._counts.zero += head.pages
            self._next_page = head.first_page + head.pages
            self._regions.add_zeros(head.first_page, head.pages, RECORD_HEADER_SIZE)
            self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._next_page, self._reader.stream_bytes)

    def _skip_to(self, page: int) -> None:
        """Pages that salvage did not find stay zero."""
        if page > self._next_page:
            self.losses.add(range(self._next_page, page))
            self._target.zeros(self._next_page, page - self._next_page)
            self._next_page = page

    def _finish(self) -> tuple[Block, ...]:
        header, end = self._header, self._reader.end
        lengths = end.block_lengths if end else tuple(b.length for b in header.blocks)
        if any(length == UNKNOWN_LENGTH for length in lengths):
            known = sum(pages_in(n, header.page_size) for n in lengths[:-1])
            reached = max(self._next_page, self.losses.next_page)
            found = max(reached - known, 0) * header.page_size
            lengths = (*lengths[:-1], found)
        blocks = tuple(
            Block(block.name, length, block.guest_address)
            for block, length in zip(header.blocks, lengths, strict=True)
        )
        pages = sum(pages_in(n, header.page_size) for n in lengths)
        if self._salvage:
            self._skip_to(pages)
        elif end is not None:
            self._reader.check_totals(
                self._counts, self._compressed_bytes, self._compressed_blocks
            )
            if end.image_digest != image_digest(pages, self._digest.intdigest()):
                raise StreamError(
                    f"{self._reader.path}: the image is not the one that was "
                    "compressed: its digest differs"
                )
        self._target.finish(sum(lengths))
        return blocks


def codec_of(reader: StreamReader, handler: str = "") -> Codec:
    """The codec that the stream needs.

    A codec in Python is run only if the user names it in ``handler``: a stream
    must not choose what is imported.  Raises CodecUnavailable.
    """
    name, grouping = reader.header.codec, reader.header.grouping
    if name.startswith(HANDLER_PREFIX):
        needed = name.removeprefix(HANDLER_PREFIX)
        if handler != needed:
            raise CodecUnavailable(
                f"{reader.path} was compressed by the handler {needed}; if you "
                f"trust it, give --handler {needed}"
            )
        return open_codec("", grouping=grouping, handler=handler)
    return open_codec(name, grouping=grouping)
