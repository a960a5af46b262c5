# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one would write with Python packages instead: each a whole process.

    python -m benchmarks.python_peers PEER IMAGE OUTPUT THREADS

Each does what its package is best at, and less than migcomp: none writes down
which pages were zero or where a page's block begins, so that nothing but the
blosc2 file could be restored as it is.
"""

from __future__ import annotations

import mmap
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

PAGE = 4096
TASK_PAGES = 64
#: Tasks in flight per thread: enough for no thread to wait, and bounded.
TASKS_PER_THREAD = 8
CHUNK_BYTES = 4 << 20


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def zstandard_multi(image: Path, output: Path, threads: int) -> None:
    """All non-zero pages in one call; the whole output is in memory at once."""
    import zstandard

    numpy: Any = import_module("numpy")

    memory = _map(image)
    pages = numpy.frombuffer(memory, dtype=numpy.uint64).reshape(-1, PAGE // 8)
    content = numpy.flatnonzero(pages.any(axis=1)).astype(numpy.uint64)
    segments = numpy.empty((len(content), 2), dtype=numpy.uint64)
    segments[:, 0] = content * PAGE
    segments[:, 1] = PAGE
    compressor = zstandard.ZstdCompressor(level=1)
    blocks: Any = compressor.multi_compress_to_buffer(
        zstandard.BufferWithSegments(memoryview(memory), segments.tobytes()),
        threads=threads,
    )
    with output.open("wb") as file:
        file.writelines(blocks)


def executor_zstandard(image: Path, output: Path, threads: int) -> None:
    """Tasks of many pages each: one for each page is four times slower."""
    import zstandard

    numpy: Any = import_module("numpy")

    memory = _map(image)
    pages = numpy.frombuffer(memory, dtype=numpy.uint64).reshape(-1, PAGE // 8)
    own = threading.local()

    def compress(first: int) -> bytes:
        compressor = getattr(own, "compressor", None)
        if compressor is None:
            compressor = own.compressor = zstandard.ZstdCompressor(level=1)
        task = pages[first : first + TASK_PAGES]
        content = numpy.flatnonzero(task.any(axis=1))
        return b"".join([compressor.compress(task[i]) for i in content])

    pending: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(threads) as executor, output.open("wb") as file:
        for first in range(0, len(pages), TASK_PAGES):
            if len(pending) == threads * TASKS_PER_THREAD:
                file.write(pending.popleft().result())
            pending.append(executor.submit(compress, first))
        for future in pending:
            file.write(future.result())


def blosc2_zstd(image: Path, output: Path, threads: int) -> None:
    """blosc2's own file, with a page for a block; zeros take no space in it."""
    blosc2: Any = import_module("blosc2")

    memory = _map(image)
    schunk = blosc2.SChunk(
        chunksize=CHUNK_BYTES,
        contiguous=True,
        urlpath=str(output),
        cparams={
            "codec": blosc2.Codec.ZSTD,
            "clevel": 1,
            "blocksize": PAGE,
            "typesize": 1,
            "filters": [blosc2.Filter.NOFILTER],
            "splitmode": blosc2.SplitMode.NEVER_SPLIT,
            "nthreads": threads,
        },
    )
    with memoryview(memory) as view:
        for offset in range(0, len(view), CHUNK_BYTES):
            schunk.append_data(view[offset : offset + CHUNK_BYTES])


PEERS: dict[str, Callable[[Path, Path, int], None]] = {
    "zstandard-multi": zstandard_multi,
    "executor-zstandard": executor_zstandard,
    "blosc2-zstd": blosc2_zstd,
}

if __name__ == "__main__":
    _, peer, image_path, output_path, threads_text = sys.argv
    PEERS[peer](Path(image_path), Path(output_path), int(threads_text))
