# SPDX-License-Identifier: LGPL-2.1-or-later
"""The C core.  Pages are counted in pages, times in seconds where floats."""

from collections.abc import Callable
from typing import Any, Final, Self, TypedDict, final, type_check_only

from typing_extensions import Buffer, disjoint_base

MAX_THREADS_NR: Final[int]
MAX_THREAD_REQUEST_NR: Final[int]
DEFAULT_THREAD_REQUEST_NR: Final[int]
REQUEST_BYTES_MAX: Final[int]
CHANNELS_MAX: Final[int]
PAGE_CODECS_MAX: Final[int]
STORED_FILL: Final[int]
STORED_RAW: Final[int]
STORED_BLOCK: Final[int]
STORED_PART: Final[int]
STORED_RAW_PART: Final[int]
PAGE_BLOCK_MAX: Final[int]
PAGE_UNCHANGED: Final[int]
XBZRLE_ZERO: Final[int]
XBZRLE_UNCHANGED: Final[int]
XBZRLE_DELTA: Final[int]
XBZRLE_OVERFLOW: Final[int]
XBZRLE_MISS: Final[int]

@final
class Library:
    """A codec bound to a shared library, or to a factory in Python."""

    @property
    def codec(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def version_number(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def level_min(self) -> int: ...
    @property
    def level_max(self) -> int: ...
    @property
    def level_default(self) -> int: ...
    @property
    def streaming(self) -> bool: ...

def bind(provider: str, path: str, /) -> Library:
    """Opens ``path`` with dlopen and tries a page.

    ``provider`` is libzstd, liblz4, libz, libdeflate or "built in".  Raises
    CodecUnavailable with the reason.
    """

def python_library(
    name: str,
    provider: str,
    version: str,
    path: str,
    factory: Callable[[int], object],
    /,
) -> Library:
    """A codec in Python; of ``version``, 23 bytes are kept.

    ``factory(level)`` is called on each worker thread; its result has
    ``compress(pages)`` and ``decompress(data, size)``, which take a memoryview
    and return bytes.
    """

@final
class Handler: ...

def compressor(
    library: Library,
    *,
    level: int = 0,
    grouping: int = 0,
    page_size: int,
    pages_max: int,
    channels: int = 0,
    fill_zeros: bool = False,
    output_fd: int = -1,
    source: PageMap | None = None,
    dedup: bool = False,
    salvage: bool = False,
    deltas: bool = False,
) -> Handler:
    """Classifies and compresses PageRequests.  ``source`` is the map of images
    whose pages are encoded, which the threads then decode.  Raises ValueError.

    ``deltas``: requests may have previous versions of their pages, which zstd and
    lz4 refer to: to a page's own in grouping page, to all of a packet's in
    grouping packet, of at most 8 MiB with zstd and 63 KiB with lz4.  Of a packet
    zstd's fastest levels take in the last 128 KiB only: packets of 15 pages serve
    it best, and grouping page serves lz4 best.  Raises CodecUnavailable where the
    codec or its library has no deltas."""

def decompressor(
    library: Library,
    *,
    level: int = 0,
    grouping: int = 0,
    page_size: int,
    pages_max: int,
    channels: int = 0,
    fill_zeros: bool = False,
    output_fd: int = -1,
    source: None = None,
    dedup: bool = False,
    salvage: bool = False,
    deltas: bool = False,
) -> Handler:
    """Decompresses PageRequests; with ``fill_zeros`` zero pages too.

    ``dedup``: there may be deduplicated pages.  ``salvage``: a record that is
    malformed or does not decompress makes its request ``lost`` and raises nothing.

    Pages that a record itself holds are written to ``output_fd``, each at its
    place in the image, by the queue's threads; what that raises is an OSError.

    ``deltas``: as of the compressor, and needed for what it made with previous
    versions.
    """

def transfer(
    library: Library,
    *,
    level: int = 0,
    grouping: int = 0,
    page_size: int,
    pages_max: int,
    channels: int = 0,
    deltas: bool = False,
) -> Handler:
    """Compresses PageRequests as a sender and decompresses them as a receiver would.

    A request's buffer is the pages that arrived, ``elapsed_ns`` the CPU time of
    compressing them, and ``details`` has 4 bytes, little-endian, for each page: the
    size of its block, which may exceed the page's.  Zero pages have 0, as have all
    but the first of the pages that share a block.  Of ``load``'s stages there is
    only 0, and there are no holes.  ``deltas``: as of the compressor.
    """

def python_handler(
    handler: Callable[[ObjectRequest], object],
    request_init: Callable[[ObjectRequest], object] | None = None,
    request_uninit: Callable[[ObjectRequest], object] | None = None,
    request_done: Callable[[ObjectRequest], object] | None = None,
    thread_init: Callable[[int], Any] | None = None,
    thread_uninit: Callable[[Any], object] | None = None,
) -> Handler: ...

@type_check_only
class _Request:
    @property
    def sequence(self) -> int: ...
    @property
    def thread(self) -> int: ...

@final
class ObjectRequest(_Request):
    """A request for a handler in Python; ``payload`` and ``result`` are the
    user's, ``thread_state`` is what ``thread_init`` returned."""

    payload: Any
    result: Any
    @property
    def thread_state(self) -> Any: ...

@final
class PageRequest(_Request):
    """A request for a native handler; its buffer is the payload of the record
    (after compression) or the pages (after decompression).

    Everything but sequence and thread raises ValueError unless the request is
    the submitter's, whose queue it keeps meanwhile.  Several threads may read it;
    what fills or changes it, hands it over or destroys its queue raises BufferError
    while another uses it or its buffer, and so does reading it meanwhile."""

    stage: int
    @property
    def classes(self) -> bytes:
        """A byte for each page, as in the stream format: 0 zero, 1 same-filled, 2
        deduplicated, 3 normal, 4 compressed; and PAGE_UNCHANGED, as in previous."""

    @property
    def hashes(self) -> bytes:
        """Number and XXH64 of each page that is not zero, 8 bytes little-endian
        each: what the image digest of the stream format covers.  Not of unchanged
        pages."""

    @property
    def details(self) -> bytes: ...
    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """Pages of the stream format's classes; the others are unchanged."""

    @property
    def first_page(self) -> int: ...
    @property
    def pages(self) -> int: ...
    @property
    def data_size(self) -> int: ...
    @property
    def elapsed_ns(self) -> int: ...
    @property
    def frame_hash(self) -> int:
        """XXH64 of all pages together, after the stage for frames."""

    @property
    def checksum(self) -> int:
        """XXH64 of the record's body, after stages 0 and 2: classes, details and
        payload one after the other."""

    @property
    def lost(self) -> bool:
        """Its record was no good, and it has no pages."""

    def load(
        self,
        source: PageMap,
        first_page: int,
        pages: int,
        stage: int,
        channel: int,
        holes: bytes | None = None,
        previous: PageMap | None = None,
        /,
    ) -> None:
        """Stages: 0 to classify and compress, 1 to classify, 2 to compress what is
        classified; 3 to compress all pages as one block, a codec's own frame,
        with the XXH64 of all of them as the first of the hashes.

        In grouping stream, a channel's pages go into requests of the thread
        channel modulo the queue's threads; ValueError for others.

        ``previous``: what the receiver has of pages of the same numbers, which
        must stay so until the request is collected; stage 0 only, of a handler
        with deltas.  Pages that are equal become PAGE_UNCHANGED."""

    def read(
        self,
        fd: int,
        first_page: int,
        pages: int,
        channel: int,
        taken: bytes = b"",
        /,
    ) -> int:
        """Reads from a file, behind the bytes already taken from it; bytes read
        with those, a last page that is cut off is filled up with zeros.  Raises
        OSError."""

    def load_record(
        self,
        body: Buffer,
        first_page: int,
        pages: int,
        channel: int,
        checksum: int,
        mapped: bool,
        previous: PageMap | None = None,
        /,
    ) -> None:
        """``previous``: as the compressor had it.  Data has unchanged pages, too."""

    def entropies(self) -> bytes:
        """Of the bytes of each page that is classified as normal: thousandths of a
        bit to a byte, two bytes each in the machine's order; 0 for other pages.
        Raises PageError."""

    def write_pages(self, fd: int, offset: int, /) -> None:
        """Writes all pages but zero pages, as they came if it compresses.  Raises
        OSError."""

    def restore_deduplicated(self, fd: int, /) -> None:
        """Fetches deduplicated pages' content from the image restored so far;
        requests in the order of their pages.  Raises OSError: ELOOP where a page
        refers to one that is deduplicated itself, ENODATA where no file is as
        long."""

    def write_deduplicated(self) -> None:
        """Writes those pages where the queue's threads wrote the others.  Raises
        OSError."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class PageMap:
    """Where an image's pages lie in ``buffer``, or in several one after the other.

    ``extents`` are (first page, pages, place), in order of pages; pages of the
    ``pages`` of the image that none has are zero.  Places are counted through the
    buffers.  Or ``entries`` has 16 bytes for each page, ``struct`` "=QII": place
    (or 8-byte pattern), bytes stored << 8 | kind, and 1 + the number of the last
    delta on top (or 0).  Kinds are STORED_FILL, STORED_RAW, STORED_BLOCK + n, a
    page that the n-th of ``codecs`` decompresses, STORED_PART + n, part of what it
    decompresses, and STORED_RAW_PART, part of what is stored as it is: then the
    place is the number of one of ``blocks`` << 32 | where in its content the page
    begins.  ``blocks`` are "=QII": place, bytes stored and bytes of content, at most
    PAGE_BLOCK_MAX; zeros fill up a page that it ends within.  ``checksums`` are
    "=I", of the content of each block: the low bits of its XXH64, or its CRC-32C
    with ``crc32c``.  ``deltas`` are XBZRLE, "=QII": place, bytes, and the number of
    the page's next delta, a higher one, or for its last that of its first.  Tables
    are checked when their page is read, which raises PageError.

    Places need no alignment.  ``mapped``: a buffer is a mapped file, which may
    shrink.
    """

    def __new__(
        cls,
        buffer: Buffer | tuple[Buffer, ...],
        extents: list[tuple[int, int, int]],
        page_size: int,
        mapped: bool,
        *,
        pages: int = 0,
        entries: Buffer | None = None,
        deltas: Buffer | None = None,
        blocks: Buffer | None = None,
        codecs: tuple[Library, ...] = (),
        checksums: Buffer | None = None,
        crc32c: bool = False,
    ) -> Self: ...
    @property
    def pages(self) -> int: ...
    @property
    def encoded(self) -> bool:
        """Some pages may have to be decoded, by the threads of a queue."""

    def run(self, first_page: int, end: int, /) -> tuple[int, bool]:
        """How many of the pages before ``end`` are like ``first_page``, and whether
        those are known to be zero."""

    def read(self, first_page: int, pages: int, /) -> bytes:
        """Of a map that is not encoded.  Raises PageError."""

@final
class QemuRam:
    """The pages of a QEMU migration stream, of ``blocks`` (name, pages).

    ``entries`` are 16 zero bytes for each page, which become a PageMap's.
    ``logs``: it keeps a log.
    """

    def __new__(
        cls,
        page_size: int,
        blocks: tuple[tuple[bytes, int], ...],
        entries: Buffer,
        logs: bool,
        /,
    ) -> Self: ...
    def scan(self, buffer: Buffer, offset: int, /) -> tuple[int, bool]:
        """Notes some of the records that start at ``offset``; where the next
        starts, and whether the last one ended the section.  Raises ValueError."""

    def map_block(self, block: int, bitmap: Buffer, offset: int, /) -> None:
        """mapped-ram: pages whose bit is set lie from ``offset`` on, the others
        are zero.  Raises ValueError."""

    @property
    def deltas(self) -> bytes:
        """As PageMap's."""

    @property
    def log(self) -> bytes:
        """All records of pages, "=QII": where what follows the header and the block's
        name lies, bytes of that << 8 | kind, and the page.  Kinds are 0 zero, 1 normal,
        2 compressed, 3 XBZRLE.  Pages of mapped-ram have no records."""

    @property
    def flushes(self) -> int: ...
    @property
    def rounds(
        self,
    ) -> list[tuple[tuple[int, int, int, int], tuple[int, int, int, int]]]:
        """Pages and bytes of zero, normal, compressed and XBZRLE records."""

@type_check_only
class XbzrleCounters(TypedDict):
    pages: int
    bytes: int
    cache_miss: int
    overflow: int

@final
class XbzrleCache:
    """QEMU's cache of the pages sent before, of ``cache_bytes``, a power of two;
    see xbzrle_cache.h for its rules, of 7.2 and 8.2.

    It takes the memory of the pages that it holds, and 24 bytes for each that it
    could.  One thread at a time: ValueError for another.  Raises ValueError,
    MemoryError."""

    def __new__(cls, cache_bytes: int, page_size: int) -> Self: ...
    def save(
        self,
        memory: Buffer,
        pages: Buffer,
        dirty_sync_count: int,
        last_stage: bool,
        /,
    ) -> tuple[bytes, bytes, bytes, int]:
        """Sends pages, in this order, without the GIL: (classes, sizes, payload,
        CPU time in ns).

        Page i lies at i * page_size in ``memory``, which may be a mapped file
        that shrinks; ``pages`` are numbers, 8 bytes each in the machine's byte
        order.  Classes are a byte for each page: XBZRLE_ZERO; XBZRLE_UNCHANGED,
        which is not sent at all; XBZRLE_DELTA; XBZRLE_OVERFLOW, sent as it is
        because the delta did not fit; XBZRLE_MISS, sent as it is because the
        cache did not have it.  Sizes are 4 bytes each, in the machine's byte
        order, of what is in the payload, one after the other: the delta, the
        page, or nothing.  CPU time is the calling thread's.

        Raises ValueError for a page that is not in the memory, PageError when it
        became shorter, MemoryError; the cache has taken in the pages before."""

    @property
    def counters(self) -> XbzrleCounters:
        """QMP's xbzrle-cache, of all pages so far.  ``pages`` are hits, ``bytes``
        3 and the delta's for each delta and the page's for each overflow; QEMU
        adds 1 and the length of the RAM block's name to a delta that changes the
        block."""

    @property
    def cached_pages(self) -> int: ...

def xbzrle_load(
    memory: Buffer,
    page_size: int,
    pages: Buffer,
    classes: Buffer,
    sizes: Buffer,
    payload: Buffer,
    /,
) -> int:
    """Brings the destination's ``memory`` up to date with what XbzrleCache.save
    sent, without the GIL; CPU time in ns.

    Raises PageError for what is malformed, that page being spoilt, and
    ValueError; the pages before are up to date."""

def xbzrle_encode(old: Buffer, new: Buffer, room: int, /) -> bytes | None:
    """The delta between two versions of a page as QEMU encodes it, empty for equal
    ones; None if it does not fit in ``room``, which is the page size in QEMU.

    A run of more than 16,383 bytes does not fit.  Raises ValueError."""

@final
class DedupTable:
    """Pages seen so far, by hash."""

    def __new__(cls) -> Self: ...
    def resolve(self, request: PageRequest, page_map: PageMap, /) -> None:
        """Marks the pages of a classified request that equal an earlier one."""

@final
class Xxh64:
    """XXH64 with seed 0, in pieces."""

    def __new__(cls) -> Self: ...
    def update(self, data: Buffer, /) -> None: ...
    def intdigest(self) -> int: ...

def xxh64(data: Buffer, /) -> int: ...

@type_check_only
class ThreadStats(TypedDict):
    requests: int
    sleeps: int
    spins: int
    wakeups: int
    cpu_ns: int

@type_check_only
class QueueStats(TypedDict):
    submitted: int
    collected: int
    busy: int
    waits: int
    spins: int
    wakeups: int
    depth_sum: int
    depth_max: int
    threads_nr: int
    thread_requests_nr: int
    threads: list[ThreadStats]

@type_check_only
class BenchRound(TypedDict):
    wall_ns: int
    submitter_cpu_ns: int
    cpu_ns: int
    idle_ns: int
    idle_cpu_ns: int
    busy: int
    worker_wakeups: int
    submitter_wakeups: int
    worker_spins: int | None
    submitter_spins: int | None
    lost: int
    repeated: int
    wrong: int

@final
class BenchJob:
    """What a benchmark of work queues takes through them; see bench.h.

    Either ``requests`` that cost about ``cost_ns`` of CPU time each, or what
    ``memory`` holds, cut into requests of ``request_size`` bytes that
    ``library`` compresses.  The latter are done once by the constructor, to
    know what must come.  Raises ValueError, CodecUnavailable, MemoryError."""

    def __new__(
        cls,
        *,
        requests: int = 0,
        cost_ns: int = 0,
        memory: Buffer = ...,
        library: Library = ...,
        level: int = 0,
        request_size: int = 0,
    ) -> Self: ...
    @property
    def requests(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    def patience_ns(self, threads: int, /) -> int:
        """How long to wait for a result before it is lost; see bench.h."""

    def round(
        self, design: str, threads: int, requests: int, idle_ns: int, /
    ) -> BenchRound:
        """All requests through a new queue of a design in C, and ``idle_ns``
        of idleness.  Raises ValueError, OSError."""

@final
class BenchWorker:
    """One thread's means to serve a job's requests."""

    def __new__(cls, job: BenchJob) -> Self: ...
    def serve(self, index: int, /) -> int:
        """The digest of the request's result.  Raises ValueError."""

@final
class BenchTally:
    """Whether each of a job's first ``requests`` came once, with the right
    digest.  Raises ValueError, MemoryError."""

    def __new__(cls, job: BenchJob, requests: int) -> Self: ...
    def add(self, index: int, digest: int, /) -> None: ...
    @property
    def lost(self) -> int: ...
    @property
    def repeated(self) -> int: ...
    @property
    def wrong(self) -> int: ...

@disjoint_base
class Workqueue:
    """See migcomp.workqueue.ThreadedWorkqueue and workqueue.h.

    Timeouts are seconds, None waits for ever."""

    def __new__(
        cls,
        name: str,
        threads: int,
        requests: int,
        handler: Handler,
        cpus: tuple[int, ...] = (),
    ) -> Self: ...
    def get_request(self, timeout: float | None = 0, thread: int | None = None) -> Any:
        """A request, or None when all are busy (or stay so for ``timeout``).

        Raises WorkqueueError when waiting cannot help, and what stopped the
        queue."""

    def submit_request(self, request: _Request, /) -> None: ...
    def collect_request(self, timeout: float | None = None) -> Any:
        """The oldest submitted request once it is handled; None when there is
        none, or none in time."""

    def poll_request(self) -> Any: ...
    def release_request(self, request: _Request, /) -> None: ...
    def wait_for_requests(self, timeout: float | None = None) -> bool: ...
    def destroy(self, drain: bool = True) -> int:
        """Joins the threads; the number of requests whose result nobody saw.

        Raises BufferError while a request's data is in use."""

    def stats(self) -> QueueStats: ...
