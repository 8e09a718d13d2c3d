"""Figures of the claims chapter: the paper's arrows with this run's differences, and what the labels cost."""

from __future__ import annotations

import numpy as np
import pandas as pd

from asprm.figures.base import BLUE, GREEN, GREY, PALE, RED, Plot, new_plot, styled

_SIGNS = {  # colour and shape: a verdict must not depend on colour alone
    "reproduced": (GREEN, "o"),
    "opposite": (RED, "X"),
    "inconclusive": (GREY, "s"),
}


@styled
def directions(frame: pd.DataFrame) -> Plot:
    """The paper's arrows with this run's differences and 95 % intervals, from `asprm.claims.ledger`.

    The sign is turned so that to the right is where the paper's arrow points; "same" arrows are left out.
    """
    rows = frame[(frame["aspect"] == "arrow") & frame["here"].notna() & frame["direction"].isin(["up", "down"])]
    rows = rows.iloc[::-1].reset_index(drop=True)
    plot, (ax,) = new_plot(1.2 + 0.21 * max(len(rows), 1))
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


@styled
def label_cost_bars(frame: pd.DataFrame) -> Plot:
    """Rollouts of each reward model's labels, as the paper counts them and as run, from `asprm.results.costs.cost_ledger`."""
    rows = frame.iloc[::-1]
    plot, (ax,) = new_plot(1.0 + 0.5 * len(rows))
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
