# SPDX-License-Identifier: LGPL-2.1-or-later
"""``migcomp sample``: make an image that looks like a real guest's memory."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migcomp.cli.files import STANDARD, check_output, writing
from migcomp.cli.options import color_option, force_option
from migcomp.cli.progress import Progress, progress
from migcomp.cli.types import FILE, Name, PageSize, Size
from migcomp.errors import OutputError
from migcomp.units import format_size, many

if TYPE_CHECKING:
    from migcomp.outputs import OutputFile


def _profiles() -> Sequence[str]:
    from migcomp.images.sample import PROFILES

    return tuple(PROFILES)


@click.command(short_help="Make an image like a real guest's memory.")
@click.option(
    "--profile",
    type=Name("profile", _profiles),
    default="heap",
    show_default=True,
    help="The sort of guest.",
)
@click.option("--size", type=Size(), required=True, help="As in 64MiB.")
@click.option(
    "--seed",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="The same seed makes the same image.",
)
@click.option(
    "--page-size",
    type=PageSize(),
    default="4096",
    show_default=True,
    help="Size of the guest's pages.",
)
@click.option(
    "--rounds",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    help="Make N more images, as the guest's pages get dirty second by second: "
    "FILE.1 to FILE.N.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=FILE,
    required=True,
    help="The raw image to write; - is standard output.",
)
@force_option
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@color_option
def command(
    profile: str,
    size: int,
    seed: int,
    page_size: int,
    rounds: int,
    output: str,
    force: bool,
    quiet: bool,
    color: str,
) -> None:
    """Make a memory image in the manner of a real guest.

    Bytes depend on profile, size, page size and seed alone; zero pages are holes.
    """
    from migcomp.images.sample import PROFILES, SampleImage
    from migcomp.outputs import OutputFile

    if rounds and output == STANDARD:
        raise click.UsageError("--rounds makes several files; name one with -o")
    check_output(output)
    try:
        image = SampleImage(profile, size, seed=seed, page_size=page_size)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _check_rounds(output, rounds, force=force)
    pages = size // page_size
    needed = round(size * (1 - PROFILES[profile].zero))
    with progress(
        "generating", pages * (rounds + 1), page_size, quiet=quiet, color=color
    ) as watch:
        for number in range(rounds + 1):
            name = f"{output}.{number}" if number else output
            with writing(name), OutputFile(name, force=force) as target:
                if target.is_regular:
                    _check_room(target, needed)
                writer = _Writer(target, page_size, number * pages, watch)
                writer.write(image.extents())
                for earlier in range(1, number + 1):
                    writer.write(image.dirty_round(earlier))
                writer.finish(size)
    if not quiet:
        from migcomp.report.parts import short_name

        done = f"{format_size(size)} of profile {profile} written to "
        done += short_name(output, "stdout")
        if rounds:
            done += f", and {many(rounds, 'later round')} beside it"
        click.echo(done, err=output == STANDARD)


def _check_rounds(output: str, rounds: int, *, force: bool) -> None:
    """Before the first file is made, that no later one is in the way.

    By what is in the folder, as ``rounds`` may be any number.  Raises OutputError.
    """
    from migcomp.outputs import check_free

    first = Path(output)
    there = (
        each.name.removeprefix(f"{first.name}.")
        for each in first.parent.glob(f"{glob.escape(first.name)}.[1-9]*")
    )
    numbers = (int(n) for n in there if n.isascii() and n.isdecimal())
    with writing(output):
        for number in sorted(n for n in numbers if n <= rounds):
            check_free(f"{output}.{number}", force=force)


def _check_room(target: OutputFile, needed: int) -> None:
    """Raises OutputError for what cannot be written to the end."""
    disk = os.fstatvfs(target.fileno())
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise OutputError(
            f"{target.path} would take about {format_size(needed)}, and "
            f"{format_size(free)} are free there; give a smaller --size, or write to "
            "another disk"
        )


class _Writer:
    """Leaves holes in a file, and writes zeros where there are none."""

    def __init__(
        self,
        target: OutputFile,
        page_size: int,
        pages_before: int,
        watch: Progress | None,
    ) -> None:
        self._target = target
        self._sparse = target.is_regular
        self._position = 0
        self._page_size = page_size
        self._pages_before = pages_before
        self._watch = watch

    def write(self, extents: Iterable[tuple[int, bytes]]) -> None:
        for offset, data in extents:
            self._move(offset)
            self._put(data)
            if self._watch is not None:
                pages = self._pages_before + self._position // self._page_size
                self._watch(pages, pages * self._page_size)

    def finish(self, size: int) -> None:
        if self._sparse:
            self._target.truncate(size)
        else:
            self._move(size)

    def _move(self, offset: int) -> None:
        if self._sparse:
            self._position = self._target.seek(offset)
        while self._position < offset:
            self._put(bytes(min(offset - self._position, 1 << 20)))

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._target.write(rest) :]
        self._position += len(data)
