# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a page tells of a sweep, without a browser."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from migcomp.bench.results_file import read_results
from migcomp.bench.sweep_results import Setting, Sweep, SweepPlan, SweptImage
from migcomp.errors import ResultsError
from migcomp.report.html.sweep import to_html
from migcomp.report.html.sweep_case import (
    Case,
    answer,
    best_range,
    cases,
    link_rows,
    titles,
)
from migcomp.report.html.sweep_charts import charts
from migcomp.units import format_link
from tests.pages.full_sweep import SETTINGS as SETTINGS_OF_FULL
from tests.pages.full_sweep import full_sweep
from tests.pages.results import SAMPLES, SETTINGS, measure

PATH = "results.jsonl"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    path = tmp_path_factory.mktemp("sweep") / PATH
    return read_results(str(measure(path, [SAMPLES / "idle-4m.raw"])))


def changed(sweep: Sweep, **changes: Any) -> Sweep:
    """All samples' results with these fields."""
    return replace(
        sweep,
        samples=tuple(
            replace(sample, result=replace(sample.result, **changes))
            for sample in sweep.samples
        ),
    )


def with_settings(sweep: Sweep, settings: list[Setting]) -> Sweep:
    """The same samples under other names, again and again."""
    per_setting = len(sweep.plan.settings)
    samples = [
        replace(sample, setting=number)
        for number in range(len(settings))
        for sample in sweep.samples
        if sample.setting == number % per_setting
    ]
    plan = replace(sweep.plan, settings=tuple(settings))
    return replace(sweep, plan=plan, samples=tuple(samples))


def timed(sweep: Sweep, wall: dict[int, float], stream: dict[int, int]) -> Sweep:
    """Of each setting, how long a run took and what it made."""
    return replace(
        sweep,
        samples=tuple(
            replace(
                sample,
                result=replace(
                    sample.result,
                    wall_seconds=wall[sample.setting],
                    stream_bytes=stream[sample.setting],
                ),
            )
            for sample in sweep.samples
        ),
    )


def only_case(sweep: Sweep) -> Case:
    (case,) = cases(PATH, sweep, titles({PATH: sweep}))
    return case


def three(sweep: Sweep, *, rates: bool = True) -> Case:
    """Three settings for 1, 2 and 4 s; 1/4, 1/8 and 1/6 of the non-zero memory."""
    few = with_settings(sweep, list(SETTINGS[:3]))
    nonzero = few.samples[0].result.nonzero_bytes
    parts = (4, 8, 6) if rates else (1, 1, 1)
    return only_case(
        timed(
            few,
            {0: 1.0, 1: 2.0, 2: 4.0},
            {number: nonzero // part for number, part in enumerate(parts)},
        )
    )


def test_the_answer(measured: Sweep) -> None:
    case = three(measured)
    assert [case.figures[n].setting for n in case.front] == [SETTINGS[1], SETTINGS[0]]
    nonzero = case.figures[0].result.nonzero_bytes
    text = answer(case)
    assert text.startswith("2 of 3 settings are worth having")
    assert f"on links up to {format_link(nonzero)};" in text
    # The second makes an eighth in 2 s; from a link on that takes a quarter in as
    # long, the first is better.
    assert best_range(case, 1) == f"up to {format_link(nonzero / 8)}"
    low, high = format_link(nonzero / 8), format_link(nonzero)
    assert best_range(case, 0) == f"{low.removesuffix(' Mbit/s')} to {high}"
    assert best_range(case, 2) == "none"


def test_links(measured: Sweep) -> None:
    case = three(measured)
    rows = {row.link: row for row in link_rows(case)}
    nonzero = case.figures[0].result.nonzero_bytes
    assert nonzero < 5e6  # slower than all links with a name
    assert rows["1 Gbit/s"].best is None
    assert rows["1 Gbit/s"].guest_bytes_per_second == 125e6
    fast = only_case(
        timed(
            with_settings(measured, [SETTINGS[0]]),
            {0: nonzero / 500e6},
            {0: nonzero // 4},
        )
    )
    rows = {row.link: row for row in link_rows(fast)}
    assert rows["1 Gbit/s"].best is fast.figures[0]
    assert rows["1 Gbit/s"].guest_bytes_per_second == pytest.approx(500e6, rel=0.01)
    assert rows["10 Gbit/s"].best is None


def test_what_does_not_shrink(measured: Sweep) -> None:
    case = three(measured, rates=False)
    assert "None shrinks the memory" in answer(case)
    assert all(row.best is None for row in link_rows(case))


def test_nothing_but_zero_pages(tmp_path: Path) -> None:
    image = tmp_path / "zeros.raw"
    image.write_bytes(bytes(1 << 20))
    sweep = read_results(str(measure(tmp_path / PATH, [image], SETTINGS[:3], 1)))
    case = only_case(sweep)
    assert answer(case) == "All pages are zero: there is nothing to compress."
    assert all(row.best is None for row in link_rows(case))
    assert "key-front" not in [chart.key for chart in charts(case, "key")]
    assert b"nothing to compress" in to_html({PATH: sweep})


def test_titles_tell_images_apart() -> None:
    def sweep(*paths: str) -> Sweep:
        images = tuple(SweptImage(path, "raw", 4096, 4096) for path in paths)
        return Sweep(SweepPlan(images, (), 1), ())

    names = titles({"a": sweep("x/one.raw", "y/one.raw", "two.raw"), "b": sweep("-")})
    assert names == {
        ("a", "x/one.raw"): "x/one.raw",
        ("a", "y/one.raw"): "y/one.raw",
        ("a", "two.raw"): "two.raw",
        ("b", "-"): "stdin",
    }
    names = titles({"a": sweep("one.raw"), "b": sweep("one.raw")})
    assert sorted(names.values()) == ["one.raw in a", "one.raw in b"]


def test_charts_of_a_sweep(measured: Sweep) -> None:
    drawn = charts(only_case(measured), "key")
    assert [chart.key for chart in drawn] == [
        f"key-{name}"
        for name in (
            *("front", "scaling", "classes", "page-sizes", "request-times"),
            *("cpu", "map"),
        )
    ]
    for chart in drawn:
        for picture in (chart.wide, chart.narrow):
            assert picture.startswith("<svg")
            assert picture.count("currentColor") > 3
            assert "#010203" not in picture
        assert chart.wide != chart.narrow
        for table in chart.tables:
            assert all(len(row) == len(table.headings) for row in table.rows)
            assert len(table.printed) == len(table.rows)


def test_charts_need_their_figures(measured: Sweep) -> None:
    """No picture of what was not measured."""
    bare = replace(
        with_settings(measured, [SETTINGS[2]]),
        samples=tuple(
            replace(sample, page_sizes=None, result=replace(sample.result, regions=()))
            for sample in measured.samples
            if sample.setting == 0
        ),
    )
    keys = [chart.key for chart in charts(only_case(bare), "key")]
    assert keys == ["key-front", "key-classes", "key-request-times", "key-cpu"]


@pytest.mark.parametrize(("fewest", "words"), [(1, ""), (4, " The fewest that")])
def test_scaling_is_over_one_thread_measured_or_ideal(fewest: int, words: str) -> None:
    chosen = [s for s in SETTINGS_OF_FULL if s.level == 1 and s.threads >= fewest]
    case = only_case(full_sweep(chosen))
    (chart,) = (c for c in charts(case, "key") if c.key == "key-scaling")
    start = f"How many times as fast as one thread, and what would be ideal.{words}"
    assert chart.description.startswith(start)
    assert ("fewest" in chart.description) == bool(words)
    times = {row[0]: row[-1] for row in chart.tables[0].rows}
    assert times[f"zstd-1 packet x{fewest}"] == f"{fewest}.00"


def test_the_table_has_the_samples_figures(measured: Sweep) -> None:
    text = to_html({PATH: measured}).decode()
    case = only_case(measured)
    body = text.partition('class="sortable"')[2]
    for each in case.figures:
        row = re.search(
            rf'data-value="{re.escape(each.setting.name)}".*?</tr>', body, re.DOTALL
        )
        assert row, each.setting.name
        values = re.findall(r'data-value="([^"]*)"', row.group())[1:]
        assert float(values[0]) == each.rate
        assert float(values[2]) == each.speed / 1e6
        assert float(values[6]) == each.cpu_seconds_per_gib


def test_one_round_tells_nothing_of_noise(measured: Sweep) -> None:
    noise = re.compile(rb"<td[^>]*>[0-9]+[.][0-9] %</td>")
    assert noise.search(to_html({PATH: measured}))
    first = [sample for sample in measured.samples if sample.round == 1]
    assert not noise.search(to_html({PATH: replace(measured, samples=tuple(first))}))


def test_a_page_is_the_same_each_time(measured: Sweep) -> None:
    assert to_html({PATH: measured}) == to_html({PATH: measured})


def test_many_settings_and_long_names(measured: Sweep) -> None:
    """matplotlib warns of a chart that has no room, and warnings are errors here."""
    settings = [
        Setting(codec, level, "page", threads)
        for codec, level, threads in product(
            ("zstd", "c" * 300, "$x_1$ <b>\n\x07"), range(1, 9), (1, 2, 64)
        )
    ]
    text = to_html({PATH: with_settings(measured, settings)}).decode()
    assert "<b>" not in text
    assert "\x07" not in text
    assert text.count("<tr") > len(settings)


def test_a_full_sweep_makes_a_page_of_bounded_size() -> None:
    """Counted, not timed: a browser's work grows with elements, ours with bytes."""
    sweep = full_sweep()
    text = to_html({PATH: sweep}).decode()
    settings = len(sweep.plan.settings)
    assert settings == 432
    assert len(text) <= 4096 * settings
    assert text.count("<") <= 200 * settings
    assert "Drawn are 40 of 432 settings; the figures have all." in text


def test_paper_has_of_long_tables_what_the_charts_tell_apart() -> None:
    case = only_case(full_sweep())
    drawn = {chart.key: chart for chart in charts(case, "key")}

    def printed(key: str) -> list[str]:
        table = drawn[key].tables[0]
        return [table.rows[number][0] for number in table.printed]

    worth = {case.figures[number].setting.name for number in case.front}
    assert set(printed("key-front")) == worth
    for key in ("key-classes", "key-request-times", "key-cpu"):
        names = printed(key)
        assert len(set(names)) == 40
        assert all(f">{name}<" in drawn[key].wide for name in names)
    lines = Counter(name.rpartition(" ")[0] for name in printed("key-scaling"))
    assert set(lines.values()) == {4}
    assert len(lines) == 6
    assert all(f">{name}<" in drawn["key-scaling"].wide for name in lines)


def test_labels_of_a_logarithmic_axis_are_in_one_line() -> None:
    for chart in charts(only_case(full_sweep()), "key"):
        if chart.key in ("key-front", "key-request-times"):
            lines = re.findall(
                r'text-anchor: middle[^>]* y="([^"]*)"[^>]*>[0-9.,]+<', chart.wide
            )
            assert len(lines) > 5
            assert len(set(lines)) == 1


def test_ranges_of_links_have_two_ends_or_one() -> None:
    case = only_case(full_sweep())
    ranges = [best_range(case, number) for number in case.front]
    assert ranges[0].startswith("up to ")
    for told in ranges:
        low, to, high = told.partition(" to ")
        assert not to or low.partition(" ")[0] != high.partition(" ")[0]
    assert sum(told.startswith("about ") for told in ranges) > 5
    assert "beats its neighbours by less than 5 %" in answer(case)


def test_progress(measured: Sweep) -> None:
    told: list[tuple[int, int]] = []
    to_html({"a": measured, "b": measured}, (), lambda *done: told.append(done))
    assert told == [(0, 2), (1, 2)]


def test_a_sweep_without_samples(measured: Sweep) -> None:
    warm_ups = tuple(sample for sample in measured.samples if sample.round == 0)
    for samples in ((), warm_ups):
        with pytest.raises(ResultsError, match="no counted sample yet"):
            to_html({PATH: replace(measured, samples=samples)})
