# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp simulate``: a live migration on a virtual clock."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import click

from migcomp.cli.combinations import check_combination
from migcomp.cli.files import STANDARD, check_distinct, check_input, writing
from migcomp.cli.fleet import (
    check_fleet_options,
    fleet_options,
    simulate_fleet,
)
from migcomp.cli.guest import GuestChoice, guest_options
from migcomp.cli.migration_options import (
    link_option,
    migration_options,
    parameters_of,
)
from migcomp.cli.options import color_option, force_option, json_option, quiet_option
from migcomp.cli.progress import reading, rounds
from migcomp.cli.summary import beside, print_json
from migcomp.cli.types import FILE, Name, Number, PageSize

if TYPE_CHECKING:
    from migcomp.precopy.results import SimulationResult

_FORMATS = ("text", "json", "qmp", "hmp", "virsh")


def _codecs() -> Sequence[str]:
    from migcomp.codecs import CODECS

    return CODECS


def _engines() -> Sequence[str]:
    from migcomp.precopy.engines.choice import ENGINES

    return ENGINES


@click.command(short_help="Simulate a live migration.")
@click.argument("images", metavar="IMAGE...", type=FILE, nargs=-1)
@link_option(required=False)
@click.option(
    "--latency",
    type=Number(0, 10_000),
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
    type=Name("codec", _codecs),
    help="Of the engine; see migcomp codecs.  [default: zlib with compress, none with "
    "multifd, zstd with others]",
)
@click.option(
    "-l",
    "--level",
    type=int,
    metavar="N",
    help="Compression level.  [default: 1]",
)
@migration_options
@guest_options
@fleet_options
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
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="text",
    show_default=True,
    help="qmp, hmp and virsh: what query-migrate, info migrate and virsh domjobinfo "
    "would print.",
)
@force_option
@json_option
@quiet_option
@color_option
def command(
    images: tuple[str, ...],
    bandwidth: float | None,
    latency: float,
    engine: str,
    codec: str | None,
    level: int | None,
    interval: float | None,
    fit: bool,
    fit_bandwidth: int | None,
    replay: bool,
    dirty_rate: int | None,
    working_set: int | None,
    skew: float,
    bytes_changed: int,
    fake_dirty: float,
    fleet: str | None,
    policy: str | None,
    parallel: int | None,
    costs_file: str | None,
    save_costs: str | None,
    page_size: int,
    form: str,
    force: bool,
    as_json: bool,
    quiet: bool,
    color: str,
    **qmp: Any,
) -> None:
    """Migrate a guest whose memory is IMAGE over a link, as QEMU would, and report.

    Several IMAGEs are snapshots of one guest, the oldest first: it writes what
    they differ in.  With one IMAGE only, it writes nothing, unless --dirty-rate
    says what.

    With --fleet, whole hosts are emptied instead: many guests, whose migrations
    share links and CPUs.  docs/fleet.md describes the file.

    Nothing leaves this machine: the link's time is computed, pages are really
    compressed, and decoded on the other side, which must be equal in the end.

    \b
    Engines:
      none      the migration thread sends pages as they are
      compress  QEMU's compress-threads: a page to a thread (until 9.0)
      multifd   QEMU's channels; --codec none, zlib or zstd
      xbzrle    QEMU's deltas against a cache of pages
      packets   independent packets of 128 pages, on any thread
      delta     pages against what the other side has of them
      dedup     as packets; equal pages are sent once
      adaptive  as packets; codec and level are chosen for each one
    """
    from migcomp.precopy.costs import load_costs, measured_costs
    from migcomp.precopy.engines.choice import EngineChoice
    from migcomp.precopy.link import Link
    from migcomp.precopy.simulate import simulate
    from migcomp.precopy.snapshots import Snapshots

    check_fleet_options(fleet)
    if save_costs and costs_file:
        raise click.UsageError("--save-costs keeps what is measured, and --costs reads")
    if costs_file == STANDARD:
        raise click.UsageError("--costs takes a file's name, not standard input")
    if fleet is not None:
        simulate_fleet(
            fleet,
            policy,
            parallel,
            costs_file=costs_file,
            save_costs=save_costs,
            page_size=page_size,
            form="json" if as_json else form,
            force=force,
            quiet=quiet,
            color=color,
        )
        return
    assert bandwidth is not None
    choice = GuestChoice(
        images,
        interval,
        fit,
        fit_bandwidth,
        replay,
        dirty_rate,
        working_set,
        skew,
        bytes_changed,
        fake_dirty,
        page_size,
    )
    choice.check()
    parameters = parameters_of(qmp)
    check_combination(engine, codec, level, parameters)
    if as_json and form not in ("text", "json"):
        raise click.UsageError(
            f"--json and --format {form} exclude each other; give one of them"
        )
    for path in images:
        check_input(path)
        check_distinct(path, save_costs)
    with ExitStack() as stack:
        # Before the work, so that it is not done for a file that may not be written.
        sink = _sink(stack, save_costs, force=force)
        with reading(quiet=quiet, color=color) as copied:
            memory, guest = choice.open(stack, copied)
        size = memory.page_size
        costs = load_costs(costs_file, size) if costs_file else measured_costs(size)
        line = stack.enter_context(rounds(memory.pages, quiet=quiet, color=color))
        if isinstance(guest, Snapshots):
            guest.compared = line.compared
        result = simulate(
            memory,
            guest,
            EngineChoice(engine, codec, level),
            Link(bandwidth, latency / 1000),
            parameters,
            costs,
            images=images,
            watch=line.sent,
        )
        if sink is not None and save_costs is not None:
            with writing(save_costs):
                sink.write(costs.to_text().encode())
    if as_json or form != "text" or not quiet:
        _show(result, "json" if as_json else form, color, beside(save_costs))


def _sink(stack: ExitStack, path: str | None, *, force: bool) -> BinaryIO | None:
    if path is None:
        return None
    from migcomp.outputs import OutputFile

    with writing(path):
        return stack.enter_context(OutputFile(path, force=force))


def _show(result: SimulationResult, form: str, color: str, file: TextIO) -> None:
    version = result.parameters.qemu_version
    match form:
        case "json":
            from migcomp.report.simulation_json import to_json

            print_json(to_json(result), file)
        case "qmp":
            from migcomp.report.qmp import render_qmp

            _print(render_qmp(result.statistics, version), file)
        case "hmp":
            from migcomp.report.hmp import render_hmp

            _print(render_hmp(result.statistics, version), file)
        case "virsh":
            from migcomp.report.virsh import render_virsh

            _print(render_virsh(result.statistics), file)
        case _:
            from migcomp.report.console import open_console
            from migcomp.report.simulation import render

            with writing(STANDARD):
                render(result, open_console(file, color))


def _print(text: str, file: TextIO) -> None:
    with writing(STANDARD):
        print(text, end="", file=file)
