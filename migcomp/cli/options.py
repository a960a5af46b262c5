# SPDX-License-Identifier: LGPL-2.1-or-later
"""Options and types of values that several commands share."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from migcomp.results import Block
from migcomp.units import parse_size

# Generic since click 8.2 only.
if TYPE_CHECKING:
    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Size(_Type):
    """Bytes, as in 4096, 64KiB or 4GiB."""

    name = "size"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class PageSize(Size):
    """A size that a guest's pages may have."""

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        from migcomp.images.image import PAGE_SIZES

        size = super().convert(value, param, ctx)
        if size not in PAGE_SIZES:
            shown = ", ".join(map(str, PAGE_SIZES))
            self.fail(f"{value!r} is none of {shown}", param, ctx)
        return size


class Count(_Type):
    """A positive number, no greater than what ``most`` gives."""

    name = "number"

    def __init__(self, most: Callable[[], int] = lambda: sys.maxsize) -> None:
        self._most = most

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        if isinstance(value, int):
            return value
        if not value.isdecimal() or not int(value):
            self.fail(f"{value!r} is not a positive number", param, ctx)
        if int(value) > self._most():
            self.fail(f"{value} is more than {self._most()}", param, ctx)
        return int(value)


class CountList(_Type):
    """Positive numbers, no greater than what ``most`` gives: 4, 1,2,4 or 1-4."""

    name = "numbers"

    def __init__(self, most: Callable[[], int]) -> None:
        self._count = Count(most)

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        numbers: dict[int, None] = {}
        for part in value.split(","):
            first, dash, last = part.partition("-")
            start = self._count.convert(first, param, ctx)
            end = self._count.convert(last, param, ctx) if dash else start
            if end < start:
                self.fail(f"{part!r} runs backwards", param, ctx)
            numbers.update(dict.fromkeys(range(start, end + 1)))
        return tuple(numbers)


class Address(Size):
    """A guest address: hexadecimal with 0x, or as a size."""

    name = "address"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        if isinstance(value, str) and re.fullmatch(r"0[xX][0-9a-fA-F]+", value):
            return int(value, 16)
        return super().convert(value, param, ctx)


class RamBlock(_Type):
    """NAME:GUEST_ADDRESS:SIZE; the name may hold colons, as QEMU's do."""

    name = "block"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Block:
        if isinstance(value, Block):
            return value
        parts = value.rsplit(":", 2)
        if len(parts) != 3 or not parts[0]:
            self.fail(
                f"{value!r} is not of the form NAME:GUEST_ADDRESS:SIZE, such as "
                "pc.ram:0:4GiB or pc.ram:0x100000000:4GiB",
                param,
                ctx,
            )
        address = Address().convert(parts[1], param, ctx)
        length = Address().convert(parts[2], param, ctx)
        return Block(parts[0], length, address)


class CpuList(_Type):
    """CPU numbers as taskset writes them: 0,1 or 0-3,6."""

    name = "cpus"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        cpus: list[int] = []
        for part in value.split(","):
            first, dash, last = part.partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                self.fail(
                    f"{value!r} is not a list of CPUs such as 0,1 or 0-3", param, ctx
                )
            end = int(last) if dash else int(first)
            cpus += range(int(first), end + 1)
        usable = os.sched_getaffinity(0)
        if not cpus or not usable.issuperset(cpus):
            shown = ",".join(map(str, sorted(usable)))
            self.fail(
                f"{value!r} names others than the usable CPUs {shown}", param, ctx
            )
        return tuple(cpus)


class Name(_Type):
    """One of several names, which are looked up only when they are needed."""

    def __init__(self, name: str, names: Callable[[], Sequence[str]]) -> None:
        self.name = name
        self._names = names

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        names = self._names()
        if value not in names:
            self.fail(f"{value!r} is not one of {', '.join(names)}", param, ctx)
        return str(value)

    def get_metavar(
        self, param: click.Parameter, ctx: click.Context | None = None
    ) -> str:
        return "|".join(self._names())

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(n) for n in self._names() if n.startswith(incomplete)]


class NameList(Name):
    """Several of the names, with commas between them."""

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        if isinstance(value, tuple):
            return value
        named = (super(NameList, self).convert(n, param, ctx) for n in value.split(","))
        return tuple(dict.fromkeys(named))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before, comma, name = incomplete.rpartition(",")
        items = super().shell_complete(ctx, param, name)
        return [CompletionItem(f"{before}{comma}{item.value}") for item in items]


def max_threads() -> int:
    from migcomp.workqueue import MAX_THREADS

    return MAX_THREADS


def max_requests() -> int:
    from migcomp.workqueue import MAX_REQUESTS

    return MAX_REQUESTS


def threads_option(function: _Function) -> _Function:
    return click.option(
        "-t",
        "--threads",
        "--compress-threads",
        "threads",
        type=Count(max_threads),
        metavar="N",
        help="Worker threads.  [default: one for each usable CPU]",
    )(function)


def handler_option(function: _Function) -> _Function:
    return click.option(
        "--handler",
        default="",
        metavar="MODULE:FACTORY",
        help="Use a codec in Python: package.module:factory.",
    )(function)


def _formats() -> Sequence[str]:
    from migcomp.images.open import formats

    return formats()


def format_option(function: _Function) -> _Function:
    return click.option(
        "--format",
        "image_format",
        type=Name("format", _formats),
        metavar="FORMAT",
        help="Take the image for this format; ? lists them.  [default: what its "
        "content tells]",
    )(function)


def diff_option(function: _Function) -> _Function:
    return click.option(
        "--diff",
        "diffs",
        type=click.Path(),
        multiple=True,
        metavar="FILE",
        help="Lay a diff of a raw image over it: a sparse file of the same size, whose "
        "holes stand for unchanged memory.  Repeat it, the oldest diff first.",
    )(function)


def force_option(function: _Function) -> _Function:
    return click.option(
        "--force", is_flag=True, help="Replace the output if it exists."
    )(function)


def report_options(function: _Function) -> _Function:
    """--json, --quiet and --color: what a command prints, and how."""
    for option in (color_option, quiet_option, json_option):
        function = option(function)
    return function


def quiet_option(function: _Function) -> _Function:
    return click.option(
        "-q", "--quiet", is_flag=True, help="Print errors only (and --json)."
    )(function)


def json_option(function: _Function) -> _Function:
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object instead."
    )(function)


def color_option(function: _Function) -> _Function:
    return click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Colour the report; auto: on a terminal without NO_COLOR.",
    )(function)
