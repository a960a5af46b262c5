# SPDX-License-Identifier: LGPL-2.1-or-later
"""Types of options' values, which several commands share."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from migcomp.units import SIZE_MAX, parse_size, quoted, shortened

if TYPE_CHECKING:
    from migcomp.results import Block

    # Generic since click 8.2 only.
    ValueType = click.ParamType[Any]
else:
    ValueType = click.ParamType


class _File(click.Path):
    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        if not os.fspath(value):  # a variable that is not set, most likely
            self.fail("an empty name is no file's", param, ctx)
        return super().convert(value, param, ctx)


#: A file, whose errors are told by what opens it.
FILE = _File(readable=False)


class Number(click.FloatRange):
    """A number in a range; NaN, which compares with nothing, is in none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{quoted(str(value))} is not a number", param, ctx)
        return number


class Milliseconds(ValueType):
    """Whole milliseconds in a range, as in 300, 300ms or 0.3s."""

    name = "time"

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?(ms|s)?", value.strip())
        if match is None:
            self.fail(
                f"{quoted(value)} is not a time such as 300ms or 0.3s", param, ctx
            )
        number = round(float(match[1]) * (1000 if match[2] == "s" else 1))
        if not self._least <= number <= self._most:
            self.fail(
                f"{quoted(value)} is not in the range of {self._least} to "
                f"{self._most} ms",
                param,
                ctx,
            )
        return number


class Size(ValueType):
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
            self.fail(f"{quoted(str(value))} is none of {shown}", param, ctx)
        return size


def _whole_number(text: str) -> int | None:
    """None for what is none; those of more than 20 digits lose the rest of them."""
    if not (text.isascii() and text.isdecimal()):
        return None
    return int(text.lstrip("0")[:21] or "0")


class Count(ValueType):
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
        number = _whole_number(value)
        if not number:
            self.fail(f"{quoted(value)} is not a positive number", param, ctx)
        if number > self._most():
            self.fail(f"{shortened(value)} is more than {self._most()}", param, ctx)
        return number


class CountList(ValueType):
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
            if dash and not (first and last):
                self.fail(f"{quoted(part)} is no range, such as 1-4", param, ctx)
            start = self._count.convert(first, param, ctx)
            end = self._count.convert(last, param, ctx) if dash else start
            if end < start:
                self.fail(f"{quoted(part)} runs backwards", param, ctx)
            numbers.update(dict.fromkeys(range(start, end + 1)))
        return tuple(numbers)


class RamBlock(ValueType):
    """NAME:GUEST_ADDRESS:SIZE; the name may hold colons, as QEMU's do."""

    name = "block"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Block:
        from migcomp.results import Block

        if isinstance(value, Block):
            return value
        parts = value.rsplit(":", 2)
        if len(parts) != 3 or not parts[0]:
            self.fail(
                f"{quoted(value)} is not of the form NAME:GUEST_ADDRESS:SIZE, such as "
                "pc.ram:0:4GiB or pc.ram:0x100000000:4GiB",
                param,
                ctx,
            )
        address = _address(parts[1])
        if address is None:
            self.fail(
                f"{quoted(parts[1])} is not a guest address such as 0, 0x100000000 or "
                "4GiB",
                param,
                ctx,
            )
        length = _address(parts[2])
        if length is None:
            self.fail(
                f"{quoted(parts[2])} is not a size such as 4096, 64KiB or 0x10000",
                param,
                ctx,
            )
        return Block(parts[0], length, address)


def _address(text: str) -> int | None:
    """Hexadecimal with 0x, or a size; None for what is neither, or too large."""
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
        address = int(text, 16)
        return address if address <= SIZE_MAX else None
    try:
        return parse_size(text)
    except ValueError:
        return None


class CpuList(ValueType):
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
        usable = os.sched_getaffinity(0)
        for part in value.split(","):
            first, dash, last = part.partition("-")
            start = _whole_number(first)
            end = _whole_number(last) if dash else start
            if start is None or end is None:
                self.fail(
                    f"{quoted(value)} is not a list of CPUs such as 0,1 or 0-3",
                    param,
                    ctx,
                )
            if end < start:
                self.fail(
                    f"{quoted(part)} runs backwards; write {end}-{start}", param, ctx
                )
            if not {start, end} <= usable or not usable.issuperset(range(start, end)):
                shown = ",".join(map(str, sorted(usable)))
                self.fail(
                    f"{quoted(value)} names others than the usable CPUs {shown}",
                    param,
                    ctx,
                )
            cpus += range(start, end + 1)
        return tuple(cpus)


class Name(ValueType):
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
            self.fail(f"{quoted(value)} is not one of {', '.join(names)}", param, ctx)
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
