# SPDX-License-Identifier: LGPL-2.1-or-later
"""The summary of a run for programs.

Schema ``migcomp.run/1``: keys are lower-case with hyphens, sizes bytes, times
seconds (``-ns`` nanoseconds), shares and rates plain numbers, null what so few
requests cannot tell.  ``busy-share`` is of the requests, QEMU's ``busy-rate`` of
the pages.  ``ram`` and ``compression`` hold QEMU's figures under their QMP names and
definitions.  Keys are only ever added; a change of meaning makes a new schema.
"""

from __future__ import annotations

from migcomp.records import to_record
from migcomp.report.advice import advice
from migcomp.report.classes import counts_by_name, framing_bytes, page_classes
from migcomp.results import Block, RunResult

SCHEMA = "migcomp.run/1"


def block_to_json(block: Block) -> dict[str, object]:
    return {
        "name": block.name,
        "length": block.length,
        "guest-address": block.guest_address,
    }


def to_json(result: RunResult) -> dict[str, object]:
    """All of ``result`` in types that ``json.dumps`` takes."""
    settings, queue, times = result.settings, result.queue, result.request_times
    return {
        "schema": SCHEMA,
        "operation": result.operation,
        "image": {
            "path": result.image,
            "bytes": result.image_bytes,
            "missing-bytes": result.missing_bytes,
            "digest": f"{result.image_digest:016x}",
            "blocks": list(map(block_to_json, result.blocks)),
        },
        "stream": {
            "path": result.stream,
            "bytes": result.stream_bytes,
            "lost-bytes": result.lost_bytes,
            "framing-bytes": framing_bytes(result, settings.page_size),
        },
        "ram": {
            "transferred": result.stream_bytes,
            "total": result.image_bytes,
            "duplicate": result.duplicate,
            "normal": result.pages.normal,
            "normal-bytes": result.normal_bytes,
            "page-size": settings.page_size,
            "mbps": result.mbps,
            "pages-per-second": round(result.pages_per_second),
        },
        "compression": {
            "pages": result.pages.compressed,
            "busy": queue.busy,
            "busy-rate": result.busy_rate,
            "compressed-size": result.compressed_size,
            "compression-rate": result.compression_rate,
        },
        "image-rate": result.image_rate,
        "classes": {
            row.name: {
                "pages": row.pages,
                "guest-bytes": row.guest_bytes,
                "stream-bytes": row.stream_bytes,
            }
            for row in page_classes(result, settings.page_size)
        },
        "throughput": {
            "guest-bytes-per-second": result.image_bytes_per_second,
            "nonzero-bytes-per-second": result.nonzero_bytes_per_second,
            "stream-bytes-per-second": result.stream_bytes_per_second,
        },
        "time": {
            "wall-seconds": result.wall_seconds,
            "cpu-seconds": result.cpu_seconds,
            "submitter-cpu-seconds": result.submitter_cpu_seconds,
            "cpu-seconds-per-gib": result.cpu_seconds_per_gib,
        },
        "workers": [
            {
                "requests": worker.requests,
                "cpu-seconds": worker.cpu_seconds,
                "sleeps": worker.sleeps,
                "spins": worker.spins,
                "wakeups": worker.wakeups,
            }
            for worker in result.workers
        ],
        "queue": {
            "requests": queue.requests,
            "submitted": queue.submitted,
            "busy": queue.busy,
            "busy-share": queue.busy_share,
            "waits": queue.waits,
            "spins": queue.spins,
            "wakeups": queue.wakeups,
            "depth-mean": queue.depth_mean,
            "depth-max": queue.depth_max,
        },
        "request-times-ns": {
            "p50": times.p50,
            "p90": times.p90,
            "p99": times.p99,
            "p99.9": times.p999,
            "most": times.most,
        },
        "settings": {
            "codec": settings.codec,
            "level": settings.level,
            "grouping": settings.grouping,
            "packet-pages": settings.packet_pages,
            "request-pages": settings.request_pages,
            "channels": settings.channels,
            "dedup": settings.dedup,
            "threads": settings.threads,
            "requests-per-thread": settings.requests_per_thread,
            "handler": settings.handler,
        },
        "codec": to_record(result.codec),
        "machine": to_record(result.machine),
        "regions": [
            {
                "first-page": region.first_page,
                "pages": counts_by_name(region.pages),
                "stream-bytes": region.bytes_out,
            }
            for region in result.regions
        ],
        "notes": list(advice(result)),
    }
