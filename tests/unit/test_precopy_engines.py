# SPDX-License-Identifier: LGPL-2.1-or-later
"""Engines: everything arrives, and bytes and pages are counted as they should be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from migcomp.errors import MigcompError
from migcomp.precopy import courier
from migcomp.precopy.clock import MS
from migcomp.precopy.costs import Costs, Work
from migcomp.precopy.dirty import DirtySource, IdleGuest
from migcomp.precopy.engines.choice import ENGINES, EngineChoice
from migcomp.precopy.link import Link
from migcomp.precopy.parameters import Parameters
from migcomp.precopy.results import SimulationResult
from migcomp.precopy.simulate import simulate
from migcomp.report.simulation_json import to_json
from tests.conftest import PAGE
from tests.precopy_tools import Writer, fixed_costs, guest_memory

FAST = Link(10e9)
CHOICES = [
    EngineChoice("none"),
    EngineChoice("compress"),
    EngineChoice("compress", "zstd", 3),
    EngineChoice("compress", "lz4"),
    EngineChoice("multifd"),
    EngineChoice("multifd", "zlib"),
    EngineChoice("multifd", "zstd", 5),
    EngineChoice("xbzrle"),
    EngineChoice("packets"),
    EngineChoice("packets", "lz4"),
    EngineChoice("delta"),
    EngineChoice("delta", "lz4"),
    EngineChoice("dedup"),
    EngineChoice("adaptive"),
]


def run(
    choice: EngineChoice,
    guest: DirtySource | None = None,
    *,
    pages: int = 2048,
    blocks: int = 1,
    costs: Costs | None = None,
    link: Link = FAST,
    **parameters: object,
) -> SimulationResult:
    chosen = Parameters(max_bandwidth=0, compress_threads=2)
    chosen = replace(chosen, **parameters)  # type: ignore[arg-type]
    with guest_memory(pages, blocks=blocks) as memory:
        return simulate(
            memory, guest or IdleGuest(), choice, link, chosen, costs or fixed_costs()
        )


def name(choice: EngineChoice) -> str:
    return "-".join(filter(None, (choice.name, choice.codec)))


def test_every_engine_is_tried() -> None:
    assert {choice.name for choice in CHOICES} == set(ENGINES)


@pytest.mark.parametrize("version", [(7, 2), (8, 2), (9, 0)], ids=str)
@pytest.mark.parametrize("choice", CHOICES, ids=name)
def test_a_busy_guest_arrives(choice: EngineChoice, version: tuple[int, int]) -> None:
    """simulate raises where the other side differs."""
    result = run(
        choice,
        Writer(3000),
        blocks=2,
        max_bandwidth=20_000_000,
        downtime_limit=30,
        qemu_version=version,
    )
    assert result.converged
    handled = sum(r.sent.handled for r in result.rounds)
    assert handled > 2048
    wire = sum(r.sent.wire_bytes for r in result.rounds)
    assert 0 <= result.wire_bytes - wire <= 128  # multifd's initial packets


@pytest.mark.parametrize("choice", CHOICES, ids=name)
def test_the_same_costs_give_the_same_result(
    choice: EngineChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte and the nanosecond, whatever the number of real threads."""

    def text(threads: int) -> str:
        monkeypatch.setattr(courier, "usable_cpus", lambda: threads)
        result = run(choice, Writer(3000), max_bandwidth=20_000_000, downtime_limit=30)
        assert not result.measured
        return json.dumps(to_json(result))

    assert text(1) == text(5) == text(2)


# --- What QEMU's engines count ------------------------------------------------------


def test_compress_sends_the_first_page_of_a_block_itself() -> None:
    # Pages are zero, rows, noise, text, eight of each; a block starts with zeros.
    result = run(EngineChoice("compress"), pages=2048, blocks=4)
    ram, compression = result.statistics.ram, result.statistics.compression
    assert compression is not None
    assert ram.duplicate == 512
    assert ram.normal == 0
    assert compression.pages == 1536
    names = 4 * (1 + len("ram0"))
    records = 512 * 9 + 1536 * 8 + compression.compressed_size + names
    assert result.rounds[0].sent.main_bytes == pytest.approx(records, abs=300)


def test_without_waiting_pages_go_normal() -> None:
    slow = fixed_costs(handover_ns=100_000)
    waits = run(EngineChoice("compress"), costs=slow).statistics
    hurries = run(
        EngineChoice("compress"), costs=slow, compress_wait_thread="off"
    ).statistics
    assert waits.compression is not None
    assert hurries.compression is not None
    assert waits.compression.busy == waits.ram.normal == 0
    assert hurries.compression.busy > hurries.ram.normal > 1000
    assert hurries.total_time < waits.total_time
    assert hurries.ram.transferred > waits.ram.transferred


def test_adaptive_waiting_is_between() -> None:
    slow = fixed_costs(handover_ns=100_000)
    sent = {
        way: run(
            EngineChoice("compress"),
            costs=slow,
            compress_wait_thread=way,
            max_bandwidth=40_000_000,
        )
        for way in ("on", "adaptive", "off")
    }
    busy = {
        way: result.statistics.compression.busy
        for way, result in sent.items()
        if result.statistics.compression
    }
    assert busy["on"] == 0 < busy["adaptive"] < busy["off"]


@pytest.mark.parametrize("version", [(7, 2), (8, 2), (9, 0)], ids=str)
def test_multifd_packets(version: tuple[int, int]) -> None:
    result = run(EngineChoice("multifd"), multifd_channels=3, qemu_version=version)
    ram = result.statistics.ram
    assert (ram.duplicate, ram.normal) == (512, 1536)
    packets = 2048 // 128 if version >= (9, 0) else 1536 // 128
    content = packets * 1344 + 1536 * PAGE
    syncs, rest = divmod(ram.multifd_bytes - content, 3 * 1344)
    assert rest == 0
    assert syncs >= 3  # setup, the bulk round, the end
    zeros = 0 if version >= (9, 0) else 512 * 9
    assert 0 <= ram.transferred - ram.multifd_bytes - zeros < 400


def test_old_multifd_counts_pages_whole() -> None:
    sent = {
        version: run(EngineChoice("multifd", "zstd"), qemu_version=version)
        for version in ((7, 2), (8, 2))
    }
    assert sent[7, 2].statistics.ram.multifd_bytes > 1536 * PAGE
    assert sent[8, 2].statistics.ram.multifd_bytes < 1000 * PAGE
    assert sent[7, 2].wire_bytes == pytest.approx(sent[8, 2].wire_bytes, rel=0.05)


def test_a_window_is_over_with_the_packet_that_exceeds_it() -> None:
    """Zero pages lie between a packet's, which 7.2 counts whole when it is full."""
    result = run(
        EngineChoice("multifd"),
        max_bandwidth=10_000_000,
        downtime_limit=0,
        qemu_version=(7, 2),
    )
    # Two packets of 512 KiB for each window of 1 MB, and 1536 pages that are not zero.
    assert result.rounds[-1].start_ns == 1536 // (2 * 128) * 100 * MS


def test_xbzrle_starts_after_the_first_round() -> None:
    result = run(
        EngineChoice("xbzrle"),
        Writer(3000),
        max_bandwidth=20_000_000,
        downtime_limit=10,
    )
    cache = result.statistics.xbzrle_cache
    assert cache is not None
    assert result.rounds[0].sent.xbzrle_cache_miss == 0
    assert cache.cache_miss > 0
    assert cache.pages >= cache.overflow


def test_equal_pages_are_sent_once() -> None:
    with guest_memory(256) as memory:
        for page in range(100, 120):
            memory.write(page, memory.read(8))
        result = simulate(
            memory,
            IdleGuest(),
            EngineChoice("dedup"),
            FAST,
            Parameters(max_bandwidth=0),
            fixed_costs(),
        )
    assert sum(r.sent.deduplicated for r in result.rounds) == 20


def test_deltas_are_small() -> None:
    def last_bytes(engine: str) -> int:
        result = run(
            EngineChoice(engine),
            Writer(3000),
            max_bandwidth=20_000_000,
            downtime_limit=30,
        )
        return sum(r.sent.wire_bytes for r in result.rounds[1:])

    assert last_bytes("delta") < last_bytes("none") / 4


def test_pages_that_are_sent_first_go_in_packets() -> None:
    """As many bytes as where there are no deltas at all; what is sent again goes as
    deltas, which these costs tell."""
    delta = run(EngineChoice("delta"))
    packets = run(EngineChoice("packets"))
    assert delta.wire_bytes == packets.wire_bytes
    page_ns = {("zstd", 1, "packet"): 3000, ("zstd", 1, "delta"): 1000}
    stored = {
        (Work(*work), kind): ns
        for work, ns in page_ns.items()
        for kind in ("compressed", "normal")
    }
    again = run(
        EngineChoice("delta"),
        Writer(3000),
        costs=replace(fixed_costs(), stored=stored),
        max_bandwidth=20_000_000,
        downtime_limit=30,
    )
    assert sum(r.sent.deltas for r in again.rounds) > 100


def packet_costs(page_ns: dict[tuple[str, int], int]) -> Costs:
    """Of packets by codec and level; what is left out has none."""
    stored = {
        (Work(codec, level, "packet"), kind): ns
        for (codec, level), ns in page_ns.items()
        for kind in ("compressed", "normal")
    }
    return replace(fixed_costs(), send_ns=1137, zero_ns=415, stored=stored)


#: Those of benchmarks/costs.json.
MEASURED = {
    ("none", 0): 552,
    ("lz4", 1): 6991,
    ("zstd", 1): 10_513,
    ("zstd", 3): 15_507,
    ("zstd", 9): 68_141,
}
ADAPTIVE = EngineChoice("adaptive")


def of_best_fixed(gbit: float, costs: Costs, pages: int = 8192) -> float:
    """The adaptive engine's time as a share of the best fixed choice's."""

    def time(choice: EngineChoice) -> int:
        link = Link(gbit * 1e9)
        return end(run(choice, pages=pages, link=link, costs=costs, compress_threads=8))

    fixed = (
        EngineChoice("packets", codec, level)
        for codec, level in (("none", None), ("lz4", 1), ("zstd", 1), ("zstd", 3))
    )
    return time(ADAPTIVE) / min(map(time, fixed))


@pytest.mark.parametrize("gbit", [0.1, 1, 10, 25, 40, 100])
def test_the_adaptive_engine_is_near_the_best(gbit: float) -> None:
    """Of 32 MiB, where little can be learnt before all is over; benchmarks/adaptive.py
    holds it to the same on whole guests."""
    assert of_best_fixed(gbit, packet_costs(MEASURED)) <= 1.05


@pytest.mark.parametrize(
    ("speed", "gbit", "pages"),
    [(1 / 3, 10, 8192), (2, 50, 16_384)],
    ids=["slower", "faster, and none seems best"],
)
def test_the_first_codec_tells_of_the_others(
    speed: float, gbit: float, pages: int
) -> None:
    """On a host that compresses at another speed than the engine begins with."""
    others = {key: round(ns / speed) for key, ns in MEASURED.items() if key[1]}
    costs = packet_costs(MEASURED | others)
    assert of_best_fixed(gbit, costs, pages) <= 1.05


def test_the_adaptive_engine_begins_with_what_the_link_asks_for() -> None:
    costs = packet_costs(MEASURED)
    result = run(ADAPTIVE, link=Link(100e9), costs=costs, compress_threads=8)
    assert result.engine_description.endswith("packets by none 100 %")


def test_the_adaptive_engine_learns_when_a_thread_is_done() -> None:
    """Each of four has taken a packet before one can know how slow lz4 is here."""
    costs = packet_costs({("none", 0): 552, ("lz4", 1): 10_000_000})
    result = run(ADAPTIVE, pages=2048, link=Link(25e9), costs=costs, compress_threads=4)
    assert result.engine_description.endswith("packets by none 75 %, lz4 1 25 %")


def test_the_adaptive_engine_tries_nothing_that_cannot_be_best() -> None:
    """zstd 9 would have no cost here, if it were asked."""
    known = {key: ns for key, ns in MEASURED.items() if key != ("zstd", 9)}
    costs = packet_costs(known)
    arguments = {"pages": 8192, "costs": costs, "compress_threads": 8}
    assert run(ADAPTIVE, link=FAST, **arguments).converged  # type: ignore[arg-type]
    with pytest.raises(MigcompError, match=r"no cost of .* zstd level 9"):
        run(ADAPTIVE, link=Link(1e9), **arguments)  # type: ignore[arg-type]


def end(result: SimulationResult) -> int:
    return result.rounds[-1].end_ns


def test_unknown_engines_are_refused() -> None:
    with pytest.raises(MigcompError, match="there is no engine 'magic'"):
        run(EngineChoice("magic"))
