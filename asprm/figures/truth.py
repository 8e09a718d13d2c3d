"""Figures of the truth chapter: step ends, labels, scores and interventions against the known truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from asprm.figures.base import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    PALE,
    PURPLE,
    RED,
    SKY,
    YELLOW,
    Plot,
    band,
    bar_values,
    distances,
    end_labels,
    error_bars,
    new_plot,
    percent_axis,
    styled,
)
from asprm.results.format import percent
from asprm.statistics import Reliability

_METHODS = {
    "decision tokens": (BLUE, "-", "o"),
    "line breaks": (RED, "-", "s"),
    "random, as many as decision tokens": (GREY, "--", "^"),
    "random, as many as line breaks": (GREY, ":", "v"),
}


@styled
def entry_recall(frame: pd.DataFrame) -> Plot:
    """How soon a step ends after an error enters the solution. frame: from `asprm.truth.entry_points`."""
    plot, (ax,) = new_plot(3.4)
    labels, sentences = [], []
    within = [name for name in frame if name.startswith("within_") and name.rpartition("_")[2].isdigit()]
    distance = [name.removeprefix("within_") for name in within]
    places = range(len(within))
    for row in frame.to_dict("records"):
        color, line, marker = _METHODS[row["method"]]
        value, low, high = ([row[name + end] for name in within] for end in ("", "_low", "_high"))
        ax.plot(places, value, line, marker=marker, color=color, markersize=5)
        band(ax, places, low, high, color)
        labels.append((value[-1], row["method"].replace("as many as", "like"), color))
        soon = f"{percent(value[0], 0)} at the same token, {percent(value[2], 0)} within {distance[2]} tokens"
        sentences.append(f"{row['method']} {soon}")
    ax.set_xticks(places, distance)
    ax.set(xlabel="tokens between the error and the next step end, at most", ylabel="errors", ylim=(0, 1.03))
    percent_axis(ax.yaxis)
    end_labels(ax, labels, gap=0.085)
    plot.alt = f"Share of errors that a step end follows soon: {'; '.join(sentences)}."
    return plot


@styled
def label_errors(frame: pd.DataFrame) -> Plot:
    """Hard labels that disagree with the truth, by step, for the largest J.

    frame: from `asprm.truth.disagreement`, by J and step.
    """
    rows = frame.loc[frame["J"] == frame["J"].max()].sort_values("step")
    plot, axes = new_plot(3.8, (3, 1))
    main, below = axes
    sentences = []
    for name, color, shift, words in (
        ("missed", BLUE, -0.1, "no error yet, label 0"),
        ("forgiven", RED, 0.1, "after an error, label 1"),
    ):
        known = rows.loc[rows[name].notna()]
        steps, shares = known["step"].to_numpy(), known[name].to_numpy(float)
        main.plot(steps + shift, shares, color=color, linewidth=1, label=words)
        error_bars(main, steps + shift, shares, known[f"{name}_low"], known[f"{name}_high"], color)
        if len(known):
            ends = [f"{percent(shares[i], 0)} at step {steps[i]}" for i in (0, -1)]
            sentences.append(f"{words}: {', '.join(ends)}")
    main.set(ylabel="share of such steps", ylim=(0, 1.03))
    main.legend()
    percent_axis(main.yaxis)
    below.bar(rows["step"], rows["steps"], color=PALE)
    below.set(xlabel="step (the last one: and all later ones)", ylabel="steps")
    plot.align_ylabels(axes)
    rollouts = rows["J"].iloc[0]
    plot.alt = f"Hard labels of {rollouts} rollouts that disagree with the truth, by step: {'; '.join(sentences)}."
    return plot


@styled
def reliability_curves(curves: Mapping[str, Reliability]) -> Plot:
    """Reliability of several reward models, by name: how often no error has been made yet, with Wilson intervals."""
    plot, (ax,) = new_plot(3.6)
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    errors = []
    for i, (name, curve) in enumerate(curves.items()):
        color = (BLUE, RED, GREEN, PURPLE, YELLOW, SKY)[i % 6]
        ax.plot(curve.score, curve.share, color=color, linewidth=1, marker="os^vDP"[i % 6], label=name)
        error_bars(ax, curve.score, curve.share, curve.low, curve.high, color)
        errors.append(f"{name} {curve.error:.3f}")
    ax.set(xlabel="score of a step", ylabel="no error yet", xlim=(0, 1), ylim=(-0.02, 1.04))
    percent_axis(ax.yaxis)
    ax.legend(loc="upper left")
    plot.alt = f"Share of steps with no error yet, by score; expected calibration error: {', '.join(errors)}."
    return plot


@styled
def shares_of_kinds(frame: pd.DataFrame) -> Plot:
    """Kinds of the first intervention of guided decoding. frame: from `asprm.truth.intervention_table`."""
    rows = frame.iloc[::-1]
    plot, (ax,) = new_plot(0.9 + 0.36 * len(rows))
    y = np.arange(len(rows))
    colors = {"put right": GREEN, "led astray": RED}
    ax.barh(y, rows["share"], color=[colors.get(kind, PALE) for kind in rows["kind"]], height=0.6)
    errors = distances(rows["share"], rows["low"], rows["high"])
    ax.errorbar(rows["share"], y, xerr=errors, fmt="none", ecolor=BLACK, elinewidth=1)
    bar_values(ax, [str(count) for count in rows["problems"]], rows["high"], y)
    ax.set_yticks(y, rows["kind"])
    ax.grid(visible=False, axis="y")
    ax.set(xlabel="problems", xlim=(0, min(1.08, float(rows["high"].max()) * 1.15 + 0.01)))
    percent_axis(ax.xaxis)
    counts = [f"{row['kind']} {row['problems']}" for row in frame.to_dict("records")]
    plot.alt = f"Effect of the first intervention of guided decoding, in numbers of problems: {', '.join(counts)}."
    return plot
