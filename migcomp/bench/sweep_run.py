# SPDX-License-Identifier: LGPL-2.1-or-later
"""Taking one sample of a sweep, in whatever process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock
from uuid import uuid4

from migcomp.bench.page_cache import cached_share, read_through
from migcomp.bench.sweep_machine import sweep_machine
from migcomp.bench.sweep_results import (
    PAGE_SIZE_STEPS,
    WARM_UP,
    Setting,
    SweepMachine,
    SweepSample,
    SweptImage,
)
from migcomp.choice import Choice
from migcomp.images.file import ImageFile, Watch, is_url, open_file
from migcomp.images.image import Image
from migcomp.images.open import image_in, open_image
from migcomp.images.remote import local_copy
from migcomp.measure import PageSizes, coarser
from migcomp.pipeline import compress
from migcomp.results import RunResult

_REGIONS_MOST = 1024

#: Tells this process from all others that sweep.
_THIS_PROCESS = uuid4().hex

#: Whose samples this process takes; a worker of a cluster takes those of many.
_sweep = _THIS_PROCESS

#: Copies of images behind URLs, one for all samples of that sweep.
_copies: dict[str, ImageFile] = {}
_copying = Lock()

#: Images of it that this process has read: the others are run once uncounted first.
_warm: set[str] = set()


@dataclass(frozen=True)
class Task:
    """One sample that is to be taken; all of it can be sent to another machine.

    ``sweep``: the process that asks for it.
    """

    image: SweptImage
    setting: Setting
    image_number: int
    setting_number: int
    round: int
    sweep: str = _THIS_PROCESS


def take(task: Task) -> tuple[SweepMachine, SweepSample]:
    """Runs a setting once.  Raises what compress and open_image raise."""
    _begin(task.sweep)
    if task.round != WARM_UP and task.image.path not in _warm:
        _compress(task, None)
    _warm.add(task.image.path)
    sizes = None
    if task.round == WARM_UP and task.setting.grouping == "page":
        sizes = PageSizes(task.image.page_size, PAGE_SIZE_STEPS)
    here = sweep_machine()
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    load = os.getloadavg()[0]
    cached = _cached(task.image, read=task.round != WARM_UP)
    result = _compress(task, sizes)
    keep_map = task.round == WARM_UP and task.setting_number == 0
    return here, SweepSample(
        image=task.image_number,
        setting=task.setting_number,
        round=task.round,
        machine=here.id,
        pid=os.getpid(),
        started=started,
        load=load,
        cached_share=cached,
        result=replace(
            result,
            regions=coarser(result.regions, _REGIONS_MOST) if keep_map else (),
            blocks=result.blocks if task.round == WARM_UP else (),
        ),
        page_sizes=None if sizes is None else sizes.counts(),
    )


def _begin(sweep: str) -> None:
    """By the next sweep other images may be behind the URLs, and under the names, and
    the machine may have another governor."""
    global _sweep
    with _copying:
        if sweep == _sweep:
            return
        _sweep = sweep
        for copy in _copies.values():
            copy.close()
        _copies.clear()
        _warm.clear()
        sweep_machine.cache_clear()


def open_swept(image: SweptImage, watch: Watch | None = None) -> Image:
    """As open_image, which would copy what is behind a URL for each sample.

    Of ``image``, what open_image takes counts.  Raises ImageError.
    """
    path = image.path
    if not is_url(path):
        return open_image(
            path,
            page_size=image.page_size,
            layout=image.layout,
            pad=image.pad,
            format=image.given_format,
            diffs=image.diffs,
            watch=watch,
        )
    with _copying:
        if path not in _copies:
            _copies[path] = open_file(path, watch)
        file = local_copy(path, _copies[path].fd)
    try:
        return image_in(
            file,
            page_size=image.page_size,
            layout=image.layout,
            pad=image.pad,
            format=image.given_format,
            diffs=image.diffs,
        )
    except BaseException:
        file.close()
        raise


def _cached(image: SweptImage, *, read: bool) -> float | None:
    """How much of the file that has the least of it is in the page cache; with
    ``read``, all if it fits."""
    shares = []
    for path in (image.path, *image.diffs):
        with _file_of(path) as file:
            share = cached_share(file)
            if share is not None and share < 1 and read:
                read_through(file)
                share = cached_share(file)
        if share is None:
            return None
        shares.append(share)
    return min(shares)


@contextmanager
def _file_of(path: str) -> Iterator[str]:
    """What is read for it: itself, or the copy of what is behind a URL, which another
    sweep may drop meanwhile."""
    with _copying:
        fd = os.dup(_copies[path].fd) if path in _copies else None
    if fd is None:
        yield path
        return
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _compress(task: Task, sizes: PageSizes | None) -> RunResult:
    setting = task.setting
    choice = Choice(
        codec=setting.codec,
        level=setting.level,
        grouping=setting.grouping,
        threads=setting.threads,
        dedup=setting.dedup,
    )
    with open_swept(task.image) as image:
        return compress(image, None, choice, sizes=sizes)
