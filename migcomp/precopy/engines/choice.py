# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which engine sends the pages."""

from __future__ import annotations

from dataclasses import dataclass, replace

from migcomp.codecs import open_codec
from migcomp.errors import MigcompError
from migcomp.precopy.clock import Clock
from migcomp.precopy.costs import Costs
from migcomp.precopy.engine import Engine
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.window import Window

ENGINES = (
    "none",
    "compress",
    "multifd",
    "xbzrle",
    "packets",
    "delta",
    "dedup",
    "adaptive",
)
#: QEMU's, and the codecs that they have there.
CODECS_IN_QEMU: dict[str, tuple[str, ...]] = {
    "none": (),
    "compress": ("zlib",),
    "multifd": ("none", "zlib", "zstd"),
    "xbzrle": (),
}
#: Those that take no codec and no level.
WITHOUT_CODEC = ("none", "xbzrle", "adaptive")


@dataclass(frozen=True)
class EngineChoice:
    """``name`` is one of ENGINES; None stands for the default of the engine, which
    for QEMU's is that of its parameters."""

    name: str = "none"
    codec: str | None = None
    level: int | None = None

    def is_what_if(self, parameters: Parameters) -> bool:
        """No QEMU has that, whatever its version: the engine, the codec in it, or what
        ``parameters`` say of it."""
        if self.name not in CODECS_IN_QEMU:
            return True
        if self.name == "compress" and parameters.compress_wait_thread == "adaptive":
            return True
        return self.codec is not None and self.codec not in CODECS_IN_QEMU[self.name]

    def told(self, parameters: Parameters) -> Parameters:
        """``parameters`` with what this chooses, where QEMU has one for it."""
        changes: dict[str, object] = {}
        if self.name == "compress" and self.level is not None:
            changes["compress_level"] = self.level
        if self.name == "multifd":
            codec = self.codec or parameters.multifd_compression
            changes["multifd_compression"] = codec
            if self.level is not None and codec in ("zlib", "zstd"):
                changes[f"multifd_{codec}_level"] = self.level
        return replace(parameters, **changes)  # type: ignore[arg-type]


def open_engine(
    choice: EngineChoice,
    parameters: Parameters,
    clock: Clock,
    window: Window,
    costs: Costs,
    memory: GuestMemory,
) -> Engine:
    """Raises CodecUnavailable, and MigcompError for what cannot be."""
    match choice.name:
        case "none":
            from migcomp.precopy.engines.none import PlainEngine

            return PlainEngine(clock, costs, memory)
        case "compress":
            from migcomp.precopy.engines.compress import CompressEngine

            level = choice.level
            codec = open_codec(
                choice.codec or "zlib",
                level=parameters.compress_level if level is None else level,
                # QEMU has libz, the one that could also keep a history.
                grouping="stream" if choice.codec in (None, "zlib") else "page",
            )
            return CompressEngine(codec, parameters, clock, window, costs, memory)
        case "multifd":
            from migcomp.precopy.engines.multifd import MultifdEngine

            name = choice.codec or parameters.multifd_compression
            level = choice.level
            if level is None:
                level = {
                    "zlib": parameters.multifd_zlib_level,
                    "zstd": parameters.multifd_zstd_level,
                }.get(name)
            codec = open_codec(
                name, level=level, grouping="packet" if name == "none" else "stream"
            )
            return MultifdEngine(codec, parameters, clock, costs, memory)
        case "xbzrle":
            from migcomp.precopy.engines.xbzrle import XbzrleEngine

            return XbzrleEngine(parameters, clock, costs, memory)
        case "packets" | "delta" | "dedup":
            from migcomp.precopy.engines.packets import PacketEngine

            codec = open_codec(
                choice.codec or "zstd", level=choice.level, grouping="packet"
            )
            return PacketEngine(
                choice.name, codec, parameters.compress_threads, clock, costs, memory
            )
        case "adaptive":
            from migcomp.precopy.engines.adaptive import AdaptiveEngine

            return AdaptiveEngine(parameters, clock, window, costs, memory)
    raise MigcompError(
        f"there is no engine {choice.name!r}; there are {', '.join(ENGINES)}"
    )
