"""What the figures share: a `Plot` carries its own alternative text, a `Fragment` is HTML that shows itself.

A `Plot` is a matplotlib Figure that knows one sentence about its data (`alt`). In a notebook and on a page it shows
itself as an SVG image with that sentence as its `alt`. pyplot is not used, so nothing is shown twice and no figure
stays in memory.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import wraps
from html import escape
from io import BytesIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

# Okabe and Ito's colours, told apart by colour-blind readers; one meaning each, on every page.
BLUE, RED, GREEN, PURPLE, GREY, PALE = "#0072b2", "#c44e00", "#00815d", "#8a4f9e", "#59636e", "#c9d1d9"
_GROUND = "rgba(213,94,0,.28)"  # of a token that is looked at, in HTML
WIDTH = 6.8  # inches, shown at most 760 pixels wide: 10 points are then 15 pixels
_STYLE = {
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
    "axes.labelcolor": "#1f2328",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "#1f2328",
    "ytick.labelcolor": "#1f2328",
    "axes.grid": True,
    "grid.color": "#e6e9ec",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "svg.hashsalt": "asprm",  # the same figure is the same file
}


class Plot(Figure):
    """A figure with `alt`, one sentence on what it shows, which goes where the figure goes."""

    alt: str = ""

    def svg(self) -> bytes:
        out = BytesIO()
        with matplotlib.rc_context(_STYLE):
            self.savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()

    def html(self) -> str:
        """An <img> with the figure inside, as wide as the page allows up to 760 pixels."""
        data = base64.b64encode(self.svg()).decode()
        style = "width:100%;max-width:760px;height:auto;background:#fff"
        return f'<img alt="{escape(self.alt)}" style="{style}" src="data:image/svg+xml;base64,{data}">'

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.alt}


class Fragment(str):
    """A piece of HTML that shows itself."""

    def _repr_html_(self) -> str:
        return str(self)


def show(figure: Plot | Fragment) -> None:
    """Display a figure anywhere in a notebook cell, with its alternative text."""
    from IPython.display import display

    display(figure)


def styled(draw: Callable[..., Plot]) -> Callable[..., Plot]:
    @wraps(draw)
    def figure(*args, **kwargs) -> Plot:
        with matplotlib.rc_context(_STYLE):
            plot = draw(*args, **kwargs)
            plot.draw_without_rendering()  # ticks are made late: make them while the style holds
        return plot

    return figure


def new_plot(height: float, rows: Sequence[float] = (1,)) -> tuple[Plot, list[Axes]]:
    """A figure of `height` inches with panels of these relative heights on one x axis."""
    plot = Plot(figsize=(WIDTH, height), layout="constrained")
    axes = plot.subplots(len(rows), 1, sharex=True, squeeze=False, height_ratios=list(rows))[:, 0]
    return plot, list(axes)


def percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def percent_axis(axis, decimals: int = 0) -> None:
    axis.set_major_formatter(PercentFormatter(1, decimals=decimals, symbol=" %"))


def band(ax: Axes, x: ArrayLike, low: ArrayLike, high: ArrayLike, color: str) -> None:
    ax.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)


def error_bars(ax: Axes, x: ArrayLike, value: ArrayLike, low: ArrayLike, high: ArrayLike, color: str, **style) -> None:
    value = np.asarray(value, float)
    errors = np.maximum([value - low, high - value], 0)  # a Wilson bound may equal the value but for rounding
    ax.errorbar(x, value, errors, fmt="o", color=color, markersize=5, capsize=0, linewidth=1.6, **style)


def end_labels(ax: Axes, labels: list[tuple[float, str, str]], gap: float = 0.068) -> None:
    """Write (y, text, colour) beside the right edge, at least `gap` of the axis apart, in the order of y."""
    bottom, top = ax.get_ylim()
    labels = sorted(labels)
    places = [(y - bottom) / (top - bottom) for y, _, _ in labels]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    over = max(places[-1] - 0.98, 0)
    for i in reversed(range(len(places))):  # pushed beyond the top: push back down
        places[i] = min(places[i], 0.98 - gap * (len(places) - 1 - i)) if over else places[i]
    for place, (_, text, color) in zip(places, labels, strict=True):
        ax.text(1.015, place, text, color=color, transform=ax.transAxes, va="center", fontsize=9)


def marked(text: str) -> str:
    return f'<mark style="background:{_GROUND};color:inherit;font-weight:700">{text}</mark>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML cells, all to the left; the first of a row is its heading."""
    left = 'style="text-align:left"'
    head = "".join(f'<th scope="col" {left}>{name}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row" {left}>{first}</th>{"".join(f"<td {left}>{cell}</td>" for cell in others)}</tr>'
        for first, *others in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
