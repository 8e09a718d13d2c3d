"""What the figures share: `Plot`, a figure with an alternative text; `Fragment`, a piece of HTML; styles and helpers.

A notebook or page shows a `Plot` as an SVG image with its alternative text. pyplot is not used, so that no figure is
shown twice or stays in memory.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from html import escape
from io import BytesIO
from textwrap import fill
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

# Okabe and Ito's colours, which colour-blind readers can distinguish.
BLUE, RED, GREEN, PURPLE, GREY, PALE = "#0072b2", "#c44e00", "#00815d", "#8a4f9e", "#59636e", "#c9d1d9"
BLACK, YELLOW, SKY = "#1f2328", "#b58900", "#56b4e9"
_MARK = "rgba(213,94,0,.28)"  # background of a marked token, in HTML
NARROW = 4.3  # inches, on a phone: 10 points are then some 12 pixels
WIDTH = 6.8  # inches, shown at most 760 pixels wide: 10 points are then 15 pixels
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": BLACK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "axes.grid": True,
    "grid.color": "#e6e9ec",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "svg.hashsalt": "asprm",  # equal figures give equal files
}


P = ParamSpec("P")


class Plot(Figure):
    """A figure. alt: its alternative text, one sentence or two on what it shows."""

    alt: str = ""

    def svg(self) -> bytes:
        """The figure as an SVG file."""
        out = BytesIO()
        with matplotlib.rc_context(_STYLE):
            self.savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()

    @contextmanager
    def narrow(self) -> Iterator[None]:
        """In the block the figure is NARROW inches wide: letters keep their size, long labels of axes break."""
        own, labels = self.get_size_inches().copy(), [(axes, axes.get_xlabel()) for axes in self.axes]
        self.set_size_inches(NARROW, own[1])
        for axes, label in labels:
            axes.set_xlabel(fill(label, 38))
        try:
            yield
        finally:
            self.set_size_inches(*own)
            for axes, label in labels:
                axes.set_xlabel(label)

    def html(self) -> str:
        """The figure as a <picture>: as wide as the page, at most 760 pixels, and a narrow version for phones.

        `numbers` is an attribute of its <img>.
        """
        wide = base64.b64encode(self.svg()).decode()
        with self.narrow():
            narrow = base64.b64encode(self.svg()).decode()
        style = "width:100%;max-width:760px;height:auto;background:#fff"
        numbers = escape(self.numbers().to_csv(index=False, float_format="%.6g"))
        return (
            f'<picture><source media="(max-width: 700px)" srcset="data:image/svg+xml;base64,{narrow}">'
            f'<img alt="{escape(self.alt)}" style="{style}" data-numbers="{numbers}" '
            f'src="data:image/svg+xml;base64,{wide}"></picture>'
        )

    def numbers(self) -> pd.DataFrame:
        """What is drawn, as a table: panel (its title or number), series (its label in the legend), kind (line, bar,
        points or interval), x and y. An interval has a row for each end.
        """
        rows = [
            (axes.get_title("left") or axes.get_title() or str(number), *row)
            for number, axes in enumerate(self.axes, 1)
            for row in _drawn(axes)
        ]
        return pd.DataFrame(rows, columns=["panel", "series", "kind", "x", "y"])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.alt}


def _drawn(axes: Axes) -> Iterator[tuple[str, str, object, object]]:
    """Series, kind, x and y of all that stands for data in a panel."""
    x_name, y_name = _namer(axes.xaxis), _namer(axes.yaxis)

    def points(label: object, kind: str, pairs: Iterable[Sequence[float]]) -> Iterator[tuple[str, str, object, object]]:
        series = axes.get_ylabel() if str(label).startswith("_") else str(label)
        for x, y in pairs:
            yield series, kind, x_name(x), y_name(y)

    for line in axes.get_lines():
        if line.get_transform().contains_branch(axes.transData):
            yield from points(line.get_label(), "line", np.asarray(line.get_xydata()).tolist())
    for bars in axes.containers:
        if isinstance(bars, BarContainer):
            sideways = bars.orientation == "horizontal"
            middles = [((b.get_width(), b.get_y() + b.get_height() / 2) if sideways
                        else (b.get_x() + b.get_width() / 2, b.get_height())) for b in bars]  # fmt: skip
            yield from points(bars.get_label(), "bar", middles)
    for collection in axes.collections:
        if isinstance(collection, LineCollection):
            ends = [tuple(end) for segment in collection.get_segments() for end in segment]
            yield from points(collection.get_label(), "interval", ends)
        elif isinstance(collection, PathCollection):
            yield from points(collection.get_label(), "points", np.asarray(collection.get_offsets()).tolist())


def _namer(axis: Axis) -> Callable[[float], object]:
    """What a place on an axis is called: the name of the tick there, where ticks have names, else the number itself."""
    places = np.asarray(axis.get_ticklocs(), float)
    names = [tick.get_text() for tick in axis.get_ticklabels()]
    if not any(letter.isalpha() for name in names for letter in name):
        return lambda place: place

    def name(place: float) -> object:
        nearest = int(np.abs(places - place).argmin())
        return names[nearest] if abs(places[nearest] - place) < 0.5 and names[nearest] else place

    return name


class Fragment(str):
    """A piece of HTML that a notebook displays."""

    def _repr_html_(self) -> str:
        return str(self)


def show(figure: Plot | Fragment) -> None:
    """Display a figure in a notebook cell, not only as its last line."""
    from IPython.display import display

    display(figure)


def styled(draw: Callable[P, Plot]) -> Callable[P, Plot]:
    """The function, run with the style of this study's figures."""

    @wraps(draw)
    def figure(*args: P.args, **kwargs: P.kwargs) -> Plot:
        with matplotlib.rc_context(_STYLE):
            plot = draw(*args, **kwargs)
            plot.draw_without_rendering()  # matplotlib makes ticks when it draws, in the style of that time
        return plot

    return figure


def new_plot(height: float, rows: Sequence[float] = (1,)) -> tuple[Plot, list[Axes]]:
    """A figure of `height` inches, and its panels, which share one x axis. rows: relative heights of the panels."""
    plot = Plot(figsize=(WIDTH, height), layout="constrained")
    axes = plot.subplots(len(rows), 1, sharex=True, squeeze=False, height_ratios=list(rows))[:, 0]
    return plot, list(axes)


def percent_axis(axis: Axis, decimals: int = 0) -> None:
    """Label the ticks of an axis of shares in percent."""
    axis.set_major_formatter(PercentFormatter(1, decimals=decimals, symbol=" %"))


def band(ax: Axes, x: ArrayLike, low: ArrayLike, high: ArrayLike, color: str) -> None:
    """Draw the interval from `low` to `high` (n,) as a pale band."""
    ax.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)  # pyright: ignore[reportArgumentType]


def distances(value: ArrayLike, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """(2, n): how far the interval reaches below and above each value, as `Axes.errorbar` takes it."""
    value, low, high = (np.asarray(x, float) for x in (value, low, high))
    return np.maximum([value - low, high - value], 0)  # rounding may put a bound on the wrong side of its value


def error_bars(
    ax: Axes, x: ArrayLike, value: ArrayLike, low: ArrayLike, high: ArrayLike, color: str, **style: Any
) -> None:
    """Draw values (n,) as dots with their intervals."""
    errors = distances(value, low, high)
    x, value = np.asarray(x, float), np.asarray(value, float)
    ax.errorbar(x, value, errors, fmt="o", color=color, markersize=5, capsize=0, linewidth=1.6, **style)


def bar_values(ax: Axes, texts: Sequence[str], ends: ArrayLike, places: ArrayLike) -> None:
    """Write each text to the right of a horizontal bar that ends at (end, place)."""
    for text, end, place in zip(texts, np.asarray(ends, float), np.asarray(places, float), strict=True):
        ax.annotate(text, (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)


def end_labels(ax: Axes, labels: list[tuple[float, str, str]], gap: float = 0.068) -> None:
    """Write labels (y, text, colour) beside the right edge, in the order of y.

    gap: the least distance between two labels, as a share of the axis.
    """
    bottom, top = ax.get_ylim()
    labels = sorted(labels)
    places = [(y - bottom) / (top - bottom) for y, _, _ in labels]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    over = max(places[-1] - 0.98, 0)
    for i in reversed(range(len(places))):  # if the highest is beyond the top, move all down
        places[i] = min(places[i], 0.98 - gap * (len(places) - 1 - i)) if over else places[i]
    for place, (_, text, color) in zip(places, labels, strict=True):
        ax.text(1.015, place, text, color=color, transform=ax.transAxes, va="center", fontsize=9)


def marked(text: str) -> str:
    """The HTML `text` with a coloured background."""
    return f'<mark style="background:{_MARK};color:inherit;font-weight:700">{text}</mark>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML cells, aligned to the left; the first cell of a row is the row's heading."""
    left = 'style="text-align:left"'
    head = "".join(f'<th scope="col" {left}>{name}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row" {left}>{first}</th>{"".join(f"<td {left}>{cell}</td>" for cell in others)}</tr>'
        for first, *others in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
