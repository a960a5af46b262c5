# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pages in a real browser: what they show, at which width, and that they are still."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import command
from tests.pages.browser import Browser, chromium
from tests.pages.full_sweep import full_sweep, write
from tests.pages.results import SAMPLES, measure

WIDTHS = (1280, 390)
HOSTILE = "<img src=x onerror=alert(1)> $x$ '\"&\x07.raw"

#: Elements that stick out of the window, but for what lies in a part that scrolls, or
#: is cut off by the frame of its picture: CUT sees to that.
OUTSIDE = """
[...document.querySelectorAll("body *")].filter((each) => {
  const box = each.getBoundingClientRect();
  return box.width && (box.left < -1 || box.right > innerWidth + 1) &&
    !each.closest(".scroll > *, svg *");
}).map((each) => each.outerHTML.slice(0, 100))
"""

#: Pairs of texts of one chart that lie on each other.
OVERLAPS = """
[...document.querySelectorAll("svg")].flatMap((chart) => {
  const texts = [...chart.querySelectorAll("text")]
    .map((each) => [each.textContent, each.getBoundingClientRect()])
    .filter(([text, box]) => text.trim() && box.width);
  return texts.flatMap(([one, a], n) => texts.slice(n + 1)
    .filter(([other, b]) =>
      Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 &&
      Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
    .map(([other]) => one + " / " + other));
})
"""

#: Texts of charts that the picture cuts off.
CUT = """
[...document.querySelectorAll("svg")].flatMap((chart) => {
  const frame = chart.getBoundingClientRect();
  return [...chart.querySelectorAll("text")].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.width && (box.left < frame.left - 0.5 || box.right > frame.right + 0.5 ||
      box.top < frame.top - 0.5 || box.bottom > frame.bottom + 0.5);
  }).map((each) => each.textContent);
})
"""

VISIBLE = """
[...document.querySelectorAll("svg")]
  .filter((each) => each.getBoundingClientRect().height > 100).length
"""

COLORS = """
(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = ([r, g, b]) => 0.299 * r + 0.587 * g + 0.114 * b;
  const text = document.querySelector("svg text");
  return [light(numbers(getComputedStyle(document.body).backgroundColor)),
          light(numbers(getComputedStyle(text).fill))];
})()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def sweep_page(folder: Path) -> Path:
    """Of two images, one with a name from hell."""
    image = folder / HOSTILE
    shutil.copy(SAMPLES / "idle-4m.raw", image)
    results = measure(folder / "results.jsonl", [SAMPLES / "heap-8m.raw", image])
    page = folder / "sweep.html"
    done = command("report", results, "-o", page)
    assert done.code == 0, done.errors
    return page


@pytest.fixture(scope="module")
def full_page(folder: Path) -> Path:
    """Of 432 settings, of which 35 are worth having."""
    page = folder / "full.html"
    results = write(full_sweep(), folder / "full.jsonl")
    done = command("report", results, "-o", page)
    assert done.code == 0, done.errors
    return page


@pytest.fixture(scope="module")
def explain_page(folder: Path) -> Path:
    image = folder / f"explained {HOSTILE}"
    shutil.copy(SAMPLES / "heap-8m.raw", image)
    page = folder / "explain.html"
    done = command("explain", image, "--html", page, "--previous", image)
    assert done.code == 0, done.errors
    return page


@pytest.fixture(scope="module")
def simulations_page(folder: Path) -> Path:
    """One that throttles a guest, and one with a name from hell that is cancelled."""
    image = folder / f"migrated {HOSTILE}"
    shutil.copy(SAMPLES / "heap-8m.raw", image)
    model = ("--dirty-rate", "6MiB", "--link", "40Mbit", "--downtime-limit", "20")
    files = []
    for number, options in enumerate((("--auto-converge",), ("--max-time", "900"))):
        done = command("simulate", image, *model, *options, "--json")
        assert done.code == 0, done.errors
        files.append(folder / f"simulation{number}.json")
        files[-1].write_text(done.text)
    page = folder / "simulations.html"
    done = command("report", *files, "-o", page)
    assert done.code == 0, done.errors
    return page


@pytest.fixture(params=["sweep", "explain", "simulations"])
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(f"{request.param}_page")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_on_a_screen(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(page, width, dark=dark)
    charts = len(re.findall('<section class="chart"', page.read_text()))
    assert charts >= 5
    assert browser.run(VISIBLE) == charts
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(OUTSIDE) == []
    assert browser.run(OVERLAPS) == []
    assert browser.run(CUT) == []
    paper, ink = browser.run(COLORS)
    assert (paper < 60, ink > 180) == (dark, dark)
    assert (paper > 220, ink < 60) == (not dark, not dark)
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [
        page.as_uri()
    ]


def test_on_paper(browser: Browser, page: Path) -> None:
    """All figures are there, on white, and none is cut off at the edge."""
    browser.open(page, 760, dark=True, paper=True)
    assert browser.run(VISIBLE) == page.read_text().count('<section class="chart"')
    browser.run("dispatchEvent(new Event('beforeprint'))")
    hidden = """[...document.querySelectorAll("td")]
        .filter((each) => !each.getBoundingClientRect().height).length"""
    assert browser.run(hidden) == 0
    assert browser.run("document.documentElement.scrollWidth") <= 760
    assert browser.run(OVERLAPS) == []
    paper, ink = browser.run(COLORS)
    assert paper == 255
    assert ink == 0


def test_every_chart_has_words_and_figures(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    for script in (
        """[...document.querySelectorAll("svg")].every((each) =>
            each.getAttribute("role") === "img" &&
            each.getAttribute("aria-labelledby").split(" ").every((id) =>
              document.getElementById(id).textContent.length > 5))""",
        """[...document.querySelectorAll("section.chart")].every((each) =>
            each.querySelector("details table tbody tr td"))""",
        """(() => { const ids = [...document.querySelectorAll("[id]")]
            .map((each) => each.id); return new Set(ids).size === ids.length; })()""",
    ):
        assert browser.run(script) is True


def test_the_answer_comes_first(browser: Browser, sweep_page: Path) -> None:
    browser.open(sweep_page, 390)
    text = browser.run("document.querySelector('article').innerText")
    assert re.search(r"settings are worth having", text.partition("Rate against")[0])
    assert "1 Gbit/s" in text.partition("Rate against")[0]
    # What to take is seen without scrolling to the side.
    right = browser.run(
        "document.querySelector('tbody td').getBoundingClientRect().right"
    )
    assert right <= 390


#: Frames of tables that hold more than they show.
HIDING = """
[...document.querySelectorAll("details")].forEach((each) => each.open = true),
[...document.querySelectorAll(".scroll")]
  .filter((each) => each.scrollWidth > each.clientWidth)
  .map((each) => each.ariaLabel)
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_a_full_sweep(browser: Browser, full_page: Path, width: int) -> None:
    browser.open(full_page, width)
    hiding = browser.run(HIDING)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(OUTSIDE) == []
    assert browser.run(OVERLAPS) == []
    assert browser.run(CUT) == []
    if width == WIDTHS[0]:
        assert hiding == []
        return
    # The answer is whole, and names stay when a table is moved to its other end.
    assert "worth having and more" not in hiding
    assert "link and more" not in hiding
    assert "All settings of full.raw" in hiding
    ends = browser.run("""(() => {
        const frame = document.querySelector("table.sortable").parentElement;
        frame.scrollLeft = 1e6;
        const row = frame.querySelector("tbody tr");
        const [name, last] = [row.cells[0], row.lastElementChild]
          .map((each) => each.getBoundingClientRect());
        return [name.left - frame.getBoundingClientRect().left,
                frame.getBoundingClientRect().right - last.right,
                name.right < last.left];
    })()""")
    assert abs(ends[0]) <= 1
    assert ends[1] >= -1
    assert ends[2]


#: Of each table behind a chart how many rows it has, how many are to be seen, and
#: whether it is told that there are more.
ROWS = """
[...document.querySelectorAll("section.chart details .scroll")].map((each) => {
  const rows = [...each.querySelectorAll("tbody tr")];
  const told = each.previousElementSibling?.className === "paper" &&
    each.previousElementSibling.getBoundingClientRect().height > 0;
  return [rows.length, rows.filter((row) => row.getClientRects().length).length, told];
})
"""


def test_a_full_sweep_on_paper(browser: Browser, full_page: Path) -> None:
    """Of long tables behind charts it has what the charts tell apart, so that the
    sheets can be held in a hand; all settings are there once."""
    browser.open(full_page, 760, paper=True)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    tables = browser.run(ROWS)
    assert [rows for rows, _, _ in tables].count(432) == 4
    for rows, seen, told in tables:
        assert 0 < seen <= 64
        assert told == (seen < rows)
    shown = """[...document.querySelectorAll("table.sortable tbody tr")]
        .filter((row) => row.getBoundingClientRect().height > 0).length"""
    assert browser.run(shown) == 432
    assert 10 <= browser.sheets() <= 20
    browser.open(full_page, 1280)
    browser.run("document.querySelectorAll('details').forEach((d) => d.open = true)")
    assert all(seen == rows and not told for rows, seen, told in browser.run(ROWS))


def test_sorting(browser: Browser, sweep_page: Path) -> None:
    browser.open(sweep_page, 1280)
    column = """[...document.querySelector("table.sortable").tBodies[0].rows]
        .map((row) => row.cells[%d].dataset.value)"""
    press = """document.querySelector("table.sortable").tHead.rows[0].cells[%d]
        .querySelector("button").click()"""
    for number in (1, 3, 7):
        browser.run(press % number)
        values = [float(value) for value in browser.run(column % number)]
        assert values == sorted(values, reverse=True)
        browser.run(press % number)
        again = [float(value) for value in browser.run(column % number)]
        assert again == sorted(values)
    browser.run(press % 0)
    names = browser.run(column % 0)
    assert names == sorted(names, reverse=True)
    assert (
        browser.run("document.querySelectorAll('[aria-sort=descending]').length") == 1
    )


def test_names_from_outside_stay_text(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.run("document.scripts.length") == 1
    shown = browser.run("document.body.innerText")
    assert "<img src=x onerror=alert(1)> $x$ '\"&\\x07.raw" in shown


def test_no_other_script_runs(browser: Browser, sweep_page: Path, folder: Path) -> None:
    """Should something get past the escaping after all."""
    spoilt = folder / "spoilt.html"
    text = sweep_page.read_text()
    spoilt.write_text(
        text.replace("<main>", "<main><script>document.title = 'caught'</script>")
    )
    browser.open(spoilt, 1280)
    assert browser.run("document.title") != "caught"
    assert any("Content Security Policy" in each for each in browser.complaints)
    browser.complaints.clear()
