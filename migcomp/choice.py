# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the user chooses for a run, and whether it can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migcomp import _core
from migcomp.codecs import GROUPINGS, Codec
from migcomp.errors import MigcompError
from migcomp.results import Settings
from migcomp.workqueue import (
    DEFAULT_REQUESTS,
    MAX_REQUESTS,
    MAX_THREADS,
    usable_cpus,
)

if TYPE_CHECKING:
    from migcomp.stream.header import StreamHeader

#: As QEMU's multifd: 128 pages of 4 KiB.
PACKET_BYTES = 512 << 10


@dataclass(frozen=True)
class Choice:
    """How to compress; None stands for the default.

    ``threads``: as many as CPUs.  ``packet_pages``: pages that make a packet
    (and a record), PACKET_BYTES of them.  ``request_pages``: pages handed to a
    thread at once; fewer than ``packet_pages`` only in grouping ``page``.
    ``channels`` counts in grouping ``stream`` only.  ``handler``: a codec in
    Python, ``package.module:factory``, instead of ``codec``.
    """

    codec: str = "zstd"
    level: int | None = None
    grouping: str = "packet"
    threads: int | None = None
    requests_per_thread: int = DEFAULT_REQUESTS
    request_pages: int | None = None
    packet_pages: int | None = None
    channels: int = 2
    dedup: bool = False
    handler: str = ""
    cpus: tuple[int, ...] = ()

    def settings(self, codec: Codec, page_size: int) -> Settings:
        """Every default filled in.  Raises MigcompError for what cannot be."""
        if self.grouping not in GROUPINGS:
            raise MigcompError(
                f"there is no grouping {self.grouping!r}; "
                f"there are {', '.join(GROUPINGS)}"
            )
        packet_pages = self.packet_pages or max(PACKET_BYTES // page_size, 1)
        request_pages = self.request_pages or packet_pages
        most = _core.REQUEST_BYTES_MAX // page_size
        if not 1 <= packet_pages <= most:
            raise MigcompError(f"a packet has 1 to {most} pages, not {packet_pages}")
        if not 1 <= request_pages <= packet_pages:
            raise MigcompError(
                f"a request has 1 to {packet_pages} pages (a packet), "
                f"not {request_pages}"
            )
        if request_pages < packet_pages and self.grouping != "page":
            raise MigcompError(
                f"in grouping {self.grouping} a request is a packet: "
                "give --packet-pages instead of --request-pages"
            )
        streaming = self.grouping == "stream"
        for what, number, most in (
            ("threads", self.threads, MAX_THREADS),
            ("requests per thread", self.requests_per_thread, MAX_REQUESTS),
            ("channels", self.channels if streaming else None, _core.CHANNELS_MAX),
        ):
            if number is not None and not 1 <= number <= most:
                raise MigcompError(f"{what} must be 1 to {most}, not {number}")
        return Settings(
            codec=codec.name,
            level=codec.level,
            grouping=self.grouping,
            page_size=page_size,
            packet_pages=packet_pages,
            request_pages=request_pages,
            channels=self.channels if streaming else 0,
            dedup=self.dedup,
            threads=self.threads or _all_threads(),
            requests_per_thread=self.requests_per_thread,
            handler=self.handler,
        )


def settings_of(
    header: StreamHeader,
    *,
    threads: int | None,
    requests_per_thread: int,
    handler: str = "",
) -> Settings:
    """What a stream was made with, and it is read with; ``threads`` as in Choice."""
    return Settings(
        codec=header.codec,
        level=header.level,
        grouping=header.grouping,
        page_size=header.page_size,
        packet_pages=header.packet_pages,
        request_pages=header.packet_pages,
        channels=header.channels,
        dedup=header.dedup,
        threads=threads or _all_threads(),
        requests_per_thread=requests_per_thread,
        handler=handler,
    )


def _all_threads() -> int:
    return min(usable_cpus(), MAX_THREADS)
