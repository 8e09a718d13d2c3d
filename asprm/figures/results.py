"""Figures of the uses of a reward model: Best-of-N and guided decoding."""

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
    SKY,
    YELLOW,
    Fragment,
    Plot,
    band,
    end_labels,
    marked,
    new_plot,
    percent_axis,
    styled,
    table,
)
from asprm.models.align import visible
from asprm.results.format import percent
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
def bon_panels(frames: Mapping[str, pd.DataFrame], methods: Sequence[str] | None = None) -> Plot:
    """Accuracy of Best-of-N by N, with bands of 95 % (paper Figures 4 and 5): one panel per test set.

    frames: by title, from `asprm.best_of_n.curves`.
    methods: the lines to draw, the first one in blue; None: the reward models of the frame and the baselines, without
    the weighted vote.
    """
    plot, axes = new_plot(3.3 * len(frames), [1] * len(frames))
    texts = [_bon_panel(ax, frame, methods, title) for ax, (title, frame) in zip(axes, frames.items(), strict=True)]
    for ax in axes[:-1]:
        ax.set_xlabel("")
    plot.alt = " ".join(texts)
    return plot


def _bon_panel(ax: Axes, frame: pd.DataFrame, methods: Sequence[str] | None, title: str) -> str:
    """Draw one panel. Returns its alternative text. ValueError: the frame has no rows of a method."""
    known = list(frame["method"].unique())
    reward_models = [m for m in known if m not in _LINES and m not in _LEVELS]
    baselines = [m for m in ("majority", "fewest steps", "pass@n", "greedy", "mean") if m in known]
    methods = methods or reward_models + baselines
    labels, sentences = [], []
    colors = iter([BLUE, RED, YELLOW, SKY, "#7f7f7f", "#b8860b", "#2f4f4f"])
    for method in methods:
        rows = frame.loc[frame["method"] == method].sort_values("n")
        if rows.empty:
            raise ValueError(f"no rows of method {method!r}; the frame has {', '.join(known)}")
        color, line = _LINES.get(method) or _LEVELS.get(method) or (next(colors), "-")
        last = rows.iloc[-1]
        ax.plot(rows["n"], rows["value"], line, color=color, marker="" if method in _LEVELS else "o", markersize=4)
        if method == methods[0] or (len(methods) < 6 and method not in _LEVELS):
            band(ax, rows["n"], rows["low"], rows["high"], color)
        else:  # many bands would hide each other, and a level needs none: only the interval at the end
            shift = last["n"] * 1.02 ** (2 + len(labels))
            ax.vlines(shift, last["low"], last["high"], color=color, linewidth=1.2)
        label = f"{_NAMES.get(method, method)} {percent(last['value'])}"
        labels.append((last["value"], label, color))
        sentences.append(f"{label} ({percent(last['low'])} to {percent(last['high'])})")
    ns = sorted(set(frame["n"]))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(ns, [str(n) for n in ns])
    ax.set(xlim=(ns[0] * 0.95, ns[-1] * 1.02 ** (4 + len(labels))), xlabel="candidates n", ylabel="problems solved")
    ax.set_title(title)
    percent_axis(ax.yaxis)
    end_labels(ax, labels)
    on = f" on {title}" if title else ""
    return f"Best-of-N accuracy{on} with {ns[-1]} candidates, and 95 % intervals: {', '.join(sentences)}."


@styled
def tvd_triggers(frame: pd.DataFrame, greedy: Interval, chosen: float | None = None, title: str = "") -> Plot:
    """Guided decoding by its trigger: accuracy in the upper panel, share of decisions in the lower one.

    frame: columns trigger; value, low, high (accuracy); share, share_low, share_high (of tokens whose top-1 probability
    is below the trigger).
    greedy: accuracy of greedy decoding.
    chosen: the trigger that was chosen on validation problems.
    """
    rows = frame.sort_values("trigger")
    plot, (main, below) = new_plot(4.4, (2, 1))
    x = rows["trigger"].to_numpy(float)
    level, low, high = (float(bound) for bound in greedy)
    main.axhspan(low, high, color=GREY, alpha=0.13, linewidth=0)
    main.axhline(level, color=GREY)
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
    main.set_title(title, pad=None if chosen is None else 20)  # above the words on the chosen trigger
    main.set_xlim(x.min() - 0.02, x.max() + 0.02)
    below.set(xlabel="trigger: the top-1 probability below which the reward model decides", ylim=(0, None))
    below.set_ylabel("decisions")
    percent_axis(main.yaxis)
    percent_axis(below.yaxis, 1)
    end_labels(main, [(level, f"greedy {percent(level)}", GREY), (rows["value"].iloc[-1], "guided", BLUE)])
    plot.align_ylabels([main, below])
    best = rows.iloc[int(rows["value"].argmax() if chosen is None else np.abs(x - chosen).argmin())]
    on = f" on {title}" if title else ""
    plot.alt = (
        f"Guided decoding{on} by its trigger: at {best['trigger']:g} it solves {percent(best['value'])} of the "
        f"problems ({percent(best['low'])} to {percent(best['high'])}), and the reward model decides "
        f"{percent(best['share'])} of the tokens; greedy decoding solves {percent(level)}."
    )
    return plot


def decision(shown: Decision) -> Fragment:
    """One decision of guided decoding as HTML: the text before it, then each candidate's values (paper Figure 3).

    Colours are transparent, so that they suit the light and the dark theme. All numbers are text.
    """
    verdict = {True: "right", False: "wrong"}
    best = int(np.argmax(shown.scores))
    rows = []
    for i, (token, probability, score) in enumerate(zip(shown.tokens, shown.probabilities, shown.scores, strict=True)):
        properties = {"most probable": i == 0, "best score": i == best, "written": i == shown.written}
        remarks = ", ".join(words for words, holds in properties.items() if holds)
        text = escape(visible(token).strip()) or "␣"
        cell = marked(text) if i == shown.written else text
        rows.append((cell, _gauge(probability, BLUE), _gauge(score, GREEN), remarks))
    paragraphs = (
        f"{escape(shown.problem)}, trigger {shown.trigger:g}. Guided decoding ends {verdict[shown.correct]}, greedy "
        f"decoding {verdict[shown.greedy]}.",
        f"<em>{escape(shown.prompt.strip())}</em>",
        f"{escape(shown.before)}{marked(escape(visible(shown.tokens[shown.written])))} …",
    )
    text = "".join(f'<p style="white-space:pre-wrap;margin:.6em 0">{paragraph}</p>' for paragraph in paragraphs)
    columns = ["next token", "the policy's probability", "the reward model's score", ""]
    label = f"One decision of guided decoding, with {len(rows)} candidates"
    return Fragment(f'<div role="group" aria-label="{label}">{text}{table(columns, rows)}</div>')


def _gauge(share: float, color: str) -> str:
    """A number between 0 and 1, with a bar of that length."""
    style = f"display:inline-block;height:.7em;width:{5 * share:.2f}em;margin-left:.5em;background:{color};opacity:.7"
    return f'<span style="white-space:nowrap">{share:.3f}<span style="{style}"></span></span>'
