# SPDX-License-Identifier: LGPL-2.1-or-later
"""One fixed run, and its report as text."""

from __future__ import annotations

import io

from rich.console import Console

from migcomp.report.terminal import render
from migcomp.results import (
    Block,
    CodecInfo,
    Machine,
    PageCounts,
    Queue,
    Region,
    RequestTimes,
    RunResult,
    Settings,
    Worker,
)

MIB = 2**20


def a_region(number: int) -> Region:
    """128 pages whose class goes round with ``number``."""
    first = number * 128
    match number % 8:
        case 0 | 1:
            return Region(first, PageCounts(zero=128), 40)
        case 2:
            return Region(first, PageCounts(zero=8, same_filled=120), 1200)
        case 3:
            return Region(first, PageCounts(zero=28, deduplicated=100), 1000)
        case 4:
            return Region(first, PageCounts(zero=64, compressed=64), 60_000)
        case 5:
            return Region(first, PageCounts(compressed=128), 200_000)
        case 6:
            return Region(first, PageCounts(compressed=128), 300_000)
        case _:
            return Region(first, PageCounts(compressed=28, normal=100), 450_000)


def a_result() -> RunResult:
    """A run over 128 MiB with pages of all classes."""
    regions = tuple(a_region(number) for number in range(256))
    pages = PageCounts(
        **{
            name: sum(getattr(region.pages, name) for region in regions)
            for name in ("zero", "same_filled", "deduplicated", "normal", "compressed")
        }
    )
    return RunResult(
        operation="run",
        image="guests/paused.raw",
        stream="out/paused.migc",
        blocks=(Block("pc.ram", 128 * MIB, 0),),
        settings=Settings(
            codec="zstd",
            level=1,
            grouping="packet",
            page_size=4096,
            packet_pages=128,
            request_pages=128,
            channels=0,
            dedup=True,
            threads=2,
            requests_per_thread=4,
        ),
        codec=CodecInfo("zstd", "libzstd", "1.5.4", "libzstd.so.1"),
        pages=pages,
        image_bytes=128 * MIB,
        stream_bytes=33_000_000,
        compressed_bytes=19_800_000,
        compressed_blocks=160,
        image_digest=0x0123456789ABCDEF,
        wall_seconds=0.296,
        submitter_cpu_seconds=0.0141,
        workers=(
            Worker(130, 0.2801, 12, 340, 11),
            Worker(126, 0.2794, 9, 281, 9),
        ),
        queue=Queue(256, 256, 239, 91, 1200, 90, 7.21, 8),
        request_times=RequestTimes(
            2_100_000, 3_000_000, 3_400_000, 3_600_000, 3_600_000
        ),
        machine=Machine("Example CPU 3000", 2, 8 * 2**30, "Linux 6.1", "3.11.2", 0.42),
        regions=regions,
    )


def text_of(result: RunResult, width: int = 80) -> str:
    """The report without colours; no line of it ends with a blank."""
    file = io.StringIO()
    render(result, Console(file=file, width=width, color_system=None))
    lines = file.getvalue().splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    return "\n".join(lines)
