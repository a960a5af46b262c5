# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every sample of a sweep as a table, a row each, in files that other programs read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from typing import Any, BinaryIO, get_type_hints

from migcomp.bench.sweep_results import (
    WARM_UP,
    Setting,
    Sweep,
    SweepSample,
    SweptImage,
)
from migcomp.errors import OutputError
from migcomp.records import hyphened
from migcomp.report.classes import counts_by_name
from migcomp.report.printable import printable
from migcomp.report.tables import Column, FigureTable, Value, to_csv
from migcomp.results import PageCounts, Queue, RequestTimes, RunResult
from migcomp.stream.sink import write_all


@dataclass(frozen=True)
class _Taken:
    """A sample, and what its numbers stand for."""

    sample: SweepSample
    image: SweptImage
    setting: Setting
    host: str

    @property
    def result(self) -> RunResult:
        return self.sample.result


@dataclass(frozen=True)
class _Figure:
    """A column; ``kind`` is the type of its values, which may allow None."""

    kind: Any
    of: Callable[[_Taken], Value]


def _fields(kind: type, name: str, where: str) -> dict[str, _Figure]:
    """Of a dataclass that _Taken has there; ``name`` makes a column's of a field's."""
    return {
        name.format(hyphened(field)): _Figure(hint, attrgetter(f"{where}.{field}"))
        for field, hint in get_type_hints(kind).items()
    }


_FIGURES = {
    "image": _Figure(str, lambda taken: taken.image.path),
    "image-format": _Figure(str, lambda taken: taken.image.format),
    "image-digest": _Figure(str, lambda taken: f"{taken.result.image_digest:016x}"),
    **_fields(Setting, "{}", "setting"),
    "round": _Figure(int, lambda taken: taken.sample.round),
    "warm-up": _Figure(bool, lambda taken: taken.sample.round == WARM_UP),
    "host": _Figure(str, lambda taken: taken.host),
    "machine": _Figure(str, lambda taken: taken.sample.machine),
    "pid": _Figure(int, lambda taken: taken.sample.pid),
    "started": _Figure(str, lambda taken: taken.sample.started),
    "load": _Figure(float, lambda taken: taken.sample.load),
    "cached-share": _Figure(float, lambda taken: taken.sample.cached_share),
    "provider": _Figure(str, lambda taken: taken.result.codec.provider),
    "provider-version": _Figure(str, lambda taken: taken.result.codec.version),
    "image-bytes": _Figure(int, lambda taken: taken.result.image_bytes),
    "stream-bytes": _Figure(int, lambda taken: taken.result.stream_bytes),
    "compressed-bytes": _Figure(int, lambda taken: taken.result.compressed_bytes),
    "compressed-blocks": _Figure(int, lambda taken: taken.result.compressed_blocks),
    **{
        f"{name}-pages": _Figure(
            int, attrgetter(f"result.pages.{name.replace('-', '_')}")
        )
        for name in counts_by_name(PageCounts())
    },
    "rate": _Figure(float, lambda taken: taken.result.image_rate),
    "compression-rate": _Figure(float, lambda taken: taken.result.compression_rate),
    "wall-seconds": _Figure(float, lambda taken: taken.result.wall_seconds),
    "guest-bytes-per-second": _Figure(
        float, lambda taken: taken.result.image_bytes_per_second
    ),
    "cpu-seconds": _Figure(float, lambda taken: taken.result.cpu_seconds),
    "submitter-cpu-seconds": _Figure(
        float, lambda taken: taken.result.submitter_cpu_seconds
    ),
    **_fields(Queue, "queue-{}", "result.queue"),
    **_fields(RequestTimes, "request-{}-ns", "result.request_times"),
}


def sample_table(sweep: Sweep) -> FigureTable:
    """Columns are those that docs/benchmarking.md describes."""
    hosts = {machine.id: machine.host for machine in sweep.machines}
    images, settings = sweep.plan.images, sweep.plan.settings
    taken = [
        _Taken(s, images[s.image], settings[s.setting], hosts[s.machine])
        for s in sweep.samples
    ]
    rows = [
        {key: _printable(figure.of(each)) for key, figure in _FIGURES.items()}
        for each in taken
    ]
    return FigureTable("sample", tuple(Column(key, "") for key in _FIGURES), rows)


def _printable(value: Value) -> Value:
    """Names of files may be no text at all."""
    return printable(value) if isinstance(value, str) else value


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
    # Not the types that arrow guesses: a column may be empty in this file.
    types = {
        str: arrow.string(),
        bool: arrow.bool_(),
        int: arrow.int64(),
        int | None: arrow.int64(),
        float: arrow.float64(),
    }
    schema = arrow.schema([(key, types[f.kind]) for key, f in _FIGURES.items()])
    rows = [dict(row) for row in table.rows]
    parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), file)


WRITERS: dict[str, Callable[[FigureTable, BinaryIO], None]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}
