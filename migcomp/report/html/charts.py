# SPDX-License-Identifier: LGPL-2.1-or-later
"""Charts drawn by matplotlib, as SVG for a page and as PNG.

A chart for a page is drawn twice, for wide and for narrow windows, because one
that is scaled down cannot be read.  Text and lines take the colour of the page, so
that they can be read in light and in dark mode; the other colours suit both.  Text
stays text, and is no mathematics: it may come from outside.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migcomp.errors import MigcompError
from migcomp.report.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of Okabe and Ito, "Color Universal Design" (2008), but for the greys: they can be
# told apart whatever colours one sees.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
NEUTRAL = "#8a8f98"
_INK = "#010203"  # becomes the page's own colour
_WIDTHS = {"wide": 9.6, "narrow": 3.9}  # inches
_LABEL_MOST = 24  # letters
_LETTER_INCHES = 0.075
_KEY_INCHES = 0.4  # what a legend has beside a label

#: Of a chart that has a row for each of many; with all it fits on a sheet of paper.
ROW_INCHES = 0.24
ROWS_MOST = 40
#: That can be told apart in one chart.
LINES_MOST = 6

Draw = Callable[["Axes", bool], None]


def label(name: str) -> str:
    """A name from outside, short enough to leave room for the chart beside it."""
    text = printable(name)
    return text if len(text) <= _LABEL_MOST else f"{text[: _LABEL_MOST - 3]}..."


class ExtraMissing(MigcompError):
    """The packages that draw are not installed."""

    exit_code = 2


@contextmanager
def extra() -> Iterator[None]:
    """Says what to install where an import fails."""
    try:
        yield
    except ImportError as error:
        raise ExtraMissing(
            f"the Python package {error.name} is not installed; "
            "pip install 'migcomp[html]'"
        ) from error


def require_extra() -> None:
    """Raises ExtraMissing, before any work is done in vain."""
    with extra(), _quiet():
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401


@contextmanager
def _quiet() -> Iterator[None]:
    """matplotlib logs how it fares with its cache, which no reader asked for."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@dataclass(frozen=True)
class Table:
    """``words``: how many columns, from the first on, hold text and not numbers.

    ``drawn``: numbers of the rows that the chart tells apart; None for all.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    drawn: Sequence[int] | None = None

    @property
    def printed(self) -> Sequence[int]:
        """Numbers of the rows that paper has: of a table that takes more than a sheet,
        those that are drawn."""
        if self.drawn is None or len(self.rows) <= ROWS_MOST:
            return range(len(self.rows))
        return self.drawn


@dataclass(frozen=True)
class Chart:
    """``description``: what one sees, for those who do not; ``tables``: its figures."""

    key: str
    title: str
    description: str
    wide: str
    narrow: str
    tables: Sequence[Table]


def chart(
    key: str,
    title: str,
    description: str,
    draw: Draw,
    *tables: Table,
    height: float = 3.4,
) -> Chart:
    """``draw`` gets the axes, and whether they are narrow; ``height`` in inches.

    ``key`` is unique in a page.
    """
    drawn = {
        size: _svg(f"{key}-{size}", title, description, draw, width, height)
        for size, width in _WIDTHS.items()
    }
    return Chart(key, title, description, drawn["wide"], drawn["narrow"], tables)


@contextmanager
def _style(ink: str) -> Iterator[None]:
    with extra(), _quiet():
        import matplotlib

    settings: dict[str, object] = {
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "font.family": ["DejaVu Sans"],
        "font.size": 9,
        "legend.frameon": False,
        "legend.labelcolor": ink,
        "svg.fonttype": "none",
        "text.color": ink,
        "text.parse_math": False,
        "xtick.color": ink,
        # Whose ticks are shorter: so its labels are in one line with the major ones.
        "xtick.minor.pad": 5,
        "ytick.color": ink,
    }
    with (
        matplotlib.rc_context(settings),  # type: ignore[arg-type]
        warnings.catch_warnings(),
        _quiet(),
    ):
        # Of letters that matplotlib's font does not have, the browser's do.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def _svg(
    key: str, title: str, description: str, draw: Draw, width: float, height: float
) -> str:
    import html

    with _style(_INK):
        import matplotlib
        from matplotlib.figure import Figure

        # Makes names within the picture that no other picture in the page has.
        matplotlib.rcParams["svg.hashsalt"] = key
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes, width < max(_WIDTHS.values()))
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None})
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    # The groups have names that repeat from picture to picture, and nothing uses.
    text = re.sub(r' id="[a-zA-Z0-9_.]+_\d+"', "", text)
    text = text.replace(_INK, "currentColor")
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink" {box.group()} role="img" '
        f'aria-labelledby="{key}-title {key}-text">'
        f'<title id="{key}-title">{html.escape(printable(title))}</title>'
        f'<desc id="{key}-text">{html.escape(printable(description))}</desc>'
    )
    return head + text[text.index(">") + 1 :]


def legend_above(axes: Axes) -> None:
    """Above the axes, in as many rows as it takes to be no wider."""
    _, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure(root=True)
    assert figure is not None
    room = figure.get_figwidth() * axes.get_position().width
    each = _KEY_INCHES + _LETTER_INCHES * max(map(len, labels))
    axes.legend(
        ncols=max(1, min(len(labels), int(room / each))),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        columnspacing=1.2,
        handlelength=1.2,
    )


def rows_axis(axes: Axes, names: Sequence[str]) -> None:
    """A row for each name, from top to bottom."""
    axes.set_yticks(range(len(names)), list(map(label, names)))
    axes.set_ylim(len(names) - 0.4, -0.6)


def png(title: str, draws: Sequence[tuple[str, Draw]], *, columns: int = 2) -> bytes:
    """One picture of several charts, each with its title."""
    with _style("#222222"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        rows = -(-len(draws) // columns)
        figure = Figure(
            figsize=(6.4 * columns, 3.6 * rows), dpi=120, layout="constrained"
        )
        FigureCanvasAgg(figure)
        figure.suptitle(printable(title), x=0.01, ha="left", fontsize=11)
        for number, (heading, draw) in enumerate(draws):
            axes = figure.add_subplot(rows, columns, number + 1)
            axes.set_title(printable(heading), pad=40)  # above the legend
            draw(axes, False)
        return _png_of(figure)


def _png_of(figure: Figure) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()
