# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest that is to be migrated: its memory, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from migcomp.images.open import open_image
from migcomp.precopy.dirty import DirtySource, IdleGuest
from migcomp.precopy.memory import GuestMemory


def open_guest(
    stack: ExitStack,
    images: Sequence[str],
    *,
    interval: float,
    replay: bool,
    page_size: int,
) -> tuple[GuestMemory, DirtySource]:
    """Several images are snapshots, ``interval`` seconds apart; one is a guest that
    does nothing, or with ``replay`` a recorded stream.  ``stack`` closes them.

    Raises ImageError.
    """
    if replay:
        from migcomp.precopy.replay import Replay

        recording = stack.enter_context(Replay(images[0]))
        return stack.enter_context(recording.memory()), recording
    if len(images) > 1:
        from migcomp.precopy.snapshots import Snapshots

        snapshots = stack.enter_context(
            Snapshots(
                images,
                [interval] * (len(images) - 1),
                lambda path: open_image(path, page_size=page_size),
            )
        )
        return stack.enter_context(snapshots.memory()), snapshots
    with open_image(images[0], page_size=page_size) as image:
        return stack.enter_context(GuestMemory.copy_of(image)), IdleGuest()
