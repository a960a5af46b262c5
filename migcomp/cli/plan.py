# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp plan``: which way to migrate."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from migcomp.cli.files import STANDARD, check_input, writing
from migcomp.cli.guest import GuestChoice
from migcomp.cli.migration_options import Version, link_option
from migcomp.cli.options import color_option, json_option, quiet_option
from migcomp.cli.progress import told
from migcomp.cli.summary import print_json
from migcomp.cli.types import FILE, Milliseconds, Number, PageSize, Size
from migcomp.plan.versions import KNOWN_SPAN

if TYPE_CHECKING:
    from migcomp.images.image import Image
    from migcomp.plan.guest import Writes
    from migcomp.plan.sample import Sample
    from migcomp.precopy.dirty import DirtySource
    from migcomp.precopy.memory import GuestMemory


@click.command(short_help="Find the best way to migrate a guest.")
@click.argument("images", metavar="IMAGE...", type=FILE, nargs=-1, required=True)
@link_option(required=True)
@click.option(
    "--downtime",
    "--downtime-limit",
    "downtime",
    type=Milliseconds(1, 2_000_000),
    metavar="MS",
    default="300",
    show_default=True,
    help="Milliseconds that the guest may be stopped for, as in 300, 300ms or 0.3s.",
)
@click.option(
    "--qemu",
    "version",
    type=Version(),
    metavar="VERSION",
    default="8.2",
    show_default=True,
    help=f"The older of the two hosts' QEMUs, {KNOWN_SPAN}.",
)
@click.option(
    "--threads-max",
    type=click.IntRange(1, 255),
    metavar="N",
    help="Threads that the source host can spare.  [default: this machine's CPUs]",
)
@click.option(
    "--dirty-rate",
    type=Size(),
    help="Memory that the guest writes in a second, as in 50MiB; QEMU's "
    "calc-dirty-rate measures it; 0: it is idle.",
)
@click.option(
    "--interval",
    type=Number(0.001, 1e6),
    metavar="SECONDS",
    help="Time between two snapshots.  [default: as migcomp capture noted, or 1]",
)
@click.option(
    "--sample-size",
    type=Size(),
    default="256MiB",
    show_default=True,
    help="Memory that is tried.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Draws another sample.",
)
@click.option(
    "--page-size",
    type=PageSize(),
    default="4096",
    show_default=True,
    help="Size of the guest's pages, where the image does not tell.",
)
@json_option
@quiet_option
@color_option
def command(
    images: tuple[str, ...],
    bandwidth: float,
    downtime: int,
    version: tuple[int, int],
    threads_max: int | None,
    dirty_rate: int | None,
    interval: float | None,
    sample_size: int,
    seed: int,
    page_size: int,
    as_json: bool,
    quiet: bool,
    color: str,
) -> None:
    """Find out how to migrate a guest whose memory is IMAGE: without compression,
    or with which one, on how many threads.

    A sample of the memory is compressed in every way that QEMU has, and the
    migration predicted. Several IMAGEs are snapshots of one guest, the oldest first,
    by which it is known what it writes.
    """
    from migcomp.images.decode import readable_again
    from migcomp.plan.plan import Question, make_plan
    from migcomp.plan.sample import PAGES_LEAST, take_sample
    from migcomp.plan.versions import Qemu
    from migcomp.precopy.costs import measured_costs
    from migcomp.precopy.link import Link
    from migcomp.units import format_size
    from migcomp.workqueue import usable_cpus

    if dirty_rate is not None and len(images) > 1:
        raise click.UsageError("give either snapshots or --dirty-rate")
    choice = GuestChoice(images, interval, dirty_rate=dirty_rate, page_size=page_size)
    choice.check()
    for path in images:
        check_input(path)
    with ExitStack() as stack, told(quiet=quiet, color=color) as watch:
        watch("reading")
        image = stack.enter_context(choice.open_one(images[0]))
        again = readable_again(image)
        if again is not image:
            stack.enter_context(again)
        page_size = again.page_size
        least = PAGES_LEAST * page_size
        if sample_size < least:
            raise click.UsageError(
                f"--sample-size must be {format_size(least)} or more"
            )
        sample = take_sample(again, sample_size // page_size, seed)
        stack.enter_context(sample.memory)
        costs = measured_costs(page_size)
        writes = _writes(stack, choice, sample)
        plan = make_plan(
            Question(
                images,
                Qemu(version),
                Link(bandwidth),
                downtime,
                threads_max or usable_cpus(),
                writes,
                _idle(choice, writes),
            ),
            sample,
            costs,
            lambda: _guest(choice, again, writes),
            watch,
        )
    if as_json:
        from migcomp.report.plan_json import to_json

        print_json(to_json(plan))
    elif not quiet:
        from migcomp.report.console import open_console
        from migcomp.report.plan import render

        with writing(STANDARD):
            render(plan, open_console(sys.stdout, color))


def _writes(stack: ExitStack, choice: GuestChoice, sample: Sample) -> Writes | None:
    from migcomp.plan.guest import writes_by_rate, writes_by_snapshots

    if choice.dirty_rate:
        page_size = sample.memory.page_size
        working_set = choice.working_set_pages(sample.image_pages, page_size)
        return writes_by_rate(choice.dirty_rate / page_size, working_set)
    if len(choice.images) > 1:
        return writes_by_snapshots(
            stack, choice.images, choice.seconds, sample, choice.open_one
        )
    return None


def _idle(choice: GuestChoice, writes: Writes | None) -> str:
    """How it is known that the guest writes nothing; empty if it is not."""
    if choice.dirty_rate == 0:
        return "as given"
    if len(choice.images) > 1 and writes is None:
        return f"its {len(choice.images)} snapshots are equal"
    return ""


@contextmanager
def _guest(
    choice: GuestChoice, image: Image, writes: Writes | None
) -> Iterator[tuple[GuestMemory, DirtySource]]:
    """As it was when it was captured; ``image`` is the first, and open."""
    from migcomp.precopy.dirty import IdleGuest
    from migcomp.precopy.dirty_model import ModelledGuest
    from migcomp.precopy.memory import GuestMemory

    with ExitStack() as stack:
        if len(choice.images) > 1:
            yield choice.open(stack)
            return
        memory = stack.enter_context(GuestMemory.copy_of(image))
        yield memory, ModelledGuest(writes.model, memory) if writes else IdleGuest()
