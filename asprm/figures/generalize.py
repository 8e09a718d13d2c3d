"""Figures of the generalization chapter: intervals row by row, results by share below the threshold, training data."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

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
    """Best-of-N by the share of tokens below the threshold at which the training steps end; a panel for each test set.

    frame: from `asprm.results.sweep.sweep`. chosen: the study's own share. names: titles of the test sets.
    """
    sets = list(frame["set"].unique())
    plot, panels = new_plot(1.2 + 2.1 * len(sets), (1,) * len(sets))
    places = {"own steps": (BLUE, "each at its own share"), "confidence": (RED, "all at the study's share")}
    sentences = []
    for ax, name in zip(panels, sets, strict=True):
        ax.axvline(chosen, color=GREY, linestyle="--", linewidth=1.2)
        labels = []
        for shift, (place, (color, words)) in zip((-1, 1), places.items(), strict=True):
            rows: Any = frame.loc[(frame["set"] == name) & (frame["position"] == place)]
            if len(rows):
                x = rows["share"] + shift * 0.0002
                ax.plot(x, rows["bon"], "o-", color=color, markersize=4, label=words)
                error_bars(ax, x, rows["bon"], rows["low"], rows["high"], color)
                labels.append((rows["bon"].iloc[-1], words, color))
                values = zip(rows["bon"], rows["share"], strict=True)
                told = ", ".join(f"{percent(bon)} at {percent(share)}" for bon, share in values)
                sentences.append(f"{names.get(name, name)}, {words}: {told}")
        ax.set(title=names.get(name, name), ylabel="Best-of-N")
        percent_axis(ax.xaxis, 1)
        percent_axis(ax.yaxis, 0)
        end_labels(ax, labels)
    panels[-1].set_xlabel("share of tokens below the threshold")
    plot.alt = f"Best-of-N accuracy by the share of tokens below the threshold. {'; '.join(sentences)}."
    return plot


@styled
def data_panels(frame: pd.DataFrame) -> Plot:
    """Each kind of training data: solutions, steps per solution, tokens per step and per solution (paper Figure 6).

    frame: from `asprm.results.learned_from.training_data`.
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
