# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest that is to be migrated: its memory, and what it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from migcomp.cli.files import STANDARD
from migcomp.cli.options import given
from migcomp.cli.types import Count, Number, Size
from migcomp.units import format_size

if TYPE_CHECKING:
    from migcomp.images.image import Image
    from migcomp.precopy.dirty import DirtySource
    from migcomp.precopy.dirty_fit import Interval
    from migcomp.precopy.dirty_model import DirtyModel
    from migcomp.precopy.memory import GuestMemory

_Function = TypeVar("_Function", bound=Callable[..., Any])
_OF_A_MODEL = ("working_set", "skew", "bytes_changed", "fake_dirty")


def guest_options(function: _Function) -> _Function:
    """Those of which GuestChoice is made."""
    for option in reversed(
        (
            click.option(
                "--interval",
                type=Number(0.001, 1e6),
                metavar="SECONDS",
                help="Time between two snapshots.  [default: what migcomp capture "
                "noted beside them, or 1]",
            ),
            click.option(
                "--fit",
                is_flag=True,
                help="Fit a model to the snapshots, or to a recorded stream with "
                "--fit-bandwidth, and let the guest write by that.",
            ),
            click.option(
                "--fit-bandwidth",
                type=Size(),
                metavar="SIZE",
                help="IMAGE is a recorded QEMU migration stream, of so many bytes a "
                "second: its max-bandwidth, where that was the limit.",
            ),
            click.option(
                "--replay",
                is_flag=True,
                help="IMAGE is a recorded QEMU migration stream: send what it sent, "
                "round by round.",
            ),
            click.option(
                "--dirty-rate",
                type=Size(),
                metavar="SIZE",
                help="The guest writes by a model: so many bytes of pages in a second, "
                "as QEMU's calc-dirty-rate counts; 0: it is idle.",
            ),
            click.option(
                "--working-set",
                type=Size(),
                metavar="SIZE",
                help="Of the model: pages that are written at all.  [default: 4 times "
                "--dirty-rate]",
            ),
            click.option(
                "--skew",
                type=Number(0, 10),
                default=0.0,
                metavar="NUMBER",
                help="Of the model: 0 writes all pages of the working set alike, 1 "
                "some much more often (Zipf).  [default: 0]",
            ),
            click.option(
                "--bytes-changed",
                type=Count(),
                default=64,
                show_default=True,
                metavar="N",
                help="Of the model: in each write.",
            ),
            click.option(
                "--fake-dirty",
                type=Number(0, 1),
                default=0.0,
                metavar="SHARE",
                help="Of the model: writes that change nothing.  [default: 0]",
            ),
        )
    ):
        function = option(function)
    return function


@dataclass(frozen=True)
class GuestChoice:
    """Several ``images`` are snapshots, one is a guest that does nothing, unless a
    model is asked for, by ``fit`` or a ``dirty_rate`` of more than 0; sizes are
    bytes."""

    images: Sequence[str]
    interval: float | None = None
    fit: bool = False
    fit_bandwidth: int | None = None
    replay: bool = False
    dirty_rate: int | None = None
    working_set: int | None = None
    skew: float = 0.0
    bytes_changed: int = 64
    fake_dirty: float = 0.0
    page_size: int = 4096

    def check(self) -> None:
        """Raises UsageError for what has no meaning together."""
        single = len(self.images) == 1
        if STANDARD in self.images and not single:
            raise click.UsageError(
                "snapshots are read more than once, and standard input cannot be; name "
                "files"
            )
        if self.replay and not single:
            raise click.UsageError("--replay takes one IMAGE, a recorded stream")
        if self.replay and (self.fit or self.dirty_rate is not None):
            raise click.UsageError(
                "--replay takes the place of a model; leave that out"
            )
        if self.fit and self.dirty_rate is not None:
            raise click.UsageError(
                "--fit takes the place of --dirty-rate; leave one out"
            )
        if self.dirty_rate is not None and len(self.images) > 1:
            raise click.UsageError(
                "--dirty-rate takes the place of later snapshots; leave them out, or "
                "give --fit instead"
            )
        if self.fit and single and not self.fit_bandwidth:
            raise click.UsageError(
                "--fit needs three snapshots or more, or a recorded stream and "
                "--fit-bandwidth, which is more than 0"
            )
        if self.fit_bandwidth is not None and not (self.fit and single):
            raise click.UsageError(
                "--fit-bandwidth goes with --fit and one IMAGE, a recorded stream"
            )
        if self.interval is not None and single:
            raise click.UsageError(
                "--interval is the time between two snapshots; give several IMAGEs"
            )
        if not self.dirty_rate:
            for name in _OF_A_MODEL:
                if given(name):
                    raise click.UsageError(
                        f"--{name.replace('_', '-')} is of a model; give --dirty-rate, "
                        "too, of more than 0"
                    )

    def open(
        self, stack: ExitStack, copied: Callable[[int], None] = lambda _pages: None
    ) -> tuple[GuestMemory, DirtySource]:
        """``stack`` closes them; ``copied`` is told how many pages of the memory
        were.  Raises ImageError."""
        from migcomp.precopy.dirty import IdleGuest
        from migcomp.precopy.dirty_model import ModelledGuest
        from migcomp.precopy.memory import GuestMemory

        if self.replay:
            from migcomp.precopy.replay import Replay

            recording = stack.enter_context(Replay(self.images[0]))
            return stack.enter_context(recording.memory(copied)), recording
        if len(self.images) > 1 and not self.fit and self.dirty_rate is None:
            return self._snapshots(stack, copied)
        # Before the guest's own, as it takes a memory as well.
        intervals = [*self._intervals(copied)] if self.fit else []
        with self.open_one(self.images[0]) as image:
            memory = stack.enter_context(GuestMemory.copy_of(image, copied))
        if self.fit:
            from migcomp.precopy.dirty_fit import fit

            model = fit(intervals, memory.pages)
        elif self.dirty_rate:
            model = self._model(memory)
        else:
            return memory, IdleGuest()
        return memory, ModelledGuest(model, memory)

    @property
    def seconds(self) -> list[float]:
        """From each snapshot to the next."""
        from migcomp.precopy.snapshots import seconds_between

        return seconds_between(self.images, self.interval)

    def open_one(self, path: str) -> Image:
        from migcomp.images.open import open_image

        # A page that is cut off is told by what needs whole ones.
        return open_image(path, page_size=self.page_size, pad=True)

    def _snapshots(
        self, stack: ExitStack, copied: Callable[[int], None]
    ) -> tuple[GuestMemory, DirtySource]:
        from migcomp.precopy.snapshots import Snapshots

        snapshots = stack.enter_context(
            Snapshots(self.images, self.seconds, self.open_one)
        )
        return stack.enter_context(snapshots.memory(copied)), snapshots

    def _model(self, memory: GuestMemory) -> DirtyModel:
        from migcomp.precopy.dirty_model import DirtyModel

        rate = (self.dirty_rate or 0) / memory.page_size
        pages = self.working_set_pages(memory.pages, memory.page_size)
        return DirtyModel(
            rate,
            pages,
            skew=self.skew,
            bytes_changed=self.bytes_changed,
            fake=self.fake_dirty,
        )

    def _intervals(self, copied: Callable[[int], None]) -> Iterable[Interval]:
        from migcomp.precopy import dirty_fit

        if self.fit_bandwidth:
            return dirty_fit.intervals_of_recording(self.images[0], self.fit_bandwidth)
        return dirty_fit.intervals_of_snapshots(
            self.images, self.seconds, self.open_one, copied
        )

    def working_set_pages(self, pages: int, page_size: int) -> int:
        """Of the model that is asked for, in a guest of so many.  Raises UsageError
        for what that has no room for."""
        from migcomp.precopy.dirty_model import usual_working_set

        total, rate = pages * page_size, self.dirty_rate or 0
        if self.working_set is None:
            what, most = "the guest's memory", total
            working_set = usual_working_set(rate / page_size, pages) * page_size
        else:
            working_set = self.working_set // page_size * page_size
            what, most = "the working set", working_set
        if working_set > total:
            raise click.UsageError(
                f"--working-set is {format_size(working_set)}, more than the "
                f"{format_size(total)} that the guest has"
            )
        if rate >= working_set:
            raise click.UsageError(
                f"--dirty-rate is {format_size(rate)}; it must be less than {what}, "
                f"{format_size(most)}, since a page counts once in a second"
            )
        if self.bytes_changed > page_size:
            raise click.UsageError(
                f"--bytes-changed is {self.bytes_changed}, more than a page, "
                f"{page_size} bytes"
            )
        return working_set // page_size
