# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a run's figures count, and from when."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

from migcomp.choice import Choice
from migcomp.images.decode import readable_again
from migcomp.images.image import Image
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from tests.conftest import compressed, make_pages


@pytest.mark.parametrize("dedup", [False, True])
@pytest.mark.parametrize("grouping", ["page", "stream"])
def test_each_request_is_busy_once(dedup: bool, grouping: str) -> None:
    """However often it is submitted, and asked for."""
    choice = Choice(
        packet_pages=4,
        threads=3,
        requests_per_thread=1,
        dedup=dedup,
        grouping=grouping,
        channels=2,
    )
    _, result = compressed(make_pages("noise") * 256, choice)
    queue = result.queue
    assert queue.requests == 64
    assert queue.submitted == (128 if dedup else 64)
    # There are three at most, and none is given back before the next is asked for.
    assert 61 <= queue.busy <= 64
    assert queue.busy_share == queue.busy / 64
    assert result.busy_rate == queue.busy / 256


def test_copying_a_pipe_takes_time_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is copied first where earlier pages are needed again."""

    def slowly(*arguments: Any) -> Image:
        time.sleep(0.1)
        return readable_again(*arguments)

    monkeypatch.setattr("migcomp.images.decode.readable_again", slowly)
    data = make_pages("noise") * 300
    seen: list[tuple[int, int]] = []
    reading, writing = os.pipe()

    def feed() -> None:
        with open(writing, "wb") as file:  # noqa: PTH123
            file.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with open_image(f"/proc/self/fd/{reading}") as image:
            result = compress(
                image, None, Choice(dedup=True), progress=lambda *now: seen.append(now)
            )
    finally:
        feeder.join()
        os.close(reading)
    assert result.wall_seconds >= 0.1
    copied = [pages for pages, stream_bytes in seen if not stream_bytes]
    assert copied == sorted(copied)
    assert copied[-1] == 300
    assert seen[-1][0] == 300
    assert seen[-1][1] > 0
