# SPDX-License-Identifier: LGPL-2.1-or-later
"""What guests' pages cost: measured, stored, and what comes of them every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from migcomp.errors import ImageError
from migcomp.fleet.costs import (
    FleetCosts,
    GuestCosts,
    load_fleet_costs,
    measure_fleet,
)
from migcomp.fleet.evacuate import evacuate
from migcomp.fleet.evacuate import kinds as kinds_of
from migcomp.fleet.file import read_fleet
from migcomp.fleet.fleet import MemorySource
from migcomp.images.open import open_image
from migcomp.plan.candidates import Candidate
from migcomp.plan.measure import Measurer
from migcomp.plan.sample import take_sample
from migcomp.precopy.costs import Costs
from migcomp.precopy.dirty import IdleGuest
from migcomp.precopy.dirty_model import ModelledGuest
from migcomp.precopy.link import Link
from migcomp.precopy.memory import GuestMemory
from migcomp.precopy.simulate import simulate
from migcomp.report.fleet_json import to_json
from tests.conftest import PAGE, REPOSITORY, make_page
from tests.fleets import HEAP, K2, PLAIN, ZSTD, costs, fleet, guests

GOLDEN = REPOSITORY / "tests/golden/fleet"
FLEET = REPOSITORY / "sample_images/fleet.toml"
WORKS = (None, ZSTD.work)


def image(folder: Path, pages: bytes, name: str = "guest.raw") -> str:
    path = folder / name
    path.write_bytes(pages)
    return str(path)


def saved(known: FleetCosts, folder: Path) -> str:
    path = folder / "costs.json"
    path.write_text(known.to_text())
    return str(path)


def test_an_image_s_pages(tmp_path: Path) -> None:
    content = bytes(PAGE) * 30 + b"".join(make_page("text", n) for n in range(10))
    source = MemorySource("guest", (image(tmp_path, content),))
    known = measure_fleet([source, source], WORKS, PAGE).of(source, WORKS)
    assert known.pages == 40
    plain, packed = (known.memory[work] for work in WORKS)
    assert (plain.zero_share, plain.page_bytes) == (0.75, PAGE)
    assert packed.zero_share == 0.75
    assert packed.page_bytes < PAGE / 2
    assert packed.page_ns > 0
    assert (known.changed, known.model) == ({}, None)


def test_a_profile_s_pages() -> None:
    known = measure_fleet([HEAP], [None], PAGE).of(HEAP, [None])
    assert known.memory[None].zero_share == pytest.approx(0.483, abs=0.01)


def test_snapshots_tell_what_a_guest_writes(tmp_path: Path) -> None:
    pages = [make_page("noise", n) for n in range(50)] + [bytes(PAGE)] * 50
    first = image(tmp_path, b"".join(pages), "0.raw")
    pages[:20] = [make_page("text", n) for n in range(20)]
    source = MemorySource(
        "two", (first, image(tmp_path, b"".join(pages), "1.raw")), 1.0
    )
    known = measure_fleet([source], WORKS, PAGE)
    costs_of = known.of(source, WORKS)
    assert costs_of.model is not None
    assert costs_of.model.dirty_rate == pytest.approx(20, rel=0.01)
    changed, memory = costs_of.changed[ZSTD.work], costs_of.memory[ZSTD.work]
    assert changed.page_bytes < memory.page_bytes / 2
    again = load_fleet_costs(saved(known, tmp_path), PAGE)
    assert again.of(source, WORKS).model == costs_of.model


def test_what_was_saved_gives_the_same(tmp_path: Path) -> None:
    told = fleet(guests(count=3), way=ZSTD, policy=K2)
    known = measure_fleet([HEAP], WORKS, PAGE)
    again = load_fleet_costs(saved(known, tmp_path), PAGE)
    assert evacuate(told, known).evacuations == evacuate(told, again).evacuations
    assert {**json.loads(again.to_text())} == {**json.loads(known.to_text())}


def test_pages_of_another_size(tmp_path: Path) -> None:
    source = MemorySource("guest", (image(tmp_path, bytes(65536)),))
    known = measure_fleet([source], [None], 16384)
    assert known.of(source, [None]).pages == 4
    with pytest.raises(ImageError, match="pages of 16384 bytes, and not of 4096"):
        load_fleet_costs(saved(known, tmp_path), PAGE)


def test_what_is_not_stored_is_named() -> None:
    other = MemorySource("other.raw", ("other.raw",))
    with pytest.raises(ImageError, match=r"pages as they are for other\.raw"):
        costs().of(other, [None])
    known = FleetCosts(costs().base, {}, "costs.json")
    with pytest.raises(ImageError, match=r"costs.json: has no cost of zstd level 1"):
        known.of(HEAP, [ZSTD.work])


# --- Against the simulation -----------------------------------------------------------

#: As plan.md says of the formula that both rest on: a share, or QEMU's window.
SHARE, SECONDS = 0.12, 0.1
SHIPPED_IMAGE = str(REPOSITORY / "sample_images/heap-8m.raw")


@pytest.mark.parametrize("rate", [None, 150 * PAGE])
@pytest.mark.parametrize("way", [PLAIN, ZSTD])
def test_one_guest_goes_as_simulated(rate: int | None, way: Candidate) -> None:
    assert ZSTD.work is not None
    stored = {(ZSTD.work, kind): 20_000 for kind in ("compressed", "normal")}
    used = Costs(PAGE, 80, 700, 300, 3000, 5000, "stored", stored)
    with open_image(SHIPPED_IMAGE) as opened:
        sample = take_sample(opened, opened.pages or 0, 0)
        memory = GuestMemory.copy_of(opened)
    with sample.memory:
        measurer = Measurer(sample, used)
        found = {
            None: measurer.as_they_are(),
            ZSTD.work: measurer.compressed(ZSTD.work),
        }
    source = MemorySource("heap-8m.raw", (SHIPPED_IMAGE,))
    one = guests(memory=source, size=None, dirty_rate=rate)
    known = FleetCosts(
        used, {source.name: GuestCosts(sample.image_pages, found, {}, None)}, "made up"
    )
    told = fleet(one, link=40e6, way=way)
    (guess,) = evacuate(told, known).asked.guests
    kind = kinds_of(told, way, known)[one]
    writer = ModelledGuest(kind.writes.model, memory) if kind.writes else IdleGuest()
    with memory:
        truth = simulate(memory, writer, way.engine, Link(40e6), kind.parameters, used)
    assert guess.converged
    assert truth.converged
    seconds = truth.statistics.total_time / 1000
    assert guess.seconds == pytest.approx(seconds, rel=SHARE, abs=SECONDS)
    assert guess.wire_bytes == pytest.approx(truth.wire_bytes, rel=SHARE)
    assert guess.cpu_seconds == pytest.approx(truth.cpu_seconds, rel=SHARE)


# --- Stored ---------------------------------------------------------------------------


def change(*keys: str, to: Any) -> Callable[[Any], None]:
    def spoil(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = to

    return spoil


GUEST = ("guests", "profile heap")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change("schema", to="migcomp.costs/1"), "its schema is 'migcomp.costs/1'"),
        (change("zero-ns", to=-1), "zero-ns is -1"),
        (change("zero-ns", to=1.5), "zero-ns is 1.5"),
        (change("guests", to=[]), "is not a file of costs"),
        (change(*GUEST, to={}), "'pages' is missing"),
        (change(*GUEST, "pages", to=0), "pages is 0"),
        (change(*GUEST, "pages", to=10**30), "pages is 1000"),
        (change(*GUEST, "pages", to=5), "pages is 5, and its sample has"),
        (change(*GUEST, "memory", "none", "zero", to=10**6), "zero is 1000000"),
        (change(*GUEST, "memory", "none", "bytes", to=0), "bytes is 0"),
        (change(*GUEST, "memory", "none", "ns", to=None), "ns is None"),
        (change(*GUEST, "memory", to={"zstd": {}}), "is not a file of costs"),
        (change(*GUEST, "writes", to={"dirty-rate": 1}), "'skew' is missing"),
        (
            change(*GUEST, "writes", to={"dirty-rate": 9, "working-set": 3, "skew": 0}),
            "cannot be written in a second",
        ),
        (
            change(
                *GUEST,
                "writes",
                to={"dirty-rate": float("nan"), "working-set": 3, "skew": 0},
            ),
            "dirty-rate is nan",
        ),
    ],
)
def test_a_spoilt_file(tmp_path: Path, spoil: Callable[[Any], None], said: str) -> None:
    data = json.loads(costs().to_text())
    spoil(data)
    path = image(tmp_path, json.dumps(data).encode(), "costs.json")
    with pytest.raises(ImageError) as caught:
        load_fleet_costs(path, PAGE)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_what_is_no_file_of_costs(tmp_path: Path) -> None:
    for content, said in (
        (b"{", "is not JSON"),
        (b"[" * 10**5, "is not JSON"),
        (b"[]", "it is no JSON object"),
        (b"{}", "'schema' is missing"),
    ):
        path = image(tmp_path, content)
        with pytest.raises(ImageError, match=said):
            load_fleet_costs(path, PAGE)
    with pytest.raises(ImageError, match="No such file"):
        load_fleet_costs(str(tmp_path / "none"), PAGE)


def test_golden() -> None:
    """From these costs the shipped fleet is evacuated so on any machine."""
    known = load_fleet_costs(str(GOLDEN / "costs.json"), PAGE)
    assert (
        json.loads(known.to_text())["guests"]
        == (json.loads((GOLDEN / "costs.json").read_text())["guests"])
    )
    found: Any = to_json(evacuate(read_fleet(str(FLEET), PAGE), known))
    expected: Any = json.loads((GOLDEN / "result.json").read_text())
    for each in (found, expected):
        del each["fleet"], each["costs"], each["notes"]
    assert found == expected
