# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a sweep is over: named sets, lists, and plans in TOML."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migcomp.bench.plan_file import read_plan
from migcomp.bench.sweep_plan import (
    SETS,
    Lists,
    Product,
    named_set,
    narrowed,
    settings_of,
)
from migcomp.errors import CodecUnavailable, LevelUnknown, SetupError
from tests.conftest import REPOSITORY


def settings(*products: Product, levels: tuple[int, ...] | None = None) -> list[str]:
    found = settings_of(products, levels, needed=True).settings
    return [one.name for one in found]


def test_a_cross_product() -> None:
    product = Product("zstd", (1, 3), ("page", "packet"), (1, 2), (False, True))
    assert len(settings(product)) == 16
    assert settings(Product("lz4", None, ("page",), (1,))) == ["lz4-1 page x1"]
    once = Product("zstd", (1, 1), ("page", "page"), (2, 2))
    assert settings(once, once) == ["zstd-1 page x2"]


@pytest.mark.parametrize("name", SETS)
def test_named_sets_can_be_had(name: str) -> None:
    found = settings_of(named_set(name), None, needed=True).settings
    assert len(found) == len(set(found)) > 1
    assert {one.codec for one in found} >= {"zstd", "lz4", "zlib"}


def test_sets_grow() -> None:
    quick, standard, full = (
        set(settings_of(named_set(name), None, needed=True).settings) for name in SETS
    )
    assert quick < standard < full


def test_lists_take_the_place_of_the_sets_own() -> None:
    lists = Lists(("lz4", "none"), None, ("page",), (3,), (True,))
    products = narrowed(named_set("quick"), lists)
    assert settings(*products) == ["lz4-1 page dedup x3", "none-0 page dedup x3"]
    many = narrowed(named_set("quick"), Lists(groupings=("page",), threads=(1,)))
    levels = {(s.rpartition(" page")[0]) for s in settings(*many, levels=(0, 9, 12))}
    assert levels == {
        "zstd-0", "zstd-9", "zstd-12", "lz4-0", "lz4-9", "lz4-12", "zlib-0", "zlib-9"
    }  # fmt: skip


def test_levels_that_a_codec_does_not_have() -> None:
    zlib = Product("zlib", None, ("page",), (1,))
    with pytest.raises(LevelUnknown, match="zlib has levels 0 to 9, not 12"):
        settings(zlib, levels=(12, 13))
    with pytest.raises(LevelUnknown, match="zlib has levels 0 to 9, not 12"):
        settings(replace(zlib, levels=(1, 12)))
    with pytest.raises(LevelUnknown, match=r"-131072 to 22, not 99; .*0 to 9, not 99"):
        settings_of(named_set("quick"), (99,), needed=False)


def test_what_a_set_has_and_this_machine_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIGCOMP_LIBLZ4", "none")
    found = settings_of(named_set("quick"), None, needed=False)
    assert {one.codec for one in found.settings} == {"zstd", "zlib"}
    assert found.left_out == (
        "no library for lz4 was found; do without MIGCOMP_LIBLZ4=none",
    )
    with pytest.raises(CodecUnavailable):
        settings_of(named_set("quick"), None, needed=True)
    with pytest.raises(CodecUnavailable):
        settings_of([Product("lz4", None, ("page",), (1,))], None, needed=False)


def test_too_many_settings() -> None:
    product = Product("zstd", tuple(range(1, 20)), ("page",), tuple(range(1, 1000)))
    with pytest.raises(ValueError, match="at most 10,000 settings"):
        settings(product)


def test_a_plan_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        "rounds = 7\n"
        '[[sweep]]\ncodec = ["zstd", "lz4"]\nlevel = 2\nthreads = [1, 2]\n'
        '[[sweep]]\ncodec = "zlib"\ngrouping = ["page"]\nthreads = 1\ndedup = true\n'
    )
    plan = read_plan(str(path))
    assert plan.rounds == 7
    assert settings(*plan.products) == [
        "zstd-2 packet x1",
        "zstd-2 packet x2",
        "lz4-2 packet x1",
        "lz4-2 packet x2",
        "zlib-1 page dedup x1",
    ]


def test_what_a_file_repeats_is_looked_at_once(tmp_path: Path) -> None:
    """A thousand of each would be more to try than anybody can wait for."""
    path = tmp_path / "plan.toml"
    lists: dict[str, list[Any]] = {
        "codec": ["lz4", "zstd"],
        "level": [1, 2],
        "grouping": ["page", "packet"],
        "threads": [2, 1],
    }
    lines = [f"{key} = {values * 3}" for key, values in lists.items()]
    path.write_text("\n".join(["[[sweep]]", *lines, "dedup = [true, false, true]"]))
    assert read_plan(str(path)).products == tuple(
        Product(codec, (1, 2), ("page", "packet"), (2, 1), (True, False))
        for codec in lists["codec"]
    )


def test_the_document_tells_the_sets_and_a_plan(tmp_path: Path) -> None:
    told = (REPOSITORY / "docs/benchmarking.md").read_text()
    for name in SETS:
        (row,) = re.findall(rf"^\| `{name}` \| (.*?) \| (.*?) \|", told, re.M)
        products = named_set(name)
        codecs = (
            " ".join([p.codec, *(str(n) for n in p.levels or () if p.codec != "none")])
            for p in products
        )
        assert row == (", ".join(codecs), ", ".join(products[0].groupings))
    path = tmp_path / "plan.toml"
    path.write_text(told.partition("```toml\n")[2].partition("```")[0])
    plan = read_plan(str(path))
    assert plan.rounds == 7
    assert len(settings(*plan.products)) == 2 * 2 * 2 * 3 + 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"has no table \[\[sweep\]\]"),
        ("sweep = 1", r"sweep must be an array of tables, \[\[sweep\]\]"),
        ("sweep = [1]", r"\[\[sweep\]\] 1 must be a table"),
        ("sweep = {}", r"sweep must be an array of tables, \[\[sweep\]\]"),
        (
            "[[sweep]]\nrounds = 5",
            r"\[\[sweep\]\] 1: there is no key 'rounds'; there are codec, level",
        ),
        (
            "[[sweep]]\nlevels = [1, 3]",
            r"\[\[sweep\]\] 1: there is no key 'levels'; did you mean 'level'\?",
        ),
        ("[[sweeps]]", r"there is no key 'sweeps'; did you mean 'sweep'\?"),
        ("turns = 5", "there is no key 'turns'; there are rounds, sweep"),
        (
            "rounds = 4\n[[sweep]]",
            "rounds must be a whole number from 5 to 1,000, and is 4",
        ),
        (
            "rounds = true\n[[sweep]]",
            "rounds must be a whole number from 5 .*, and is true",
        ),
        (
            "[[sweep]]\ncodec = 'gzip'",
            "codec must be one of zstd, lz4, .*, and is 'gzip'",
        ),
        ("[[sweep]]\ncodec = []", "codec must not be empty"),
        ("[[sweep]]\ncodec = 3", "codec must be one of zstd, .*, and is 3"),
        ("[[sweep]]\nlevel = [1, true]", "level must be a whole number, and is true"),
        (f"[[sweep]]\nlevel = 1{'0' * 30}", "level: zstd has levels .*, not 1000"),
        ("[[sweep]]\ndedup = 'yes'", "dedup must be true or false, and is 'yes'"),
        (
            "[[sweep]]\ngrouping = 'book'",
            "grouping must be one of page, .*, and is 'book'",
        ),
        (
            "[[sweep]]\nthreads = 0",
            "threads must be a whole number from 1 to 1,024, and is 0",
        ),
        (
            "[[sweep]]\n[[sweep]]\ncodec = ['zstd', 'zlib']\nlevel = [9, 10]",
            r"\[\[sweep\]\] 2: level: zlib has levels 0 to 9, not 10",
        ),
        (
            "[[sweep]]\ncodec = 'none'\nlevel = 1",
            r"\[\[sweep\]\] 1: level: none has only level 0, not 1",
        ),
        (f"[[sweep]]\nlevel = {[1] * 1001}", "level has more than 1,000 values"),
        ("[[sweep]", "is no TOML: "),
        ("x = " + "[" * 10_000, "is no TOML: "),
        ("#" * (2 << 20), "is too long; 1.00 MiB are enough"),
    ],
)
def test_plans_that_are_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(SetupError, match=f"plan.toml:? .*{words}"):
        read_plan(str(path))
