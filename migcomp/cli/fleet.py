# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp simulate --fleet``: whole hosts are emptied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from migcomp.cli.files import STANDARD, check_distinct, writing
from migcomp.cli.options import given
from migcomp.cli.progress import told
from migcomp.cli.summary import beside, print_json
from migcomp.cli.types import FILE, Name
from migcomp.units import format_count

if TYPE_CHECKING:
    from migcomp.fleet.costs import FleetCosts
    from migcomp.fleet.fleet import Fleet

_Function = TypeVar("_Function", bound=Callable[..., Any])
_PARALLEL_MAX = 100_000

#: Parameters of ``simulate`` that mean something for a fleet, too.
_SHARED = (
    *("costs_file", "save_costs", "page_size", "form", "force"),
    *("as_json", "quiet", "color"),
)
_OWN = ("fleet", "policy", "parallel")
_FORMS = ("text", "json")
_NEEDED_OTHERWISE = ("images", "bandwidth")


def _policies() -> Sequence[str]:
    from migcomp.fleet.fleet import POLICIES

    return POLICIES


def fleet_options(function: _Function) -> _Function:
    """--fleet, and what overrides the file's policy."""
    for option in reversed(
        (
            click.option(
                "--fleet",
                metavar="FILE",
                type=FILE,
                help="Empty the hosts that this TOML file names of all their guests, "
                "with compression and without, instead of migrating IMAGE.",
            ),
            click.option(
                "--policy",
                type=Name("policy", _policies),
                help="Of --fleet: which migrations run side by side.  [default: as "
                "the file says, or k-at-a-time]",
            ),
            click.option(
                "--parallel",
                type=click.IntRange(1, _PARALLEL_MAX),
                metavar="K",
                help="Of --fleet: so many migrations at a time from each host, with "
                "k-at-a-time and smallest-first.  [default: as the file says, or 2]",
            ),
        )
    ):
        function = option(function)
    return function


def check_fleet_options(fleet: str | None) -> None:
    """What fits only one of the two does not stand beside the other, and what one
    needs is there.  Raises UsageError."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if fleet is None:
            if name in _NEEDED_OTHERWISE and not context.params[name]:
                raise click.MissingParameter(ctx=context, param=parameter)
            if name in _OWN and given(name):
                raise click.UsageError(f"--{name} is of a fleet; give --fleet, too")
        elif given(name) and name not in _SHARED and name not in _OWN:
            if name == "images":
                raise click.UsageError(
                    "give either IMAGE or --fleet, whose file names the images"
                )
            raise click.UsageError(
                f"{parameter.opts[-1]} has no meaning with --fleet; its file tells that"
            )


def simulate_fleet(
    path: str,
    policy: str | None,
    parallel: int | None,
    *,
    costs_file: str | None,
    save_costs: str | None,
    page_size: int,
    form: str,
    force: bool,
    quiet: bool,
    color: str,
) -> None:
    """Read the fleet, measure or load costs, evacuate, and report."""
    from migcomp.fleet.costs import load_fleet_costs, measure_fleet
    from migcomp.fleet.evacuate import evacuate
    from migcomp.fleet.file import read_fleet

    if form not in _FORMS:
        raise click.UsageError(f"--format {form} is of one migration, not of a fleet")
    if path == STANDARD:
        raise click.UsageError(
            "--fleet takes a file's name: images are looked for beside it"
        )
    fleet = _with_policy(read_fleet(path, page_size), policy, parallel)
    for source in (path, *(i for each in fleet.guests for i in each.memory.images)):
        check_distinct(source, save_costs)
    with ExitStack() as stack:
        # Before the work, so that it is not done for a file that may not be written.
        sink = None
        if save_costs is not None:
            from migcomp.outputs import OutputFile

            with writing(save_costs):
                sink = stack.enter_context(OutputFile(save_costs, force=force))
        tell = stack.enter_context(told(quiet=quiet, color=color))
        costs: FleetCosts
        if costs_file:
            costs = load_fleet_costs(costs_file, page_size)
        else:
            costs = measure_fleet(
                (each.memory for each in fleet.guests),
                (way.work for way in fleet.ways),
                page_size,
                tell,
            )
        result = evacuate(
            fleet,
            costs,
            lambda done, total: tell(
                f"evacuating: {format_count(done)} of {format_count(total)} guests"
            ),
        )
        if sink is not None and save_costs is not None:
            with writing(save_costs):
                sink.write(costs.to_text().encode())
    if form == "json":
        from migcomp.report.fleet_json import to_json

        print_json(to_json(result), beside(save_costs))
    elif not quiet:
        from migcomp.report.console import open_console
        from migcomp.report.fleet import render

        with writing(STANDARD):
            render(result, open_console(beside(save_costs), color))


def _with_policy(fleet: Fleet, policy: str | None, parallel: int | None) -> Fleet:
    """What the command line says instead of the file."""
    from migcomp.fleet.file import policy_of

    if policy is None and parallel is None:
        return fleet
    if parallel is None and policy != "all-at-once":
        parallel = fleet.policy.parallel
    try:
        return replace(fleet, policy=policy_of(policy or fleet.policy.name, parallel))
    except ValueError as error:
        raise click.UsageError(f"--parallel {error}") from error
