"""Figures of what the reward model is good for: best-of-n and guided decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from asprm.figures.base import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    RED,
    Fragment,
    Plot,
    band,
    end_labels,
    marked,
    new_plot,
    percent,
    percent_axis,
    styled,
    table,
)
from asprm.models.align import visible
from asprm.statistics import Interval

if TYPE_CHECKING:
    from asprm.tvd import Decision


_LINES = {
    "pass@n": (GREEN, ":"),
    "majority": (PURPLE, "-"),
    "weighted vote": (PURPLE, "--"),
    "fewest steps": (GREY, "--"),
}
_LEVELS = {"greedy": (GREY, "-"), "mean": (GREY, ":")}
_NAMES = {"majority": "majority vote", "mean": "single sample", "pass@n": "pass@n (ceiling)"}


@styled
def bon_curves(frame: pd.DataFrame, methods: Sequence[str] | None = None, title: str = "") -> Plot:
    """Accuracy of best-of-n against n (paper Figures 4 and 5), with bands of 95 %.

    frame: from `asprm.best_of_n.curves`. methods: which lines, the first in blue; unless told, the reward models of
    the frame with the baselines, but the weighted vote.
    """
    plot, (ax,) = new_plot(3.6)
    plot.alt = _bon_curves(ax, frame, methods, title)
    return plot


@styled
def bon_panels(frames: Mapping[str, pd.DataFrame], methods: Sequence[str] | None = None) -> Plot:
    """`bon_curves` of several test sets, one above the other; frames by title."""
    plot, axes = new_plot(3.3 * len(frames), [1] * len(frames))
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
            band(ax, rows["n"], rows["low"], rows["high"], color)
        else:  # too many bands hide each other, and a level needs none: one interval at the end
            shift = last["n"] * 1.02 ** (2 + len(labels))
            ax.vlines(shift, last["low"], last["high"], color=color, linewidth=1.2)
        label = f"{_NAMES.get(method, method)} {percent(last['value'])}"
        labels.append((last["value"], label, color))
        told.append(f"{label} ({percent(last['low'])} to {percent(last['high'])})")
    ns = np.sort(frame["n"].unique())
    ax.set_xscale("log", base=2)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(ns, [str(n) for n in ns])
    ax.set(xlim=(ns[0] * 0.95, ns[-1] * 1.02 ** (4 + len(labels))), xlabel="candidates n", ylabel="problems solved")
    ax.set_title(title)
    percent_axis(ax.yaxis)
    end_labels(ax, labels)
    return f"Best-of-n accuracy{' on ' + title if title else ''} at n = {ns[-1]}: {', '.join(told)}."


@styled
def tvd_triggers(frame: pd.DataFrame, greedy: Interval, chosen: float | None = None, title: str = "") -> Plot:
    """Guided decoding over the range of triggers: accuracy above, share of tokens stepped in below.

    frame: columns trigger, value, low, high (accuracy) and share, share_low, share_high (of tokens whose top-1
    probability lay below the trigger). greedy: accuracy without guidance. chosen: the trigger picked on validation.
    """
    rows = frame.sort_values("trigger")
    plot, (main, below) = new_plot(4.4, (2, 1))
    x = rows["trigger"]
    main.axhspan(greedy.low, greedy.high, color=GREY, alpha=0.13, linewidth=0)
    main.axhline(greedy.value, color=GREY)
    main.plot(x, rows["value"], "o-", color=BLUE, markersize=4)
    band(main, x, rows["low"], rows["high"], BLUE)
    below.plot(x, rows["share"], "o-", color=RED, markersize=4)
    band(below, x, rows["share_low"], rows["share_high"], RED)
    if chosen is not None:
        for ax in (main, below):
            ax.axvline(chosen, color=GREEN, linewidth=1.2, linestyle="--")
        main.text(chosen, 1.01, "chosen on validation", color=GREEN, ha="center", va="bottom", fontsize=9,
                  transform=main.get_xaxis_transform())  # fmt: skip
    main.set(ylabel="problems solved")
    main.set_title(title, pad=None if chosen is None else 20)  # above what is chosen
    main.set_xlim(x.min() - 0.02, x.max() + 0.02)
    below.set(
        xlabel="trigger: step in where the top-1 probability is lower", ylabel="tokens stepped in", ylim=(0, None)
    )
    percent_axis(main.yaxis)
    percent_axis(below.yaxis, 1)
    last = rows.iloc[-1]
    end_labels(main, [(greedy.value, f"greedy {percent(greedy.value)}", GREY), (last["value"], "guided", BLUE)])
    plot.align_ylabels([main, below])
    best = rows.loc[rows["value"].idxmax()] if chosen is None else rows.loc[(rows["trigger"] - chosen).abs().idxmin()]
    plot.alt = (
        f"Guided decoding{' on ' + title if title else ''} against its trigger: at {best['trigger']:g} it solves "
        f"{percent(best['value'])} ({percent(best['low'])} to {percent(best['high'])}) and steps in at "
        f"{percent(best['share'])} of the tokens; greedy decoding solves {percent(greedy.value)}."
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
            (marked(shown) if i == found.written else shown, _gauge(probability, BLUE), _gauge(score, GREEN), words)
        )
    lines = (
        f"{escape(found.problem)}, trigger {found.trigger:g}. Guided decoding ends {ends[found.correct]}, greedy "
        f"decoding {ends[found.greedy]}.",
        f"<em>{escape(found.prompt.strip())}</em>",
        f"{escape(found.before)}{marked(escape(visible(found.tokens[found.written])))} …",
    )
    text = "".join(f'<p style="white-space:pre-wrap;margin:.6em 0">{one}</p>' for one in lines)
    columns = ["next token", "the policy's probability", "the reward model's score", ""]
    label = f"One decision of guided decoding, with {len(rows)} candidates"
    return Fragment(f'<div role="group" aria-label="{label}">{text}{table(columns, rows)}</div>')


def _gauge(share: float, color: str) -> str:
    """A number between 0 and 1, and a bar as long."""
    style = f"display:inline-block;height:.7em;width:{5 * share:.2f}em;margin-left:.5em;background:{color};opacity:.7"
    return f'<span style="white-space:nowrap">{share:.3f}<span style="{style}"></span></span>'
