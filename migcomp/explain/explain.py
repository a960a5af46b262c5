# SPDX-License-Identifier: LGPL-2.1-or-later
"""From an image to what there is to tell about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from migcomp.codecs import open_codec
from migcomp.errors import ImageError
from migcomp.explain import techniques
from migcomp.explain.deltas import changes
from migcomp.explain.layout import Cutter
from migcomp.explain.previous import Earlier
from migcomp.explain.results import ENTROPY_STEPS, Explanation
from migcomp.explain.scan import scan
from migcomp.explain.workbench import Workbench
from migcomp.images.decode import readable_again
from migcomp.images.image import Image
from migcomp.measure import machine

#: (what is done, how much of it, all): pages, or ways of sending that were tried.
Progress = Callable[[str, int, int], None]

DEFAULT_SAMPLE = 64 << 20


def explain(
    image: Image,
    previous: Image | None = None,
    *,
    sample_bytes: int = DEFAULT_SAMPLE,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Every page is looked at; compression is tried on ``sample_bytes`` of them.

    The same ``seed`` draws the same sample of the same image.  An image that is a
    pipe or has encoded pages is first brought to a temporary file.  Raises
    ImageError, CodecUnavailable and WorkerError.
    """
    started = time.perf_counter()
    codec = open_codec("zstd", level=1)
    with ExitStack() as stack:
        source = _readable(image, stack)
        before = None if previous is None else _readable(previous, stack)
        pages = source.pages or 0
        if not pages:
            raise ImageError(f"{image.path} holds no memory")
        # First, because it may find that the two cannot be compared.
        earlier = None if before is None else Earlier(source, before, Cutter(source))

        def tell(doing: str, done: int, total: int = pages) -> None:
            if progress is not None:
                progress(doing, done, total)

        found = scan(
            source, threads=threads, progress=partial(tell, "looking at pages")
        )
        bench = Workbench(
            source,
            found,
            codec,
            sample_bytes=sample_bytes,
            seed=seed,
            threads=threads,
        )
        techniques.look(bench)
        trials = 3 if earlier is None else 4
        tell("trying deduplication", 0, trials)
        techniques.deduplicate(bench)
        tell("trying compression", 1, trials)
        by_page = techniques.compress(bench)
        tell("trying a dictionary", 2, trials)
        dictionary = techniques.train(bench, by_page)
        difference = None
        if earlier is not None:
            difference = changes(
                bench,
                earlier,
                partial(tell, "comparing pages"),
                partial(tell, "trying deltas", 3, trials),
            )
        return Explanation(
            image=image.path,
            format=image.format,
            page_size=image.page_size,
            image_bytes=found.total.total * image.page_size,
            blocks=tuple(source.blocks),
            total=found.total,
            stretches=tuple(found.stretches),
            map=found.map,
            entropies=tuple(found.entropies[n] for n in range(8 * ENTROPY_STEPS)),
            distances=tuple(
                found.distances[n] for n in range(max(found.distances, default=-1) + 1)
            ),
            techniques=tuple(bench.found),
            sample=bench.sample,
            dictionary=dictionary,
            previous=difference,
            codec=codec.info,
            level=codec.level,
            machine=machine(),
            wall_seconds=time.perf_counter() - started,
        )


def _readable(image: Image, stack: ExitStack) -> Image:
    """The image is the caller's to close, and a copy the stack's."""
    again = readable_again(image)
    return again if again is image else stack.enter_context(again)
