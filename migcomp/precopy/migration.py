# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pre-copy as QEMU does it, on a virtual clock.

Source of the rules: QEMU 8.2, ``migration/migration.c`` (``migration_thread``,
``migration_iteration_run``, ``migration_completion``) and ``migration/ram.c``
(``ram_save_iterate``, ``ram_save_complete``).  docs/simulation.md explains them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from migcomp.errors import SimulationFault
from migcomp.precopy import framing
from migcomp.precopy.clock import MS, Clock
from migcomp.precopy.convergence import Convergence
from migcomp.precopy.dirty import DirtySource
from migcomp.precopy.dirty_bitmap import DirtyBitmap
from migcomp.precopy.engine import Engine, Sent
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.rates import Rates
from migcomp.precopy.results import Round
from migcomp.precopy.statistics import MigrationStatistics
from migcomp.precopy.summary import summarize
from migcomp.precopy.window import Window

#: ``MAX_WAIT``: longer than that no section goes on.
_SECTION = 50 * MS
#: The guest's writes are looked at as often as that while pages are sent.
_STEP = 10 * MS

#: (pages sent, pages dirty now, virtual nanoseconds); called often.
Watch = Callable[[int, int, int], None]


def unwatched(_sent: int, _dirty: int, _now: int) -> None:
    pass


@dataclass(frozen=True)
class Outcome:
    """``reason`` is empty unless the migration was cancelled."""

    statistics: MigrationStatistics
    reason: str
    rounds: tuple[Round, ...]


class Migration:
    """One migration, from start to end.

    ``guest`` runs on ``source``; ``destination`` is zero, of the same size, and
    must be equal to ``source`` at the end.
    """

    def __init__(
        self,
        source: GuestMemory,
        destination: GuestMemory,
        guest: DirtySource,
        engine: Engine,
        clock: Clock,
        window: Window,
        parameters: Parameters,
        watch: Watch = unwatched,
    ) -> None:
        self._source = source
        self._destination = destination
        self._guest = guest
        self._engine = engine
        self._clock = clock
        self._parameters = parameters
        self._watch = watch
        self._bitmap = DirtyBitmap(source.pages)
        self._window = window
        self._rates = Rates(source.page_size)
        self._convergence = Convergence(parameters, source.page_size)
        self._sent = Sent()
        self._seen = bytearray(source.pages)
        self._handled = 0
        self._syncs = 0
        self._dirty_at_sync = 0
        self._guest_time = 0
        self._page_ns = 0.0
        self._cpu_before = 0
        self._rounds: list[Round] = []

    def run(self) -> Outcome:
        """Raises WorkerError, and SimulationFault when the two memories differ."""
        self._set_up()
        reason = ""
        while True:
            if self._window.left and self._iterate():
                break
            self._limit_rate()
            reason = self._convergence.reason(self._clock.now, self._rounds)
            if reason:
                break
        if reason:
            return self._outcome("cancelled", reason)
        stopped_at, before = self._clock.now, self._sent.ram_bytes
        self._complete()
        return self._outcome(
            "completed",
            downtime=self._clock.now - stopped_at,
            downtime_bytes=self._sent.ram_bytes - before,
        )

    # --- Phases -----------------------------------------------------------------

    def _set_up(self) -> None:
        self._sync()
        self._put(framing.FILE_HEADER + framing.start_section(self._source.blocks))
        self._end_everything()

    def _iterate(self) -> bool:
        """Sends a section; True if it is time to stop the guest instead."""
        if self._little_is_left():
            return True
        self._put(framing.PART_HEADER)
        start = self._clock.now
        while self._window.left and self._clock.now - start <= _SECTION:
            if not self._send_some(self._most(), last=False):
                break
        self._note(self._engine.end_section())
        self._put(framing.END_OF_SECTION, counted=True)
        self._put(framing.FOOTER)
        return False

    def _little_is_left(self) -> bool:
        """After a sync where it seems so, which may show that it is not."""
        more = not self._guest.last_round
        if self._fits_in_downtime or (more and not self._bitmap.pending):
            if self._guest.too_early(self._bitmap.is_pending):
                return False
            self._sync()
        elif self._bitmap.pending:
            return False
        return self._guest.last_round and (
            not self._bitmap.pending or self._fits_in_downtime
        )

    @property
    def _fits_in_downtime(self) -> bool:
        size = self._source.page_size
        least = self._guest.least_threshold * size
        return self._bitmap.pending * size < max(self._window.threshold, least)

    def _limit_rate(self) -> None:
        """Sleeps until the window is over where its bytes are used up."""
        if not self._window.left:
            self._clock.wait_until(self._window.end)
        self._window.update(
            self._clock.now,
            self._pages_sent(),
            self._rates.dirty_pages_rate,
            self._dirty_at_sync,
        )

    def _complete(self) -> None:
        """The guest is stopped."""
        self._sync(last=True)
        self._put(framing.PART_HEADER)
        while self._bitmap.pending:
            self._send_some(self._source.pages, last=True)
        self._end_everything()
        self._put(framing.END_OF_SECTION + framing.FOOTER + 1)
        self._clock.arrive()
        self._check()

    # --- Parts ------------------------------------------------------------------

    def _most(self) -> int:
        """Pages whose last packet alone can exceed the window's bytes, and that do not
        take long.

        What went into the socket at once tells nothing of the next pages' time.
        """
        engine, most = self._engine, 0
        if self._page_ns:
            on_link = self._clock.link_time(engine.page_bytes)
            most = min(
                self._window.left // engine.page_bytes,
                int(_STEP / max(self._page_ns, on_link)),
            )
        return most // engine.packet_pages * engine.packet_pages + engine.missing_pages

    def _send_some(self, most: int, *, last: bool) -> bool:
        """False when no page is dirty."""
        if not last:
            self._run_guest()
        pages, end = self._bitmap.take(most)
        if end and not pages and self._bitmap.pending:
            self._note(self._engine.end_round())
            pages, end = self._bitmap.take(most)
        if pages:
            start = self._clock.now
            self._rounds[-1].unchanged_pages += self._unchanged(pages)
            self._note(
                self._engine.send(
                    self._source, self._destination, pages, self._syncs, last
                )
            )
            self._handled += len(pages)
            took = (self._clock.now - start) / len(pages)
            self._page_ns = max(took, self._page_ns * 0.9)
            self._watch(self._handled, self._bitmap.pending, self._clock.now)
        if end:
            self._note(self._engine.end_round())
        return bool(pages)

    def _end_everything(self) -> None:
        self._note(self._engine.end_round())
        self._note(self._engine.end_section())

    def _unchanged(self, pages: Sequence[int]) -> int:
        """Those that were sent before, and need not have been sent again."""
        source, destination, unchanged = self._source, self._destination, 0
        for page in pages:
            if not self._seen[page]:
                self._seen[page] = 1
            elif source.read(page) == destination.read(page):
                unchanged += 1
        return unchanged

    def _run_guest(self) -> None:
        """Up to now."""
        passed = self._clock.now - self._guest_time
        if passed:
            self._guest_time = self._clock.now
            seconds = passed / 1e9
            pages = self._guest.run(
                self._source, seconds * self._convergence.guest_share
            )
            self._convergence.ran(seconds, pages)
            self._bitmap.note_writes(pages)

    def _sync(self, *, last: bool = False) -> None:
        self._run_guest()
        if self._syncs:
            self._bitmap.note_writes(self._guest.next_round(self._source))
        fresh = self._bitmap.sync()
        self._syncs += 1
        now, size = self._clock.now, self._source.page_size
        self._dirty_at_sync = self._bitmap.pending * size
        # QEMU does not count pages that it looked at and did not send.
        handled = self._handled - self._sent.skipped
        self._rates.sync(now, fresh, handled, self._sent)
        self._convergence.sync(self._rates.period, self._bitmap.pending)
        self._end_round()
        self._rounds.append(
            Round(
                self._syncs,
                now,
                self._bitmap.pending,
                stopped=last,
                throttle_percentage=self._convergence.throttle_percentage,
                waiting_bytes=self._clock.backlog(),
                threshold_bytes=self._window.threshold,
            )
        )
        self._cpu_before = self._clock.cpu_ns

    def _end_round(self) -> None:
        if self._rounds:
            self._rounds[-1].end_ns = self._clock.now
            self._rounds[-1].cpu_ns = self._clock.cpu_ns - self._cpu_before

    def _put(self, size: int, *, counted: bool = False) -> None:
        """Bytes of the main stream that carry no pages."""
        self._clock.write(size)
        framing_bytes = 0 if counted else size
        self._note(Sent(main_bytes=size, framing_bytes=framing_bytes, wire_bytes=size))

    def _note(self, sent: Sent) -> None:
        self._window.spend(sent.counted_bytes)
        self._sent.add(sent)
        self._rounds[-1].sent.add(sent)

    def _pages_sent(self) -> int:
        sent = self._sent
        return sent.normal + sent.duplicate + sent.compressed + sent.xbzrle_pages

    def _check(self) -> None:
        page = self._source.first_difference(self._destination)
        if page is not None:
            raise SimulationFault(
                f"{self._source.path}: page {page} differs on the other side after a "
                f"migration by engine {self._engine.name}; this is a bug in migcomp"
            )

    # --- The end ----------------------------------------------------------------

    def _outcome(
        self,
        status: str,
        reason: str = "",
        downtime: int | None = None,
        downtime_bytes: int = 0,
    ) -> Outcome:
        self._end_round()
        statistics = summarize(
            status,
            self._engine.name,
            self._source,
            self._parameters,
            self._sent,
            self._window,
            self._rates,
            self._convergence,
            total_ns=self._clock.now,
            downtime_ns=downtime,
            downtime_bytes=downtime_bytes,
            pending=self._bitmap.pending,
            syncs=self._syncs,
        )
        return Outcome(statistics, reason, tuple(self._rounds))
