# SPDX-License-Identifier: LGPL-2.1-or-later
"""Progress on standard error, for work that a person waits for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from migcomp.units import format_count, format_rate, format_size

if TYPE_CHECKING:
    from migcomp.images.file import Watch

_PATIENCE_SECONDS = 1.0
_INTERVAL_SECONDS = 0.1

Progress = Callable[[int, int], None]
#: (what is done, how much of it, all).
Phases = Callable[[str, int, int], None]


@contextmanager
def progress(
    verb: str, pages: int | None, page_size: int, *, quiet: bool, color: str
) -> Iterator[Progress | None]:
    """Gives what the pipeline calls; None where nobody would see it.

    ``pages`` of ``page_size`` bytes are to be done; None when unknown.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    meter = _Meter(verb, pages, page_size, color)
    try:
        yield meter.update
    finally:
        meter.stop()


class _Bar:
    """Shows itself once the work has taken a while; has no thread of its own."""

    def __init__(self, verb: str, total: int | None, color: str) -> None:
        from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

        from migcomp.report.console import open_console

        self._start = time.monotonic()
        self._next = self._start + _PATIENCE_SECONDS
        self._shown = False
        columns: list[ProgressColumn] = [TextColumn(verb)]
        if total is not None:
            columns += [BarColumn(None), TextColumn("{task.percentage:>3.0f} %")]
        columns += [TextColumn("{task.fields[state]}")]
        console = open_console(sys.stderr, color, least_width=0)
        # Room for the ^C that a terminal echoes: wrapped, it could not be erased.
        console.width = max(1, console.width - 3)
        self._progress = Progress(
            *columns,
            console=console,
            auto_refresh=False,
            transient=True,
            expand=total is not None,
        )
        self._task = self._progress.add_task(verb, total=total, state="")

    def seconds(self) -> float:
        """Since the start; 0 while it is too early to show anything."""
        now = time.monotonic()
        if now < self._next:
            return 0.0
        self._next = now + _INTERVAL_SECONDS
        return now - self._start

    def show(self, completed: int, state: str) -> None:
        if not self._shown:
            self._shown = True
            self._progress.start()
        self._progress.update(
            self._task, completed=completed, state=state, refresh=True
        )

    def stop(self) -> None:
        if self._shown:
            self._progress.stop()


@contextmanager
def opening(path: str, *, quiet: bool, color: str) -> Iterator[Watch | None]:
    """Gives what open_image tells the bytes of the file ``path``."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    try:
        total = Path(path).stat().st_size or None
    except OSError:  # standard input, or the opening will say what is wrong
        total = None
    bar = _Bar("opening", total, color)

    def update(done: int, copy: int = 0, /) -> None:
        if bar.seconds():
            size = f", {format_size(copy)} in a temporary copy" if copy else ""
            bar.show(done, format_size(done) + size)

    try:
        yield update
    finally:
        bar.stop()


class _Meter:
    """Draws from the pipeline's own calls."""

    def __init__(
        self, verb: str, pages: int | None, page_size: int, color: str
    ) -> None:
        self._page_size = page_size
        self._pages = pages
        self._bar = _Bar(verb, pages, color)

    def update(self, pages: int, stream_bytes: int) -> None:
        """``pages`` are done; they are ``stream_bytes`` in the stream.

        While that is 0 they are only copied to a temporary file.
        """
        if seconds := self._bar.seconds():
            self._bar.show(
                pages if stream_bytes else 0, self._state(pages, stream_bytes, seconds)
            )

    def _state(self, pages: int, stream_bytes: int, seconds: float) -> str:
        rate = pages * self._page_size / seconds
        text = f"{format_count(pages)} pages, {format_rate(rate)}, "
        if not stream_bytes:
            return f"{text}copied to a temporary file"
        text += f"stream {format_size(stream_bytes)}"
        if self._pages is None or not pages:
            return text
        left = round(seconds * (self._pages / pages - 1))
        return f"{text}, {left // 60}:{left % 60:02} left"

    def stop(self) -> None:
        self._bar.stop()


@contextmanager
def steps(verb: str, *, quiet: bool, color: str) -> Iterator[Progress | None]:
    """For work in steps: gives what is told (done, all); None where nobody looks."""
    with phases(quiet=quiet, color=color) as watch:
        yield watch and partial(watch, verb)


@contextmanager
def phases(*, quiet: bool, color: str) -> Iterator[Phases | None]:
    """For work of several kinds; None where nobody looks.

    Until it is told for the first time, the work is being prepared.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn

    from migcomp.report.console import open_console

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(None),
        TextColumn("{task.fields[state]}"),
        console=open_console(sys.stderr, color, least_width=0),
        auto_refresh=False,
        transient=True,
        expand=True,
    )
    task = bar.add_task("preparing", total=None, state="")
    with bar:
        yield lambda doing, done, total: bar.update(
            task,
            description=doing,
            completed=done,
            total=total,
            state=f"{format_count(done)} of {format_count(total)}",
            refresh=True,
        )


@contextmanager
def reading(*, quiet: bool, color: str) -> Iterator[Callable[[int], None]]:
    """Of a guest's memory: is told how many pages were."""
    if quiet or not sys.stderr.isatty():
        yield lambda _pages: None
        return
    bar = _Bar("reading the guest's memory", None, color)

    def update(pages: int) -> None:
        if bar.seconds():
            bar.show(pages, f"{format_count(pages)} pages")

    try:
        yield update
    finally:
        bar.stop()


class Rounds:
    """A line about a simulated migration of ``pages``."""

    def __init__(self, pages: int, show: Callable[[Callable[[], str]], None]) -> None:
        """``show`` asks for the line where it is time for one."""
        self._pages = pages
        self._show = show

    def sent(self, sent: int, dirty: int, now: int) -> None:
        """Pages; and virtual nanoseconds."""
        self._show(
            lambda: (
                f"migrating: {format_count(sent)} pages sent, "
                f"{format_count(dirty)} of {format_count(self._pages)} dirty, "
                f"{now / 1e9:.2f} s of the guest's time"
            )
        )

    def compared(self, pages: int) -> None:
        self._show(
            lambda: (
                f"comparing two snapshots: {format_count(pages)} of "
                f"{format_count(self._pages)} pages"
            )
        )


@contextmanager
def rounds(pages: int, *, quiet: bool, color: str) -> Iterator[Rounds]:
    """Of a simulated migration of ``pages``."""
    if quiet or not sys.stderr.isatty():
        yield Rounds(pages, lambda _line: None)
        return
    from rich.status import Status

    from migcomp.report.console import open_console

    start, shown = time.monotonic(), 0.0
    status = Status("", console=open_console(sys.stderr, color, least_width=0))

    def show(line: Callable[[], str]) -> None:
        nonlocal shown
        time_now = time.monotonic()
        if time_now < max(start + _PATIENCE_SECONDS, shown + _INTERVAL_SECONDS):
            return
        if not shown:
            status.start()
        shown = time_now
        status.update(line())

    try:
        yield Rounds(pages, show)
    finally:
        status.stop()


@contextmanager
def told(*, quiet: bool, color: str) -> Iterator[Callable[[str], None]]:
    """What is being done, on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda doing: None
        return
    from rich.text import Text

    from migcomp.report.console import open_console
    from migcomp.report.printable import printable

    with open_console(sys.stderr, color, least_width=0).status("") as status:
        # A text, since names in a plain string would be taken for markup.
        yield lambda doing: status.update(Text(printable(doing)))
