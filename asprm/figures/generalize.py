"""Figures of the generalization chapter: results as rows and by share below the threshold, and the training data."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from asprm.figures.base import (
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    RED,
    WIDTH,
    Plot,
    end_labels,
    error_bars,
    new_plot,
    percent,
    percent_axis,
    styled,
)


@styled
def intervals(frame: pd.DataFrame, value: str = "value", title: str = "", xlabel: str = "", zero: bool = False) -> Plot:
    """One dot with its 95 % interval per row, one below the other, in the frame's order.

    frame: columns label, `value`, low, high, in shares. Rows of one `group` (where the frame has that column) share a
    colour. zero: draw the line of no difference.
    """
    plot, (ax,) = new_plot(0.9 + 0.27 * len(frame))
    groups = list(dict.fromkeys(frame["group"])) if "group" in frame else [None]
    colors = dict(zip(groups, cycle([BLUE, RED, GREEN, PURPLE, GREY, "#b58900", "#56b4e9"]), strict=False))
    told = []
    for place, row in enumerate(frame.to_dict("records")):
        color = colors[row.get("group")]
        ax.hlines(place, row["low"], row["high"], color=color, linewidth=1.6)
        ax.plot(row[value], place, "o", color=color, markersize=5)
        told.append(f"{row['label']} {percent(row[value])} ({percent(row['low'])} to {percent(row['high'])})")
    if zero:
        ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks(range(len(frame)), list(frame["label"]))
    ax.set(ylim=(len(frame) - 0.5, -0.5), xlabel=xlabel)
    ax.set_title(title)
    ax.grid(axis="y", visible=False)
    percent_axis(ax.xaxis)
    plot.alt = f"{title or xlabel}: {', '.join(told)}."
    return plot


@styled
def share_sweep(frame: pd.DataFrame, chosen: float, names: Mapping[str, str]) -> Plot:
    """Best-of-N by the share below the threshold that a reward model's steps were cut at, a line per test set.

    frame: from `asprm.generalize.sweep`. chosen: the study's own share. names: how the test sets are called.
    """
    plot, (ax,) = new_plot(3.4)
    labels, told = [], []
    for color, (name, rows) in zip([BLUE, RED, GREEN, PURPLE], frame.groupby("set", sort=False), strict=False):
        ax.plot(rows["share"], rows["bon"], "o-", color=color, markersize=4)
        error_bars(ax, rows["share"], rows["bon"], rows["low"], rows["high"], color)
        labels.append((rows["bon"].iloc[-1], names.get(name, name), color))
        told += [f"{names.get(name, name)} at {percent(r.share)}: {percent(r.bon)}" for r in rows.itertuples()]
    ax.axvline(chosen, color=GREY, linestyle="--", linewidth=1.2)
    ax.text(chosen, 1.01, "this study", color=GREY, ha="center", va="bottom", fontsize=9,
            transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set(xlabel="share of tokens below the threshold", ylabel="Best-of-N")
    for axis in (ax.xaxis, ax.yaxis):
        percent_axis(axis, 1 if axis is ax.xaxis else 0)
    end_labels(ax, labels)
    plot.alt = f"Best-of-N by the share of tokens below the threshold. {'; '.join(told)}."
    return plot


@styled
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
