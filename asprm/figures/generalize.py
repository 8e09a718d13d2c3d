"""Figures of the generalization chapter: intervals row by row, results by share below the threshold, training data."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from asprm.figures.base import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    RED,
    SKY,
    WIDTH,
    YELLOW,
    Plot,
    distances,
    end_labels,
    error_bars,
    new_plot,
    percent_axis,
    styled,
)
from asprm.results.format import percent


@styled
def intervals(frame: pd.DataFrame, value: str = "value", title: str = "", xlabel: str = "", zero: bool = False) -> Plot:
    """A dot with its 95 % interval for each row, one below the other, in the order of the frame.

    frame: columns label, low, high and the one named by `value`, all shares; optionally group: rows of one group have
    one colour.
    value: the column of the dots.
    zero: draw the line of no difference.
    """
    plot, (ax,) = new_plot(0.9 + 0.27 * len(frame))
    groups = list(dict.fromkeys(frame["group"])) if "group" in frame else [None]
    colors = dict(zip(groups, cycle([BLUE, RED, GREEN, PURPLE, GREY, YELLOW, SKY]), strict=False))
    sentences = []
    for place, row in enumerate(frame.to_dict("records")):
        color = colors[row.get("group")]
        ax.hlines(place, row["low"], row["high"], color=color, linewidth=1.6)
        ax.plot(row[value], place, "o", color=color, markersize=5)
        sentences.append(f"{row['label']} {percent(row[value])} ({percent(row['low'])} to {percent(row['high'])})")
    if zero:
        ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks(range(len(frame)), list(frame["label"]))
    ax.set(ylim=(len(frame) - 0.5, -0.5), xlabel=xlabel)
    ax.set_title(title)
    ax.grid(axis="y", visible=False)
    percent_axis(ax.xaxis)
    plot.alt = f"{title or xlabel}, with 95 % intervals: {', '.join(sentences)}."
    return plot


@styled
def share_sweep(frame: pd.DataFrame, chosen: float, names: Mapping[str, str]) -> Plot:
    """Best-of-N by the share of tokens below the threshold at which the training steps end; a line for each test set.

    frame: from `asprm.generalize.sweep`. chosen: the study's own share. names: titles of the test sets.
    """
    plot, (ax,) = new_plot(3.4)
    labels, sentences = [], []
    for color, name in zip([BLUE, RED, GREEN, PURPLE], frame["set"].unique(), strict=False):
        rows = frame[frame["set"] == name]
        ax.plot(rows["share"], rows["bon"], "o-", color=color, markersize=4)
        error_bars(ax, rows["share"], rows["bon"], rows["low"], rows["high"], color)
        shown, values = names.get(name, name), list(zip(rows["share"], rows["bon"], strict=True))
        labels.append((values[-1][1], shown, color))
        sentences.append(f"{shown}: " + ", ".join(f"{percent(bon)} at {percent(share)}" for share, bon in values))
    ax.axvline(chosen, color=GREY, linestyle="--", linewidth=1.2)
    ax.text(chosen, 1.01, "this study", color=GREY, ha="center", va="bottom", fontsize=9,
            transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set(xlabel="share of tokens below the threshold", ylabel="Best-of-N")
    for axis in (ax.xaxis, ax.yaxis):
        percent_axis(axis, 1 if axis is ax.xaxis else 0)
    end_labels(ax, labels)
    plot.alt = f"Best-of-N accuracy by the share of tokens below the threshold. {'; '.join(sentences)}."
    return plot


@styled
def data_panels(frame: pd.DataFrame) -> Plot:
    """Each kind of training data: solutions, steps per solution, tokens per step and per solution (paper Figure 6).

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
            errors = distances(frame[column], frame[f"{column}_low"], frame[f"{column}_high"])
            ax.errorbar(frame[column], places, xerr=errors, fmt="none", ecolor=BLACK, elinewidth=1)
        ax.set_title(title)
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_locator(MaxNLocator(4))
    axes[0].set_yticks(places, frame["prm"])
    sentences = [
        f"{row['prm']}: {row['solutions']:,} solutions of {row['steps']:.1f} steps and {row['length']:.0f} tokens"
        for row in frame.to_dict("records")
    ]
    plot.alt = f"Training data of each reward model, means per solution. {'; '.join(sentences)}."
    return plot
