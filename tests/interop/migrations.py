# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real migrations of a guest, and the same ones simulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migcomp.images.open import open_image
from migcomp.precopy.costs import Costs
from migcomp.precopy.dirty import DirtySource, IdleGuest
from migcomp.precopy.engines.choice import EngineChoice
from migcomp.precopy.link import Link
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.replay import Replay
from migcomp.precopy.results import SimulationResult
from migcomp.precopy.simulate import simulate
from tests.interop.machine import Machine, machine

QEMU_VERSION = (7, 2)
#: Bytes a second.
LIMITS = (25_000_000, 60_000_000)
DOWNTIME_LIMIT = 100
#: So many lines the guest writes before it is migrated.
_TICKS = 5


@dataclass(frozen=True)
class Setting:
    """``live``: the guest runs until the last round.  To a file, which is then a
    recording, but with multifd, which needs a second QEMU."""

    name: str
    engine: str
    live: bool = True
    codec: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def capabilities(self) -> tuple[str, ...]:
        return () if self.engine == "none" else (self.engine,)


def settings(limits: Sequence[int] = LIMITS) -> Iterator[Setting]:
    for limit in limits:
        common = {"max-bandwidth": limit, "downtime-limit": DOWNTIME_LIMIT}

        def named(
            name: str,
            engine: str,
            live: bool = True,
            codec: str | None = None,
            limit: int = limit,
            common: dict[str, Any] = common,
            **more: Any,
        ) -> Setting:
            parameters = common | {k.replace("_", "-"): v for k, v in more.items()}
            full = f"{name}, {limit // 10**6} MB/s"
            return Setting(full, engine, live, codec, parameters)

        yield named("plain", "none")
        yield named("xbzrle", "xbzrle", xbzrle_cache_size=64 << 20)
        yield named("compress, 2 threads", "compress", compress_threads=2)
        for codec in ("none", "zlib", "zstd"):
            yield named(
                f"multifd {codec}",
                "multifd",
                live=False,
                codec=codec,
                multifd_compression=codec,
            )


@dataclass(frozen=True)
class Fact:
    """``image``: what was migrated, a stream: the recording of a guest that ran.
    ``said``: by query-migrate."""

    setting: Setting
    image: Path
    said: dict[str, Any]


class Guests:
    """Machines that all start from one moment of one guest."""

    def __init__(self, folder: Path, initrd: Path) -> None:
        self._folder, self._initrd = folder, initrd
        self._machines = 0
        self.start = folder / "start.qemu"
        with machine(folder / "first", initrd) as guest:
            guest.wait_for_ticks(_TICKS)
            guest("stop")
            said = guest.migrate(self.start)
        #: Bytes a second to a file, without a limit.
        self.pipe = said["ram"]["transferred"] * 1000 / said["total-time"]

    @contextmanager
    def running(self) -> Iterator[tuple[Machine, Path]]:
        """A guest that has run a while, and the folder of its machine."""
        with ExitStack() as stack:
            guest, folder = self._machine(stack), self._newest
            guest.load(self.start)
            guest("cont")
            guest.wait_for_ticks(_TICKS)
            yield guest, folder

    def _machine(self, stack: ExitStack) -> Machine:
        self._machines += 1
        return stack.enter_context(machine(self._newest, self._initrd, incoming=True))

    @property
    def _newest(self) -> Path:
        return self._folder / f"machine{self._machines}"

    def migrate(self, setting: Setting) -> Fact:
        return self._live(setting) if setting.live else self._stopped(setting)

    def _live(self, setting: Setting) -> Fact:
        with self.running() as (source, folder):
            recording = folder / "recording.qemu"
            said = source.send(
                f"exec:cat > {recording}",
                *setting.capabilities,
                parameters=setting.parameters,
            )
        return Fact(setting, recording, said)

    def _stopped(self, setting: Setting) -> Fact:
        with ExitStack() as stack:
            source = self._machine(stack)
            source.load(self.start)
            target = self._machine(stack)
            uri = f"unix:{self._newest / 'migration'}"
            known = {k: v for k, v in setting.parameters.items() if "multifd" in k}
            target.listen(uri, *setting.capabilities, parameters=known)
            said = source.send(
                uri, *setting.capabilities, parameters=setting.parameters
            )
        return Fact(setting, self.start, said)


def predict(fact: Fact, costs: Costs, pipe: float) -> SimulationResult:
    """From what was migrated."""
    with ExitStack() as stack:
        guest: DirtySource = IdleGuest()
        if fact.setting.live:
            replay = stack.enter_context(Replay(str(fact.image)))
            guest, memory = replay, stack.enter_context(replay.memory())
        else:
            image = stack.enter_context(open_image(str(fact.image)))
            memory = stack.enter_context(GuestMemory.copy_of(image))
        return simulated(fact.setting, memory, guest, costs, pipe)


def simulated(
    setting: Setting,
    memory: GuestMemory,
    guest: DirtySource,
    costs: Costs,
    pipe: float,
) -> SimulationResult:
    """``pipe``: bytes a second that go to a file, or to a second QEMU, at most."""
    named = {key.replace("-", "_"): v for key, v in setting.parameters.items()}
    parameters = Parameters(**named, qemu_version=QEMU_VERSION)
    # A pipe has no packets, whose headers would take something.
    link = Link(pipe * 8, overhead=0)
    choice = EngineChoice(setting.engine, setting.codec)
    return simulate(memory, guest, choice, link, parameters, costs)
