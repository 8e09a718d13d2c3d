"""Figures of the truth chapter: step ends, labels, scores and interventions against what is known to be true."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from asprm.figures.base import (
    BLUE,
    GREEN,
    GREY,
    PALE,
    PURPLE,
    RED,
    Plot,
    band,
    end_labels,
    error_bars,
    new_plot,
    percent,
    percent_axis,
    styled,
)
from asprm.statistics import Reliability

_WAYS = {
    "decision tokens": (BLUE, "-", "o"),
    "line breaks": (RED, "-", "s"),
    "random, as many as decision tokens": (GREY, "--", "^"),
    "random, as many as line breaks": (GREY, ":", "v"),
}


@styled
def entry_recall(frame: pd.DataFrame) -> Plot:
    """How soon after an error's entry a step ends, from `asprm.truth.entry_points`."""
    plot, (ax,) = new_plot(3.4)
    labels, told = [], []
    within = [name for name in frame if name.startswith("within_") and name.rpartition("_")[2].isdigit()]
    places = range(len(within))
    for row in frame.to_dict("records"):
        color, line, marker = _WAYS[row["method"]]
        value, low, high = ([row[name + end] for name in within] for end in ("", "_low", "_high"))
        ax.plot(places, value, line, marker=marker, color=color, markersize=5)
        band(ax, places, low, high, color)
        labels.append((value[-1], row["method"].replace("as many as", "like"), color))
        told.append(
            f"{row['method']} {percent(value[0], 0)} at the very token, {percent(value[2], 0)} within {within[2][7:]}"
        )
    ax.set_xticks(places, [name.removeprefix("within_") for name in within])
    ax.set(xlabel="tokens from the error's entry to the next step end, at most", ylabel="errors", ylim=(0, 1.03))
    percent_axis(ax.yaxis)
    end_labels(ax, labels, gap=0.085)
    plot.alt = f"Share of errors with a step end soon after their entry: {'; '.join(told)}."
    return plot


@styled
def label_errors(frame: pd.DataFrame) -> Plot:
    """Labels against the truth by step for the largest J, from `asprm.truth.disagreement` by J and step."""
    rows = frame[frame["J"] == frame["J"].max()].sort_values("step")
    plot, axes = new_plot(3.8, (3, 1))
    main, below = axes
    told = []
    for name, color, shift, words in (
        ("missed", BLUE, -0.1, "true, label 0"),
        ("forgiven", RED, 0.1, "departed, label 1"),
    ):
        some = rows[rows[name].notna()]
        x = some["step"] + shift
        main.plot(x, some[name], color=color, linewidth=1, label=words)
        error_bars(main, x, some[name], some[f"{name}_low"], some[f"{name}_high"], color)
        if len(some):
            told.append(f"{words}: {percent(some[name].iloc[0], 0)} at step {some['step'].iloc[0]}, "
                        f"{percent(some[name].iloc[-1], 0)} at step {some['step'].iloc[-1]}")  # fmt: skip
    main.set(ylabel="of such steps", ylim=(0, 1.03))
    main.legend()
    percent_axis(main.yaxis)
    below.bar(rows["step"], rows["steps"], color=PALE)
    below.set(xlabel="step (the last one and later)", ylabel="steps")
    plot.align_ylabels(axes)
    plot.alt = f"Hard labels of {rows['J'].iloc[0]} rollouts that disagree with the truth, by step: {'; '.join(told)}."
    return plot


@styled
def reliability_curves(curves: Mapping[str, Reliability]) -> Plot:
    """Reliability of several reward models against "nothing wrong so far"; error bars are Wilson's."""
    plot, (ax,) = new_plot(3.6)
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    told = []
    for i, (name, curve) in enumerate(curves.items()):
        color = (BLUE, RED, GREEN, PURPLE, "#b58900", "#56b4e9")[i % 6]
        ax.plot(curve.score, curve.share, color=color, linewidth=1, marker="os^vDP"[i % 6], label=name)
        error_bars(ax, curve.score, curve.share, curve.low, curve.high, color)
        told.append(f"{name} {curve.error:.3f}")
    ax.set(xlabel="score of a step", ylabel="nothing wrong so far", xlim=(0, 1), ylim=(-0.02, 1.04))
    percent_axis(ax.yaxis)
    ax.legend(loc="upper left")
    plot.alt = f"How often nothing was wrong yet, by score; expected calibration error: {', '.join(told)}."
    return plot


@styled
def shares_of_kinds(frame: pd.DataFrame) -> Plot:
    """Kinds of the first intervention of guided decoding, from `asprm.truth.intervention_table`."""
    rows = frame.iloc[::-1]
    plot, (ax,) = new_plot(0.9 + 0.36 * len(rows))
    y = np.arange(len(rows))
    colors = {"put right": GREEN, "led astray": RED}
    ax.barh(y, rows["share"], color=[colors.get(kind, PALE) for kind in rows["kind"]], height=0.6)
    errors = np.maximum([rows["share"] - rows["low"], rows["high"] - rows["share"]], 0)
    ax.errorbar(rows["share"], y, xerr=errors, fmt="none", ecolor="#1f2328", elinewidth=1)
    for place, high, n in zip(y, rows["high"], rows["problems"], strict=True):
        ax.annotate(str(n), (high, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    ax.set_yticks(y, rows["kind"])
    ax.grid(visible=False, axis="y")
    ax.set(xlabel="problems", xlim=(0, min(1.08, float(rows["high"].max()) * 1.15 + 0.01)))
    percent_axis(ax.xaxis)
    told = [f"{row.kind} {row.problems}" for row in frame.itertuples()]
    plot.alt = f"First interventions of guided decoding, by what they did: {', '.join(told)} problems."
    return plot
