# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp simulate``: a live migration on a virtual clock."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import click

from migcomp.cli.files import STANDARD, check_input, writing
from migcomp.cli.migration_options import LINK, migration_options, parameters_of
from migcomp.cli.options import (
    FILE,
    Name,
    PageSize,
    color_option,
    force_option,
    json_option,
    quiet_option,
)
from migcomp.cli.summary import print_json


def _engines() -> Sequence[str]:
    from migcomp.precopy.engines.choice import ENGINES

    return ENGINES


def _codecs() -> Sequence[str]:
    from migcomp.codecs import CODECS

    return CODECS


@click.command(short_help="Simulate a live migration.")
@click.argument("images", metavar="IMAGE...", type=FILE, nargs=-1, required=True)
@click.option(
    "--link",
    "bandwidth",
    type=LINK,
    metavar="RATE",
    required=True,
    help="The link's bandwidth, as in 100Mbit or 10Gbit.",
)
@click.option(
    "--latency",
    type=click.FloatRange(0, 10_000),
    metavar="MS",
    default=0.0,
    help="Of the link, one way, in milliseconds.  [default: 0]",
)
@click.option(
    "--engine",
    type=Name("engine", _engines),
    default="none",
    show_default=True,
    help="What sends the pages.",
)
@click.option(
    "-c",
    "--codec",
    "--multifd-compression",
    type=Name("codec", _codecs),
    help="Of the engine; see migcomp codecs.  [default: zlib with compress, none with "
    "multifd]",
)
@click.option(
    "-l",
    "--level",
    "--compress-level",
    "--multifd-zlib-level",
    "--multifd-zstd-level",
    "level",
    type=int,
    metavar="N",
    help="Compression level.  [default: 1]",
)
@migration_options
@click.option(
    "--interval",
    type=click.FloatRange(0.001, 1e6),
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="Time between two snapshots.",
)
@click.option(
    "--replay",
    is_flag=True,
    help="IMAGE is a recorded QEMU migration stream: send what it sent, round by "
    "round.",
)
@click.option(
    "--costs",
    "costs_file",
    metavar="FILE",
    type=FILE,
    help="Take CPU times from there instead of measuring them, so that the same "
    "command gives the same result.",
)
@click.option(
    "--save-costs", metavar="FILE", type=FILE, help="Keep the CPU times measured there."
)
@click.option(
    "--page-size",
    type=PageSize(),
    default="4096",
    show_default=True,
    help="Size of the guest's pages, where the image does not tell.",
)
@force_option
@json_option
@quiet_option
@color_option
def command(
    images: tuple[str, ...],
    bandwidth: float,
    latency: float,
    engine: str,
    codec: str | None,
    level: int | None,
    interval: float,
    replay: bool,
    costs_file: str | None,
    save_costs: str | None,
    page_size: int,
    force: bool,
    as_json: bool,
    quiet: bool,
    color: str,
    **qmp: Any,
) -> None:
    """Migrate a guest whose memory is IMAGE over a link, as QEMU would, and report.

    Several IMAGEs are snapshots of one guest, the oldest first: it writes what
    they differ in.  With one IMAGE only, it writes nothing.
    Nothing leaves this machine: the link's time is computed, pages are really
    compressed, and decoded on the other side, which must be equal in the end.
    """
    from migcomp.cli.guest import open_guest
    from migcomp.precopy.costs import load_costs, measured_costs
    from migcomp.precopy.engines.choice import EngineChoice
    from migcomp.precopy.link import Link
    from migcomp.precopy.simulate import simulate

    if replay and len(images) > 1:
        raise click.UsageError("--replay takes one IMAGE, a recorded stream")
    for path in images:
        check_input(path)
    parameters = parameters_of(qmp)
    with ExitStack() as stack:
        source, guest = open_guest(
            stack, images, interval=interval, replay=replay, page_size=page_size
        )
        size = source.page_size
        costs = load_costs(costs_file, size) if costs_file else measured_costs(size)
        result = simulate(
            source,
            guest,
            EngineChoice(engine, codec, level),
            Link(bandwidth, latency / 1000),
            parameters,
            costs,
            images=images,
        )
    if save_costs:
        import json

        from migcomp.outputs import OutputFile

        with writing(save_costs), OutputFile(save_costs, force=force) as sink:
            sink.write(json.dumps(costs.to_json(), indent=2).encode() + b"\n")
    if as_json:
        from migcomp.report.simulation_json import to_json

        print_json(to_json(result))
    elif not quiet:
        from migcomp.report.console import open_console
        from migcomp.report.simulation import render

        with writing(STANDARD):
            render(result, open_console(sys.stdout, color))
