# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ways to migrate that are compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from migcomp.plan.versions import Qemu
from migcomp.precopy.costs import Work
from migcomp.precopy.engines.choice import EngineChoice
from migcomp.precopy.parameters import Parameters

#: QEMU's default, and higher ones that are tried; there are more.
_LEVELS = {"zlib": (1, 6), "zstd": (1, 3, 9)}
_MULTIFD_DEFAULT = 2


@dataclass(frozen=True)
class Candidate:
    """``method`` is a name of the simulation's engines; ``threads`` are multifd's
    channels or compress-threads, 0 where the migration thread does all."""

    method: str
    codec: str = "none"
    level: int = 0
    threads: int = 0

    def __str__(self) -> str:
        if self.method in ("none", "xbzrle"):
            return self.method
        codec = "none" if self.codec == "none" else f"{self.codec}-{self.level}"
        return f"{self.method} {codec} x{self.threads}"

    @property
    def work(self) -> Work | None:
        """What its threads do with a page; None if they compress nothing."""
        if self.method == "compress":
            return Work(self.codec, self.level, "page")
        if self.method == "multifd" and self.codec != "none":
            return Work(self.codec, self.level, "stream")
        return None

    @property
    def engine(self) -> EngineChoice:
        if self.method in ("none", "xbzrle"):
            return EngineChoice(self.method)
        plain = self.codec == "none"
        return EngineChoice(self.method, self.codec, None if plain else self.level)

    def parameters(self, base: Parameters) -> Parameters:
        """``base`` with what this way sets."""
        if self.method == "compress":
            return replace(
                base, compress_level=self.level, compress_threads=self.threads
            )
        if self.method != "multifd":
            return base
        levels = {f"multifd_{self.codec}_level": self.level} if self.level else {}
        return replace(
            base,
            multifd_channels=self.threads,
            multifd_compression=self.codec,
            **levels,  # type: ignore[arg-type]
        )


def candidates(qemu: Qemu, threads_max: int, *, xbzrle: bool) -> Iterator[Candidate]:
    """What ``qemu`` has.  ``xbzrle``: there is something to judge it by."""
    yield Candidate("none")
    counts = _thread_counts(threads_max)
    if qemu.has("multifd"):
        for count in counts:
            yield Candidate("multifd", threads=count)
    if qemu.has("multifd-compression"):
        for codec in ("zstd", "zlib"):
            for level in _LEVELS[codec]:
                for count in counts:
                    yield Candidate("multifd", codec, level, count)
    if qemu.has("compress"):
        for count in counts:
            yield Candidate("compress", "zlib", 1, count)
    if xbzrle and qemu.has("xbzrle"):
        yield Candidate("xbzrle")


def _thread_counts(most: int) -> list[int]:
    """Powers of two from multifd's default on, and the most."""
    counts = [min(_MULTIFD_DEFAULT, most)]
    while counts[-1] * 2 <= most:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] == most else [*counts, most]
