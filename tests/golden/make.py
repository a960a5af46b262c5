# SPDX-License-Identifier: LGPL-2.1-or-later
"""The images behind the golden streams, and how the streams were made.

``python -m tests.golden.make`` writes those streams that are not there.  A
stream that is there is kept for ever: it is what somebody may have on a disk.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from migcomp.choice import Choice
from migcomp.codecs import CODECS, GROUPINGS
from migcomp.images.open import open_image
from migcomp.pipeline import compress
from migcomp.results import Block
from tests.conftest import PAGE, make_pages, memory_file

FOLDER = Path(__file__).parent / "v1"
PACKET = 4


@dataclass(frozen=True)
class Golden:
    """``odd`` bytes are missing from the last page."""

    name: str
    choice: Choice
    page_size: int = PAGE
    content: bool = True
    piped: bool = False
    odd: int = 0

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.migc"

    @property
    def layout(self) -> tuple[Block, ...]:
        if self.piped:
            return ()
        return (
            Block("pc.ram", 14 * self.page_size, 0),
            Block("/rom@etc/acpi/tables", 10 * self.page_size, 0xFFFC0000),
        )

    def image(self) -> bytes:
        """Depends on nothing but this file and make_page()."""
        text, rows, noise = ("text", 1), ("rows", 2), ("noise", 3)
        if not self.content:
            text = rows = noise = ("same", 9)
        low = make_pages(text, "zero", rows, ("same", 1), size=self.page_size)
        low += make_pages("zero", "zero", "zero", noise, size=self.page_size)
        low += make_pages(*["zero"] * 5, ("same", 2), size=self.page_size)
        high = make_pages(rows, ("same", 1), "zero", "zero", size=self.page_size)
        high += make_pages(*["zero"] * 4, "zero", ("same", 5), size=self.page_size)
        return (low + high)[: 24 * self.page_size - self.odd]

    def stream(self) -> bytes:
        sink = BytesIO()
        with (
            self._source() as path,
            open_image(
                path,
                page_size=self.page_size,
                layout=self.layout,
                pad=bool(self.odd),
            ) as image,
        ):
            compress(image, sink, self.choice)
        return sink.getvalue()

    @contextmanager
    def _source(self) -> Iterator[str]:
        if not self.piped:
            with memory_file(self.image()) as path:
                yield path
            return
        reading, writing = os.pipe()
        # So that the pipe takes all of it before anybody reads.
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)
        assert os.write(writing, self.image()) == 24 * self.page_size - self.odd
        os.close(writing)
        try:
            yield f"/proc/self/fd/{reading}"
        finally:
            os.close(reading)


def _all() -> Iterator[Golden]:
    for grouping in GROUPINGS:
        for codec in CODECS:
            channels = 3 if grouping == "stream" else 2
            choice = Choice(
                codec, grouping=grouping, packet_pages=PACKET, channels=channels
            )
            yield Golden(f"{grouping}-{codec}", choice)
    for codec, grouping in (("none", "page"), ("zstd", "packet"), ("lz4", "stream")):
        choice = Choice(codec, grouping=grouping, packet_pages=PACKET, dedup=True)
        yield Golden(f"{grouping}-{codec}-dedup", choice)
    for codec in ("none", "zlib"):
        choice = Choice(codec, packet_pages=PACKET)
        yield Golden(f"packet-{codec}-64k", choice, page_size=65536, content=False)
        yield Golden(f"packet-{codec}-piped", choice, piped=True, odd=1000)


GOLDEN = {golden.name: golden for golden in _all()}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for golden in GOLDEN.values():
        if not golden.path.exists():
            golden.path.write_bytes(golden.stream())
            print(golden.path.name, golden.path.stat().st_size)
