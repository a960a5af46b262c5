# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp bench sweep``: all settings with all images, again and again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from migcomp.cli.bench.forms import Form, form_options, print_sweep
from migcomp.cli.bench.lists import LevelList
from migcomp.cli.bench.sweep_progress import SweepProgress
from migcomp.cli.files import STANDARD, writing
from migcomp.cli.options import (
    given,
    image_format_option,
    image_options,
    max_threads,
)
from migcomp.cli.progress import opening
from migcomp.cli.summary import tell
from migcomp.cli.types import FILE, Count, CountList, NameList

if TYPE_CHECKING:
    from migcomp.bench.sweep_plan import Expansion, Lists
    from migcomp.results import Block


def _codecs() -> Sequence[str]:
    from migcomp.codecs import CODECS

    return CODECS


def _groupings() -> Sequence[str]:
    from migcomp.codecs import GROUPINGS

    return GROUPINGS


@click.command(short_help="Compress images in many ways, in rounds.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=FILE)
@click.option(
    "-o",
    "--output",
    metavar="RESULTS",
    type=FILE,
    required=True,
    help="Append the samples there; of a sweep that was interrupted, go on with it.",
)
@click.option(
    "--set",
    "set_name",
    type=click.Choice(["quick", "standard", "full"]),
    default="standard",
    show_default=True,
    help="Which settings.",
)
@click.option(
    "--plan",
    "plan_file",
    type=FILE,
    metavar="FILE",
    help="Settings from a TOML file instead: rounds, and tables [[sweep]] of codec, "
    "level, grouping, threads and dedup.",
)
@click.option(
    "-c",
    "--codec",
    "codecs",
    type=NameList("codecs", _codecs),
    metavar="LIST",
    help="Instead of the set's, as in zstd,lz4.",
)
@click.option(
    "-l",
    "--level",
    "levels",
    type=LevelList(),
    metavar="LIST",
    help="Instead of the set's, as in 1,3 or 1-9; each codec takes those it has.",
)
@click.option(
    "-g",
    "--grouping",
    "groupings",
    type=NameList("groupings", _groupings),
    metavar="LIST",
    help="Instead of the set's, as in page,packet.",
)
@click.option(
    "-t",
    "--threads",
    type=CountList(max_threads),
    metavar="LIST",
    help="Instead of the set's, as in 1,2,4 or 1-4.",
)
@click.option(
    "--dedup",
    type=click.Choice(["no", "yes", "both"]),
    help="Send equal pages once; instead of the set's.",
)
@click.option(
    "--rounds",
    type=Count(),
    metavar="N",
    help="Counted rounds, after one that warms up; 5 or more.  [default: 5]",
)
@image_format_option
@image_options
@click.option(
    "--executor",
    default="",
    metavar="WHERE",
    help="Have the samples taken in processes:N, or by the Dask cluster "
    "dask://HOST:PORT.  [default: this process]",
)
@form_options
def command(
    images: tuple[str, ...],
    output: str,
    set_name: str,
    plan_file: str | None,
    codecs: tuple[str, ...] | None,
    levels: tuple[int, ...] | None,
    groupings: tuple[str, ...] | None,
    threads: tuple[int, ...] | None,
    dedup: str | None,
    rounds: int | None,
    image_format: str | None,
    page_size: int,
    layout: tuple[Block, ...],
    diffs: tuple[str, ...],
    pad: bool,
    executor: str,
    form: Form,
) -> None:
    """Compress each IMAGE in all ways of a set, in interleaved rounds.

    Every setting is run once to warm up and then once in each round, and every
    sample is kept in RESULTS as soon as it is there.  Ctrl-C loses the run under way
    only: the same command goes on.

    What is said of an image (--image-format, --page-size, --block, --diff, --pad) is
    said of each.

    \b
    Sets:
      quick     zstd, lz4 and zlib at level 1, page by page and in packets
      standard  more levels, all groupings, and 1, 2, 4... threads
      full      fast and slow levels too, and deduplication
    """
    from migcomp.bench.executors import place_of
    from migcomp.bench.results_file import ResultsFile
    from migcomp.bench.sweep import run_sweep, swept_image
    from migcomp.bench.sweep_machine import sweep_machine
    from migcomp.bench.sweep_plan import ROUNDS_LEAST, ROUNDS_MOST, Lists
    from migcomp.bench.sweep_results import SweepPlan
    from migcomp.errors import ResultsError

    try:
        place = place_of(executor)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if STANDARD in images:
        raise click.UsageError("standard input can be read only once; name a file")
    if output == STANDARD:
        raise click.UsageError("a sweep that can go on needs a file; name one for -o")
    if len(set(images)) < len(images):
        raise click.UsageError("an image is named twice")
    lists = Lists(codecs, levels, groupings, threads, _DEDUP.get(dedup or ""))
    settings, planned = _settings(set_name, plan_file, lists)
    rounds = rounds or planned or ROUNDS_LEAST
    if not ROUNDS_LEAST <= rounds <= ROUNDS_MOST:
        raise click.UsageError(
            f"a sweep takes {ROUNDS_LEAST} to {ROUNDS_MOST} rounds: fewer cannot tell "
            "noise from differences"
        )
    for reason in settings.left_out:
        tell(f"left out: {reason}", quiet=form.quiet)
    swept = []
    for path in images:
        with opening(path, quiet=form.quiet, color=form.color) as told:
            swept.append(
                swept_image(
                    path,
                    page_size,
                    told,
                    given_format=image_format,
                    layout=layout,
                    diffs=diffs,
                    pad=pad,
                )
            )
    plan = SweepPlan(tuple(swept), settings.settings, rounds)
    progress = SweepProgress(form.quiet, form.color)
    with place as workers, writing(output), ResultsFile(output, plan) as file:
        if workers.here:
            file.check_machine(sweep_machine())
            for notice in settings.notices:
                tell(notice, quiet=form.quiet)
        if len(file.sweep.samples) == file.sweep.wanted:
            tell(f"{output} has all samples already", quiet=form.quiet)
        try:
            with progress:
                sweep = run_sweep(
                    file, workers.runner, width=workers.width, told=progress.update
                )
        except ResultsError:
            raise
        except BaseException:
            with suppress(ResultsError):
                tell(_how_far(output), quiet=False)
            raise
    print_sweep(sweep, form)


def _how_far(path: str) -> str:
    """For one who stops before the end."""
    from migcomp.bench.results_file import read_results

    sweep = read_results(path)
    return (
        f"{path} has {len(sweep.samples):,} of {sweep.wanted:,} samples; the same "
        "command goes on from there"
    )


_DEDUP = {"no": (False,), "yes": (True,), "both": (False, True)}


def _settings(
    set_name: str, plan_file: str | None, lists: Lists
) -> tuple[Expansion, int | None]:
    """The settings, and the rounds that a file tells."""
    from migcomp.bench.plan_file import read_plan
    from migcomp.bench.sweep_plan import named_set, narrowed, settings_of

    rounds = None
    if plan_file is None:
        products = named_set(set_name)
    else:
        if given("set_name"):
            raise click.UsageError("--plan takes the place of --set; give one of them")
        plan = read_plan(plan_file)
        products, rounds = plan.products, plan.rounds
    needed = plan_file is not None or lists.codecs is not None
    try:
        settings = settings_of(narrowed(products, lists), lists.levels, needed=needed)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return settings, rounds
