"""Figures: one function per figure, from plain arrays and frames to a `Plot` that carries its own alternative text.

A `Plot` is a matplotlib Figure that knows one sentence about its data (`alt`). In a notebook and on a page it shows
itself as an SVG image with that sentence as its `alt`. Nothing here reads a file or computes more than shares per
group; pyplot is not used, so nothing is shown twice and no figure stays in memory.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from html import escape
from io import BytesIO
from itertools import cycle
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from asprm.align import visible
from asprm.statistics import Interval, Reliability, bootstrap_ratio
from asprm.threshold import Threshold

if TYPE_CHECKING:
    from asprm.guided import Decision

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


def _styled(draw: Callable[..., Plot]) -> Callable[..., Plot]:
    @wraps(draw)
    def figure(*args, **kwargs) -> Plot:
        with matplotlib.rc_context(_STYLE):
            plot = draw(*args, **kwargs)
            plot.draw_without_rendering()  # ticks are made late: make them while the style holds
        return plot

    return figure


def _plot(height: float, rows: Sequence[float] = (1,)) -> tuple[Plot, list[Axes]]:
    """A figure of `height` inches with panels of these relative heights on one x axis."""
    plot = Plot(figsize=(WIDTH, height), layout="constrained")
    axes = plot.subplots(len(rows), 1, sharex=True, squeeze=False, height_ratios=list(rows))[:, 0]
    return plot, list(axes)


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def _percent_axis(axis, decimals: int = 0) -> None:
    axis.set_major_formatter(PercentFormatter(1, decimals=decimals, symbol=" %"))


def _band(ax: Axes, x: ArrayLike, low: ArrayLike, high: ArrayLike, color: str) -> None:
    ax.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)


def _error_bars(ax: Axes, x: ArrayLike, value: ArrayLike, low: ArrayLike, high: ArrayLike, color: str, **style) -> None:
    value = np.asarray(value, float)
    errors = np.maximum([value - low, high - value], 0)  # a Wilson bound may equal the value but for rounding
    ax.errorbar(x, value, errors, fmt="o", color=color, markersize=5, capsize=0, linewidth=1.6, **style)


def _end_labels(ax: Axes, labels: list[tuple[float, str, str]], gap: float = 0.068) -> None:
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


# --- threshold --------------------------------------------------------------------------------------------------------


@_styled
def confidence_histogram(confidences: ArrayLike, threshold: Threshold, bins: int = 50) -> Plot:
    """How confident the policy is in the tokens that it samples: counts (T,) by confidence, τ with its interval."""
    confidences = np.asarray(confidences)
    plot, (ax,) = _plot(2.9)
    edges = np.linspace(0, 1, bins + 1)
    ax.hist(confidences, edges, color=BLUE, alpha=0.35)
    ax.hist(confidences[confidences < threshold.tau], edges, color=RED)
    ax.axvspan(threshold.low, threshold.high, color=RED, alpha=0.2, linewidth=0)
    ax.axvline(threshold.tau, color=RED)
    ax.set_yscale("log")
    on_left = threshold.tau > 0.5
    ax.annotate(
        f"τ = {threshold.tau:.3f}  ({threshold.low:.3f} to {threshold.high:.3f})\n"
        f"{_percent(threshold.achieved)} of the tokens lie below",
        (threshold.tau, 0.97),
        xycoords=ax.get_xaxis_transform(),
        xytext=(-8 if on_left else 8, 0),
        textcoords="offset points",
        ha="right" if on_left else "left",
        va="top",
        color=RED,
    )
    ax.set(xlim=(0, 1), xlabel="confidence of the sampled token", ylabel="tokens (logarithmic)")
    sure = (confidences > 0.98).mean()
    plot.alt = (
        f"Histogram of {threshold.tokens:,} token confidences on a logarithmic scale: {_percent(sure, 0)} lie above "
        f"0.98; {_percent(threshold.achieved)} lie below the threshold {threshold.tau:.3f} "
        f"(interval {threshold.low:.3f} to {threshold.high:.3f})."
    )
    return plot


@_styled
def threshold_sweep(thresholds: Sequence[Threshold], chosen: float = 0.02) -> Plot:
    """τ with its interval against the share of tokens that is to lie below it; `chosen` is the share in use."""
    plot, (ax,) = _plot(2.7)
    ordered = sorted(thresholds, key=lambda t: t.share)
    shares, taus, low, high = (np.array([getattr(t, f) for t in ordered]) for f in ("share", "tau", "low", "high"))
    ax.plot(shares, taus, color=BLUE)
    _error_bars(ax, shares, taus, low, high, BLUE)
    for t in ordered:
        if np.isclose(t.share, chosen):
            _error_bars(ax, [t.share], [t.tau], [t.low], [t.high], RED, zorder=5)
            ax.annotate(
                f"τ = {t.tau:.3f}",
                (t.share, t.tau),
                xytext=(0, 10),
                textcoords="offset points",
                ha="right",
                color=RED,
            )
    _percent_axis(ax.xaxis, 1)
    ax.set(
        xlabel="share of tokens below τ", ylabel="τ", xlim=(0, shares.max() * 1.06), ylim=(0, min(1, high.max() * 1.15))
    )
    plot.alt = (
        f"The threshold rises from {taus[0]:.3f} for {_percent(shares[0])} of the tokens "
        f"to {taus[-1]:.3f} for {_percent(shares[-1])}."
    )
    return plot


# --- samples ----------------------------------------------------------------------------------------------------------


@_styled
def solve_rates(rates: Mapping[str, ArrayLike], bins: int = 8) -> Plot:
    """How often problems are solved: per set, (P,) the share of a problem's samples that are right."""
    plot, (ax,) = _plot(3.2)
    edges = np.linspace(0, 1, bins + 1)
    width = 0.9 / bins / len(rates)
    told = []
    for k, (name, values) in enumerate(rates.items()):
        values = np.asarray(values, float)
        share = np.histogram(values, edges)[0] / len(values)
        color = (BLUE, GREEN, RED, PURPLE)[k % 4]
        ax.bar(edges[:-1] + 0.05 / bins + (k + 0.5) * width, share, width, color=color, label=name)
        told.append(f"{name}: {_percent((values == 0).mean())} never, {_percent((values == 1).mean())} always")
    ax.legend(frameon=False)
    _percent_axis(ax.xaxis)
    _percent_axis(ax.yaxis)
    ax.set(xlabel="share of a problem's samples that are right", ylabel="share of problems", xlim=(0, 1))
    plot.alt = "Share of problems by how often they are solved. " + "; ".join(told) + "."
    return plot


# --- split ------------------------------------------------------------------------------------------------------------


def solution_steps(
    tokens: Sequence[str],
    confidences: ArrayLike,
    splits: Mapping[str, ArrayLike],
    tau: float,
) -> Fragment:
    """One solution token by token under several splits (paper Figure 1), as HTML that wraps on a phone.

    tokens: (T,) the text of each. splits: step ends (exclusive) by the name of the method. The redder a token's ground,
    the less confident it was sampled; tokens below tau are bold; a bar stands where a step ends. Every
    token names its confidence on hover. Colours are transparent, so they serve the light and the dark theme.
    """
    confidences = np.asarray(confidences, float)
    if len(tokens) != len(confidences):
        raise ValueError(f"{len(tokens)} tokens and {len(confidences)} confidences; need one each")
    blocks = []
    for method, ends in splits.items():
        numbers = {int(end): k for k, end in enumerate(ends, start=1)}
        spans = [
            _token(token, confidence, tau, _bar(numbers[i]) if i in numbers else "")
            for i, (token, confidence) in enumerate(zip(tokens, confidences, strict=True), start=1)
        ]
        steps = "1 step" if len(numbers) == 1 else f"{len(numbers)} steps"
        blocks.append(
            f'<p style="margin:.9em 0 .2em"><strong>{escape(method)}</strong>: {steps}</p>'
            f'<div style="white-space:pre-wrap;line-height:1.9;font-size:.95em">{"".join(spans)}</div>'
        )
    label = (
        f"One solution of {len(tokens)} tokens, {int((confidences < tau).sum())} of them below {tau:.3f}, cut by "
        + ("; ".join(f"{method} into {len(np.asarray(ends))} steps" for method, ends in splits.items()))
    )
    key = f"The redder a token's ground, the less confident it was; bold: below {tau:.3f}; a bar ends a step."
    blocks.append(f'<p style="margin:.9em 0;font-size:.85em">{key}</p>')
    return Fragment(f'<div role="group" aria-label="{escape(label)}">{"".join(blocks)}</div>')


def _token(token: str, confidence: float, tau: float, bar: str) -> str:
    """A token and the bar after it, which stands at a line's end rather than at the next one's beginning."""
    doubt = min(1.0, -np.log(max(confidence, 1e-9)) / 1.6)  # full colour at confidence 0.2
    low = confidence < tau
    title = f"{token.strip() or repr(token)[1:-1]} {confidence:.3f}" + (" · decision" if low else "")
    style = f"background:rgba(213,94,0,{0.75 * doubt:.2f})" + (";font-weight:700" if low else "")
    text, newline, rest = token.partition("\n")
    text += "⏎" if low and newline else ""  # a line break has no ground to be coloured
    return f'<span title="{escape(title)}" style="{style}">{escape(text)}</span>{bar}{newline}{escape(rest)}'


def _bar(number: int) -> str:
    style = "border-left:4px solid var(--pst-color-primary,#1f7fc0);margin:0 .25em;padding:.25em 0"
    return f'<span role="img" aria-label="end of step {number}" title="end of step {number}" style="{style}"></span>'


# --- labels and the reward model --------------------------------------------------------------------------------------


def _share_by_group(
    group: ArrayLike, value: ArrayLike, problem: ArrayLike, most: int, seed: int = 0
) -> tuple[NDArray[np.int64], Interval, NDArray[np.int64]]:
    """Groups up to `most` (more count as `most`), the mean value of each with its interval over problems, its rows."""
    group = np.minimum(np.asarray(group, int), most)
    codes = np.unique(np.asarray(problem), return_inverse=True)[1].ravel()
    top, bottom = np.zeros((2, codes.max() + 1, most + 1))
    np.add.at(top, (codes, group), np.asarray(value, float))
    np.add.at(bottom, (codes, group), 1)
    present = np.flatnonzero(bottom.sum(0))
    share = bootstrap_ratio(top[:, present], bottom[:, present], resamples=2000, seed=seed)
    return present, share, bottom.sum(0)[present].astype(np.int64)


def _by_group(plot: Plot, axes: list[Axes], found, most: int, xlabel: str, ylabel: str, counted: str) -> None:
    groups, (share, low, high), count = found
    main, below = axes
    main.plot(groups, share, color=BLUE, linewidth=1)
    _error_bars(main, groups, share, low, high, BLUE)
    main.set(ylim=(0, 1.02), ylabel=ylabel)
    _percent_axis(main.yaxis)
    below.bar(groups, count, color=PALE, width=0.7)
    below.set(xlabel=xlabel, ylabel=counted)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 1000:g}k" if v >= 1000 else f"{v:g}"))
    below.set_xticks(groups, [f"{g}+" if g == most else str(g) for g in groups])
    plot.align_ylabels(axes)


@_styled
def label_by_position(step: ArrayLike, label: ArrayLike, problem: ArrayLike, most: int = 12) -> Plot:
    """Mean label by step number (from 1; `most` and later together), with intervals over problems; all (steps,)."""
    plot, axes = _plot(3.5, (3, 1))
    found = _share_by_group(step, label, problem, most)
    _by_group(plot, axes, found, most, "step", "mean label", "steps")
    groups, (share, _, _), count = found
    plot.alt = (
        f"Mean label of {count.sum():,} steps by their number in the solution: {_percent(share[0], 0)} at step "
        f"{groups[0]}, {_percent(share[-1], 0)} at step {groups[-1]}{' and later' if groups[-1] == most else ''}."
    )
    return plot


@_styled
def accuracy_by_steps(steps: ArrayLike, correct: ArrayLike, problem: ArrayLike, most: int = 12) -> Plot:
    """Share of right solutions by their number of steps (`most` and more together); all (solutions,)."""
    plot, axes = _plot(3.5, (3, 1))
    found = _share_by_group(steps, correct, problem, most)
    _by_group(plot, axes, found, most, "steps in the solution", "right solutions", "solutions")
    groups, (share, _, _), count = found
    plot.alt = (
        f"Share of right solutions among {count.sum():,} by their number of steps: {_percent(share[0], 0)} with "
        f"{groups[0]}, {_percent(share[-1], 0)} with {groups[-1]}{' or more' if groups[-1] == most else ''}."
    )
    return plot


@_styled
def training_curve(
    step: ArrayLike,
    loss: ArrayLike,
    validation_step: ArrayLike = (),
    validation_loss: ArrayLike = (),
    *,
    xlabel: str = "optimizer step",
) -> Plot:
    """The PRM's training loss, as logged and smoothed over a twentieth of the run, and its validation loss."""
    step, loss = np.asarray(step, float), np.asarray(loss, float)
    plot, (ax,) = _plot(2.9)
    window = max(1, len(loss) // 20)
    smooth = pd.Series(loss).rolling(window, min_periods=1, center=True).mean().to_numpy()
    ax.plot(step, loss, color=BLUE, alpha=0.25, linewidth=1)
    ax.plot(step, smooth, color=BLUE)
    labels = [(smooth[-1], "training", BLUE)]
    alt = f"Training loss falls from {smooth[0]:.3f} to {smooth[-1]:.3f} over {step[-1]:,.0f} steps"
    if smooth[-1] >= smooth[0]:
        alt = f"Training loss goes from {smooth[0]:.3f} to {smooth[-1]:.3f} over {step[-1]:,.0f} steps"
    if len(np.atleast_1d(validation_loss)):
        validation_step, validation_loss = np.atleast_1d(validation_step), np.atleast_1d(validation_loss)
        ax.plot(validation_step, validation_loss, "o-", color=RED, markersize=4)
        labels.append((float(validation_loss[-1]), "validation", RED))
        alt += f"; the last validation loss is {validation_loss[-1]:.3f}"
    ax.set(xlabel=xlabel, ylabel="cross-entropy", xlim=(0, step[-1]))
    _end_labels(ax, labels)
    plot.alt = alt + "."
    return plot


@_styled
def loss_curves(histories: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Plot:
    """Losses against tokens seen, a line per model: (tokens, losses) by name."""
    plot, (ax,) = _plot(3.0)
    labels, told = [], []
    for color, (name, (tokens, losses)) in zip([BLUE, RED, GREEN, PURPLE, GREY], histories.items(), strict=False):
        tokens, losses = np.asarray(tokens, float), np.asarray(losses, float)
        ax.plot(tokens / 1e6, losses, color=color, linewidth=1.4)
        labels.append((losses[-1], name, color))
        told.append(f"{name} falls from {losses[0]:.2f} to {losses[-1]:.2f}")
    ax.set(xlabel="million tokens seen", ylabel="loss per solution token", yscale="log", xlim=(0, None))
    for _, name, color in labels:
        ax.plot([], [], color=color, label=name)
    ax.legend()
    plot.alt = f"Training losses: {', '.join(told)}."
    return plot


@_styled
def reliability_diagram(bins: Reliability) -> Plot:
    """Do scores mean what they say? The share of steps with label 1 by score, beside the diagonal, and the counts."""
    plot, axes = _plot(4.2, (3.4, 1))
    main, below = axes
    main.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    main.plot(bins.score, bins.share, color=BLUE, linewidth=1)
    _error_bars(main, bins.score, bins.share, bins.low, bins.high, BLUE)
    main.text(0.02, 0.95, f"expected calibration error {bins.error:.3f}", transform=main.transAxes, va="top")
    main.set(xlim=(0, 1), ylim=(-0.02, 1.04), ylabel="share with label 1")
    _percent_axis(main.yaxis)
    below.bar(bins.score, bins.count, color=PALE, width=0.06)
    below.set(xlabel="PRM score", ylabel="steps")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    plot.align_ylabels(axes)
    plot.alt = (
        f"Share of steps labelled 1 against the PRM's score for {bins.count.sum():,} steps: scores near "
        f"{bins.score[0]:.2f} come true in {_percent(bins.share[0], 0)}, scores near {bins.score[-1]:.2f} in "
        f"{_percent(bins.share[-1], 0)}; expected calibration error {bins.error:.3f}."
    )
    return plot


# --- what the reward model is good for --------------------------------------------------------------------------------

_LINES = {
    "pass@n": (GREEN, ":"),
    "majority": (PURPLE, "-"),
    "weighted vote": (PURPLE, "--"),
    "fewest steps": (GREY, "--"),
}
_LEVELS = {"greedy": (GREY, "-"), "mean": (GREY, ":")}
_NAMES = {"majority": "majority vote", "mean": "single sample", "pass@n": "pass@n (ceiling)"}


@_styled
def bon_curves(frame: pd.DataFrame, methods: Sequence[str] | None = None, title: str = "") -> Plot:
    """Accuracy of best-of-n against n (paper Figures 4 and 5), with bands of 95 %.

    frame: from `asprm.best_of_n.curves`. methods: which lines, the first in blue; unless told, the reward models of
    the frame with the baselines, but the weighted vote.
    """
    plot, (ax,) = _plot(3.6)
    plot.alt = _bon_curves(ax, frame, methods, title)
    return plot


@_styled
def bon_panels(frames: Mapping[str, pd.DataFrame], methods: Sequence[str] | None = None) -> Plot:
    """`bon_curves` of several test sets, one above the other; frames by title."""
    plot, axes = _plot(3.3 * len(frames), [1] * len(frames))
    told = [_bon_curves(ax, frame, methods, title) for ax, (title, frame) in zip(axes, frames.items(), strict=True)]
    for ax in axes[:-1]:
        ax.set_xlabel("")
    plot.alt = " ".join(told)
    return plot


def _bon_curves(ax: Axes, frame: pd.DataFrame, methods: Sequence[str] | None, title: str) -> str:
    known = list(frame["method"].unique())
    plain = [m for m in known if m not in _LINES and m not in _LEVELS]
    methods = methods or [*plain, *(m for m in ("majority", "fewest steps", "pass@n", "greedy", "mean") if m in known)]
    labels, told = [], []
    others = iter([BLUE, RED, "#b58900", "#56b4e9", "#7f7f7f", "#b8860b", "#2f4f4f"])
    for method in methods:
        rows = frame[frame["method"] == method].sort_values("n")
        if rows.empty:
            raise ValueError(f"no rows of method {method!r}; the frame has {', '.join(known)}")
        color, line = _LINES.get(method) or _LEVELS.get(method) or (next(others), "-")
        last = rows.iloc[-1]
        ax.plot(rows["n"], rows["value"], line, color=color, marker="" if method in _LEVELS else "o", markersize=4)
        if method == methods[0] or (len(methods) < 6 and method not in _LEVELS):
            _band(ax, rows["n"], rows["low"], rows["high"], color)
        else:  # too many bands hide each other, and a level needs none: one interval at the end
            shift = last["n"] * 1.02 ** (2 + len(labels))
            ax.vlines(shift, last["low"], last["high"], color=color, linewidth=1.2)
        label = f"{_NAMES.get(method, method)} {_percent(last['value'])}"
        labels.append((last["value"], label, color))
        told.append(f"{label} ({_percent(last['low'])} to {_percent(last['high'])})")
    ns = np.sort(frame["n"].unique())
    ax.set_xscale("log", base=2)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(ns, [str(n) for n in ns])
    ax.set(xlim=(ns[0] * 0.95, ns[-1] * 1.02 ** (4 + len(labels))), xlabel="candidates n", ylabel="problems solved")
    ax.set_title(title)
    _percent_axis(ax.yaxis)
    _end_labels(ax, labels)
    return f"Best-of-n accuracy{' on ' + title if title else ''} at n = {ns[-1]}: {', '.join(told)}."


@_styled
def tvd_triggers(frame: pd.DataFrame, greedy: Interval, chosen: float | None = None, title: str = "") -> Plot:
    """Guided decoding over the range of triggers: accuracy above, share of tokens stepped in below.

    frame: columns trigger, value, low, high (accuracy) and share, share_low, share_high (of tokens whose top-1
    probability lay below the trigger). greedy: accuracy without guidance. chosen: the trigger picked on validation.
    """
    rows = frame.sort_values("trigger")
    plot, (main, below) = _plot(4.4, (2, 1))
    x = rows["trigger"]
    main.axhspan(greedy.low, greedy.high, color=GREY, alpha=0.13, linewidth=0)
    main.axhline(greedy.value, color=GREY)
    main.plot(x, rows["value"], "o-", color=BLUE, markersize=4)
    _band(main, x, rows["low"], rows["high"], BLUE)
    below.plot(x, rows["share"], "o-", color=RED, markersize=4)
    _band(below, x, rows["share_low"], rows["share_high"], RED)
    if chosen is not None:
        for ax in (main, below):
            ax.axvline(chosen, color=GREEN, linewidth=1.2, linestyle="--")
        main.text(chosen, 1.01, "chosen on validation", color=GREEN, ha="center", va="bottom", fontsize=9,
                  transform=main.get_xaxis_transform())  # fmt: skip
    main.set(ylabel="problems solved")
    main.set_title(title)
    main.set_xlim(x.min() - 0.02, x.max() + 0.02)
    below.set(
        xlabel="trigger: step in where the top-1 probability is lower", ylabel="tokens stepped in", ylim=(0, None)
    )
    for ax in (main, below):
        _percent_axis(ax.yaxis)
    last = rows.iloc[-1]
    _end_labels(main, [(greedy.value, f"greedy {_percent(greedy.value)}", GREY), (last["value"], "guided", BLUE)])
    plot.align_ylabels([main, below])
    best = rows.loc[rows["value"].idxmax()] if chosen is None else rows.loc[(rows["trigger"] - chosen).abs().idxmin()]
    plot.alt = (
        f"Guided decoding{' on ' + title if title else ''} against its trigger: at {best['trigger']:g} it solves "
        f"{_percent(best['value'])} ({_percent(best['low'])} to {_percent(best['high'])}) and steps in at "
        f"{_percent(best['share'])} of the tokens; greedy decoding solves {_percent(greedy.value)}."
    )
    return plot


def decision(found: Decision) -> Fragment:
    """One decision of guided decoding (paper Figure 3) as HTML: the text so far, then each candidate with its values.

    Bars and grounds are transparent, so they serve the light and the dark theme; all numbers are text.
    """
    ends = {True: "right", False: "wrong"}
    best = int(np.argmax(found.scores))
    rows = []
    for i, (token, probability, score) in enumerate(zip(found.tokens, found.probabilities, found.scores, strict=True)):
        said = {"first choice": i == 0, "best score": i == best, "written": i == found.written}
        words = ", ".join(word for word, so in said.items() if so)
        shown = escape(visible(token).strip()) or "␣"
        rows.append(
            (_marked(shown) if i == found.written else shown, _gauge(probability, BLUE), _gauge(score, GREEN), words)
        )
    lines = (
        f"{escape(found.problem)}, trigger {found.trigger:g}. Guided decoding ends {ends[found.correct]}, greedy "
        f"decoding {ends[found.greedy]}.",
        f"<em>{escape(found.prompt.strip())}</em>",
        f"{escape(found.before)}{_marked(escape(visible(found.tokens[found.written])))} …",
    )
    text = "".join(f'<p style="white-space:pre-wrap;margin:.6em 0">{one}</p>' for one in lines)
    columns = ["next token", "the policy's probability", "the reward model's score", ""]
    label = f"One decision of guided decoding, with {len(rows)} candidates"
    return Fragment(f'<div role="group" aria-label="{label}">{text}{_table(columns, rows)}</div>')


def _gauge(share: float, color: str) -> str:
    """A number between 0 and 1, and a bar as long."""
    style = f"display:inline-block;height:.7em;width:{5 * share:.2f}em;margin-left:.5em;background:{color};opacity:.7"
    return f'<span style="white-space:nowrap">{share:.3f}<span style="{style}"></span></span>'


def _marked(text: str) -> str:
    return f'<mark style="background:{_GROUND};color:inherit;font-weight:700">{text}</mark>'


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML cells, all to the left; the first of a row is its heading."""
    left = 'style="text-align:left"'
    head = "".join(f'<th scope="col" {left}>{name}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row" {left}>{first}</th>{"".join(f"<td {left}>{cell}</td>" for cell in others)}</tr>'
        for first, *others in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


# --- tokens -----------------------------------------------------------------------------------------------------------


@_styled
def token_bars(frame: pd.DataFrame) -> Plot:
    """Shares of all tokens and of decision tokens by type or role, from `asprm.tokens.token_table`, with intervals."""
    by = frame.columns[0]
    rows = frame[frame["tokens"] > 0].sort_values("decision_share")
    plot, (ax,) = _plot(0.9 + 0.42 * len(rows))
    y = np.arange(len(rows))
    for offset, column, color, name in (
        (0.2, "decision_share", RED, "decision tokens"),
        (-0.2, "share", PALE, "all tokens"),
    ):
        ax.barh(y + offset, rows[column], 0.38, color=color, label=name)
        errors = np.maximum([rows[column] - rows[f"{column}_low"], rows[f"{column}_high"] - rows[column]], 0)
        ax.errorbar(rows[column], y + offset, xerr=errors, fmt="none", ecolor="#1f2328", elinewidth=1)
        for place, value, high in zip(y + offset, rows[column], rows[f"{column}_high"], strict=True):
            ax.annotate(
                _percent(value), (high, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
            )
    ax.set_yticks(y, rows[by])
    ax.grid(visible=False, axis="y")
    ax.set_xlim(0, float(rows[["share_high", "decision_share_high"]].to_numpy().max()) * 1.15)
    ax.set_xlabel("share of tokens")
    _percent_axis(ax.xaxis)
    ax.legend(loc="lower right")
    top = rows.iloc[::-1].head(3)
    told = [
        f"{r[by]} {_percent(r['decision_share'])} (of all tokens {_percent(r['share'])})" for _, r in top.iterrows()
    ]
    plot.alt = f"Decision tokens by {by}, most frequent first: {', '.join(told)}."
    return plot


@_styled
def types_beside_paper(frame: pd.DataFrame, paper: pd.DataFrame) -> Plot:
    """Shares by token type with intervals, beside the paper's: of all tokens, and of those where something is decided.

    frame: from `token_table`, indexed by type. paper: columns share and decision_share, indexed by type; may lack rows.
    """
    rows = frame.sort_values("decision_share")
    plot, (ax,) = _plot(0.9 + 0.42 * len(rows))
    y = np.arange(len(rows))
    for offset, column, color, name in (
        (0.17, "decision_share", RED, "decisions"),
        (-0.17, "share", BLUE, "all tokens"),
    ):
        value = rows[column].to_numpy(float)
        errors = np.maximum([value - rows[f"{column}_low"], rows[f"{column}_high"] - value], 0)
        ax.errorbar(value, y + offset, xerr=errors, fmt="o", color=color, markersize=5, linewidth=1.6, label=name)
        theirs = paper[column].reindex(rows.index).to_numpy(float)
        ax.plot(theirs, y + offset, "D", color=color, mfc="white", markersize=5, label=f"{name}, paper", linestyle="")
    ax.set_yticks(y, rows.index)
    ax.set_xlim(0, None)
    ax.set_xlabel("share")
    _percent_axis(ax.xaxis)
    ax.legend(loc="lower right")
    top = rows.iloc[::-1].head(3)
    told = [
        f"{name} {_percent(row['decision_share'])}"
        + (f" (paper {_percent(paper.loc[name, 'decision_share'])})" if name in paper.index else "")
        for name, row in top.iterrows()
    ]
    plot.alt = f"Decisions by token type beside the paper's, most frequent first: {', '.join(told)}."
    return plot


def token_samples(frame: pd.DataFrame) -> Fragment:
    """Decision tokens in their contexts (paper Tables 11 and 12), from `asprm.tokens.samples_by_type`, as HTML."""
    rows = []
    for row in frame.itertuples():
        before, token, after = (escape(text.replace("\n", "⏎")) for text in (row.before, row.token, row.after))
        context = f'<span style="font-family:monospace;white-space:pre-wrap">{before}{_marked(token)}{after}</span>'
        rows.append((escape(row.type), f"{row.confidence:.3f}", context))
    return Fragment(_table(["type", "confidence", "in its context"], rows))


@_styled
def intervals(frame: pd.DataFrame, value: str = "value", title: str = "", xlabel: str = "", zero: bool = False) -> Plot:
    """One dot with its 95 % interval per row, one below the other, in the frame's order.

    frame: columns label, `value`, low, high, in shares. Rows of one `group` (where the frame has that column) share a
    colour. zero: draw the line of no difference.
    """
    plot, (ax,) = _plot(0.9 + 0.27 * len(frame))
    groups = list(dict.fromkeys(frame["group"])) if "group" in frame else [None]
    colors = dict(zip(groups, cycle([BLUE, RED, GREEN, PURPLE, GREY, "#b58900", "#56b4e9"]), strict=False))
    told = []
    for place, row in enumerate(frame.to_dict("records")):
        color = colors[row.get("group")]
        ax.hlines(place, row["low"], row["high"], color=color, linewidth=1.6)
        ax.plot(row[value], place, "o", color=color, markersize=5)
        told.append(f"{row['label']} {_percent(row[value])} ({_percent(row['low'])} to {_percent(row['high'])})")
    if zero:
        ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks(range(len(frame)), list(frame["label"]))
    ax.set(ylim=(len(frame) - 0.5, -0.5), xlabel=xlabel)
    ax.set_title(title)
    ax.grid(axis="y", visible=False)
    _percent_axis(ax.xaxis)
    plot.alt = f"{title or xlabel}: {', '.join(told)}."
    return plot


@_styled
def share_sweep(frame: pd.DataFrame, chosen: float, names: Mapping[str, str]) -> Plot:
    """Best-of-N by the share below the threshold that a reward model's steps were cut at, a line per test set.

    frame: from `asprm.generalize.sweep`. chosen: the study's own share. names: how the test sets are called.
    """
    plot, (ax,) = _plot(3.4)
    labels, told = [], []
    for color, (name, rows) in zip([BLUE, RED, GREEN, PURPLE], frame.groupby("set", sort=False), strict=False):
        ax.plot(rows["share"], rows["bon"], "o-", color=color, markersize=4)
        _error_bars(ax, rows["share"], rows["bon"], rows["low"], rows["high"], color)
        labels.append((rows["bon"].iloc[-1], names.get(name, name), color))
        told += [f"{names.get(name, name)} at {_percent(r.share)}: {_percent(r.bon)}" for r in rows.itertuples()]
    ax.axvline(chosen, color=GREY, linestyle="--", linewidth=1.2)
    ax.text(chosen, 1.01, "this study", color=GREY, ha="center", va="bottom", fontsize=9,
            transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set(xlabel="share of tokens below the threshold", ylabel="Best-of-N")
    for axis in (ax.xaxis, ax.yaxis):
        _percent_axis(axis, 1 if axis is ax.xaxis else 0)
    _end_labels(ax, labels)
    plot.alt = f"Best-of-N by the share of tokens below the threshold. {'; '.join(told)}."
    return plot


@_styled
def data_panels(frame: pd.DataFrame) -> Plot:
    """Solutions, steps per solution, tokens per step and per solution of each kind of training data (paper Figure 6).

    frame: from `asprm.generalize.training_data`.
    """
    panels = {"solutions": "solutions", "steps": "steps per solution", "tokens_per_step": "tokens per step",
              "length": "tokens per solution"}  # fmt: skip
    plot = Plot(figsize=(WIDTH, 1.6 + 0.42 * len(frame)), layout="constrained")
    axes = plot.subplots(2, 2, sharey=True).ravel()
    places = np.arange(len(frame))[::-1]
    for ax, (column, title), color in zip(axes, panels.items(), [GREY, BLUE, GREEN, PURPLE], strict=True):
        ax.barh(places, frame[column], 0.6, color=color)
        if f"{column}_low" in frame:
            errors = [frame[column] - frame[f"{column}_low"], frame[f"{column}_high"] - frame[column]]
            ax.errorbar(frame[column], places, xerr=np.maximum(errors, 0), fmt="none", ecolor="#1f2328", elinewidth=1)
        ax.set_title(title)
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_locator(MaxNLocator(4))
    axes[0].set_yticks(places, frame["prm"])
    told = [
        f"{r.prm}: {r.solutions:,} solutions of {r.steps:.1f} steps and {r.length:.0f} tokens"
        for r in frame.itertuples()
    ]
    plot.alt = f"Training data. {'; '.join(told)}."
    return plot
