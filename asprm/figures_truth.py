"""Figures of the truth and claims chapters, in the style of `asprm.figures`: each a `Plot` with its own sentence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from asprm.figures import (
    BLUE,
    GREEN,
    GREY,
    PALE,
    PURPLE,
    RED,
    Plot,
    _band,
    _end_labels,
    _error_bars,
    _percent,
    _percent_axis,
    _plot,
    _styled,
)
from asprm.statistics import Reliability

_WAYS = {
    "decision tokens": (BLUE, "-", "o"),
    "line breaks": (RED, "-", "s"),
    "random, as many as decision tokens": (GREY, "--", "^"),
    "random, as many as line breaks": (GREY, ":", "v"),
}
_SIGNS = {  # colour and shape: a verdict must not depend on colour alone
    "reproduced": (GREEN, "o"),
    "opposite": (RED, "X"),
    "inconclusive": (GREY, "s"),
}


@_styled
def entry_recall(frame: pd.DataFrame) -> Plot:
    """How soon after an error's entry a step ends, from `asprm.truth.entry_points`."""
    plot, (ax,) = _plot(3.4)
    labels, told = [], []
    within = [name for name in frame if name.startswith("within_") and name.rpartition("_")[2].isdigit()]
    places = range(len(within))
    for row in frame.to_dict("records"):
        color, line, marker = _WAYS[row["method"]]
        value, low, high = ([row[name + end] for name in within] for end in ("", "_low", "_high"))
        ax.plot(places, value, line, marker=marker, color=color, markersize=5)
        _band(ax, places, low, high, color)
        labels.append((value[-1], row["method"].replace("as many as", "like"), color))
        told.append(
            f"{row['method']} {_percent(value[0], 0)} at the very token, {_percent(value[2], 0)} within {within[2][7:]}"
        )
    ax.set_xticks(places, [name.removeprefix("within_") for name in within])
    ax.set(xlabel="tokens from the error's entry to the next step end, at most", ylabel="errors", ylim=(0, 1.03))
    _percent_axis(ax.yaxis)
    _end_labels(ax, labels, gap=0.085)
    plot.alt = f"Share of errors with a step end soon after their entry: {'; '.join(told)}."
    return plot


@_styled
def label_errors(frame: pd.DataFrame) -> Plot:
    """Labels against the truth by step for the largest J, from `asprm.truth.disagreement` by J and step."""
    rows = frame[frame["J"] == frame["J"].max()].sort_values("step")
    plot, axes = _plot(3.8, (3, 1))
    main, below = axes
    told = []
    for name, color, shift, words in (
        ("missed", BLUE, -0.1, "true, label 0"),
        ("forgiven", RED, 0.1, "departed, label 1"),
    ):
        some = rows[rows[name].notna()]
        x = some["step"] + shift
        main.plot(x, some[name], color=color, linewidth=1, label=words)
        _error_bars(main, x, some[name], some[f"{name}_low"], some[f"{name}_high"], color)
        if len(some):
            told.append(f"{words}: {_percent(some[name].iloc[0], 0)} at step {some['step'].iloc[0]}, "
                        f"{_percent(some[name].iloc[-1], 0)} at step {some['step'].iloc[-1]}")  # fmt: skip
    main.set(ylabel="of such steps", ylim=(0, 1.03))
    main.legend()
    _percent_axis(main.yaxis)
    below.bar(rows["step"], rows["steps"], color=PALE)
    below.set(xlabel="step (the last one and later)", ylabel="steps")
    plot.align_ylabels(axes)
    plot.alt = f"Hard labels of {rows['J'].iloc[0]} rollouts that disagree with the truth, by step: {'; '.join(told)}."
    return plot


@_styled
def reliability_curves(curves: Mapping[str, Reliability]) -> Plot:
    """Reliability of several reward models against "nothing wrong so far"; error bars are Wilson's."""
    plot, (ax,) = _plot(3.6)
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    told = []
    for i, (name, curve) in enumerate(curves.items()):
        color = (BLUE, RED, GREEN, PURPLE, "#b58900", "#56b4e9")[i % 6]
        ax.plot(curve.score, curve.share, color=color, linewidth=1, marker="os^vDP"[i % 6], label=name)
        _error_bars(ax, curve.score, curve.share, curve.low, curve.high, color)
        told.append(f"{name} {curve.error:.3f}")
    ax.set(xlabel="score of a step", ylabel="nothing wrong so far", xlim=(0, 1), ylim=(-0.02, 1.04))
    _percent_axis(ax.yaxis)
    ax.legend(loc="upper left")
    plot.alt = f"How often nothing was wrong yet, by score; expected calibration error: {', '.join(told)}."
    return plot


@_styled
def shares_of_kinds(frame: pd.DataFrame) -> Plot:
    """Kinds of the first intervention of guided decoding, from `asprm.truth.intervention_table`."""
    rows = frame.iloc[::-1]
    plot, (ax,) = _plot(0.9 + 0.36 * len(rows))
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
    _percent_axis(ax.xaxis)
    told = [f"{row.kind} {row.problems}" for row in frame.itertuples()]
    plot.alt = f"First interventions of guided decoding, by what they did: {', '.join(told)} problems."
    return plot


@_styled
def directions(frame: pd.DataFrame) -> Plot:
    """The paper's arrows with this run's differences and 95 % intervals, from `asprm.ledger.ledger`.

    The sign is turned so that to the right is where the paper's arrow points; "same" arrows are left out.
    """
    rows = frame[(frame["aspect"] == "arrow") & frame["here"].notna() & frame["direction"].isin(["up", "down"])]
    rows = rows.iloc[::-1].reset_index(drop=True)
    plot, (ax,) = _plot(1.2 + 0.21 * max(len(rows), 1))
    turn = np.where(rows["direction"] == "up", 1.0, -1.0)
    value = turn * rows["here"]
    low, high = np.minimum(turn * rows["low"], turn * rows["high"]), np.maximum(turn * rows["low"], turn * rows["high"])
    ax.axvline(0, color=GREY, linewidth=1)
    for verdict, (color, marker) in _SIGNS.items():
        some = rows.index[rows["verdict"] == verdict]
        if len(some):
            errors = np.maximum([(value - low)[some], (high - value)[some]], 0)
            ax.errorbar(
                value[some], some, xerr=errors, fmt=marker, color=color, markersize=5, linewidth=1.2, label=verdict
            )
    ax.set_yticks(range(len(rows)), rows["id"], fontsize=9)
    ax.set_ylim(-0.8, max(len(rows), 1) - 0.2)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("points in the direction of the paper's arrow")
    if len(rows):
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    counts = [f"{(rows['verdict'] == verdict).sum()} {verdict}" for verdict in _SIGNS]
    plot.alt = f"This run's differences for {len(rows)} arrows of the paper, with intervals: {', '.join(counts)}."
    return plot


@_styled
def label_cost_bars(frame: pd.DataFrame) -> Plot:
    """Rollouts of each reward model's labels, as the paper counts them and as run, from `asprm.costs.cost_ledger`."""
    rows = frame.iloc[::-1]
    plot, (ax,) = _plot(1.0 + 0.5 * len(rows))
    y = np.arange(len(rows))
    bars = ((0.2, "paper_rollouts", PALE, "all rollouts of every step"), (-0.2, "rollouts", BLUE, "as run"))
    for shift, column, color, words in bars:
        per = rows[column] / rows["solutions"]
        ax.barh(y + shift, per, 0.38, color=color, label=words)
        for place, value in zip(y + shift, per, strict=True):
            ax.annotate(
                f"{value:.1f}", (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
            )
    ax.set_yticks(y, rows["prm"])
    ax.grid(visible=False, axis="y")
    ax.set(
        xlabel="rollouts per labelled solution",
        xlim=(0, float((rows["paper_rollouts"] / rows["solutions"]).max()) * 1.15),
    )
    ax.legend(loc="lower right")
    told = [
        f"{r.prm} {r.paper_rollouts / r.solutions:.1f} and {r.rollouts / r.solutions:.1f}" for r in frame.itertuples()
    ]
    plot.alt = f"Rollouts per labelled solution, all and as run: {'; '.join(told)}."
    return plot
