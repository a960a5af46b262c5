# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every sample of a sweep as a table, a row each, in files that other programs read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import import_module
from typing import BinaryIO

from migcomp.bench.sweep_results import WARM_UP, Sweep, SweepSample
from migcomp.errors import OutputError
from migcomp.records import hyphened
from migcomp.report.classes import counts_by_name
from migcomp.report.printable import printable
from migcomp.report.tables import Column, FigureTable, Value, to_csv
from migcomp.stream.sink import write_all


def sample_table(sweep: Sweep) -> FigureTable:
    """Columns are those that docs/benchmarking.md describes."""
    hosts = {machine.id: machine.host for machine in sweep.machines}
    rows = [_printable(_row(sweep, sample, hosts)) for sample in sweep.samples]
    keys = list(rows[0]) if rows else []
    return FigureTable("sample", tuple(Column(key, "") for key in keys), rows)


def _printable(row: dict[str, Value]) -> dict[str, Value]:
    """Names of files may be no text at all."""
    return {k: printable(v) if isinstance(v, str) else v for k, v in row.items()}


def _row(
    sweep: Sweep, sample: SweepSample, hosts: Mapping[str, str]
) -> dict[str, Value]:
    result = sample.result
    image = sweep.plan.images[sample.image]
    return {
        "image": image.path,
        "image-format": image.format,
        "image-digest": f"{result.image_digest:016x}",
        **asdict(sweep.plan.settings[sample.setting]),
        "round": sample.round,
        "warm-up": sample.round == WARM_UP,
        "host": hosts[sample.machine],
        "machine": sample.machine,
        "pid": sample.pid,
        "started": sample.started,
        "load": sample.load,
        "cached-share": sample.cached_share,
        "provider": result.codec.provider,
        "provider-version": result.codec.version,
        "image-bytes": result.image_bytes,
        "stream-bytes": result.stream_bytes,
        "compressed-bytes": result.compressed_bytes,
        "compressed-blocks": result.compressed_blocks,
        **{f"{n}-pages": pages for n, pages in counts_by_name(result.pages).items()},
        "rate": result.image_rate,
        "compression-rate": result.compression_rate,
        "wall-seconds": result.wall_seconds,
        "guest-bytes-per-second": result.image_bytes_per_second,
        "cpu-seconds": result.cpu_seconds,
        "submitter-cpu-seconds": result.submitter_cpu_seconds,
        **{f"queue-{hyphened(n)}": v for n, v in asdict(result.queue).items()},
        **{f"request-{n}-ns": v for n, v in asdict(result.request_times).items()},
    }


# --- Files ---------------------------------------------------------------------------


def write_csv(table: FigureTable, file: BinaryIO) -> None:
    write_all(file, to_csv(table).encode())


def write_jsonl(table: FigureTable, file: BinaryIO) -> None:
    for row in table.rows:
        write_all(file, json.dumps(dict(row)).encode() + b"\n")


def write_parquet(table: FigureTable, file: BinaryIO) -> None:
    """Raises OutputError without pyarrow, OverflowError for more than 63 bits."""
    try:
        arrow, parquet = map(import_module, ("pyarrow", "pyarrow.parquet"))
    except ImportError:
        raise OutputError(
            "Parquet needs a package: pip install 'migcomp[parquet]'"
        ) from None
    found = arrow.Table.from_pylist([dict(row) for row in table.rows])
    # A column that is empty in this file has the type that it has in others.
    shares = {"cached-share": arrow.float64()}
    fields = [
        field.with_type(shares.get(field.name, arrow.int64()))
        if arrow.types.is_null(field.type)
        else field
        for field in found.schema
    ]
    parquet.write_table(found.cast(arrow.schema(fields)), file)


WRITERS: dict[str, Callable[[FigureTable, BinaryIO], None]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}
