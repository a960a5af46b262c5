# SPDX-License-Identifier: LGPL-2.1-or-later
"""Explains memory that a test makes."""

from __future__ import annotations

from contextlib import ExitStack

from migcomp.explain.explain import explain
from migcomp.explain.results import Explanation, Technique
from migcomp.images.open import open_image
from migcomp.results import Block
from tests.conftest import memory_file


def explained(
    data: bytes,
    before: bytes | None = None,
    *,
    layout: tuple[Block, ...] = (),
    sample_bytes: int = 1 << 30,
    seed: int = 0,
) -> Explanation:
    with ExitStack() as stack:
        path = stack.enter_context(memory_file(data))
        image = stack.enter_context(open_image(path, layout=layout))
        previous = None
        if before is not None:
            earlier = stack.enter_context(memory_file(before))
            previous = stack.enter_context(open_image(earlier))
        return explain(image, previous, sample_bytes=sample_bytes, seed=seed, threads=1)


def technique_of(found: Explanation, key: str) -> Technique:
    technique = found.technique(key)
    assert technique is not None, key
    return technique
