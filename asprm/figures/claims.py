"""Figures of the claims chapter: this run's differences for the paper's arrows, and the cost of the labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from asprm.figures.base import BLUE, GREEN, GREY, PALE, PURPLE, RED, Plot, bar_values, distances, new_plot, styled

_VERDICTS = {  # colour and shape: colour alone must not carry a verdict
    "reproduced": (GREEN, "o"),
    "opposite": (RED, "X"),
    "no difference": (BLUE, "P"),
    "inconclusive": (GREY, "s"),
    "broken baseline": (PURPLE, "D"),
    "not tested": (GREY, "x"),
}


@styled
def directions(frame: pd.DataFrame) -> Plot:
    """This run's differences for the paper's arrows, with 95 % intervals.

    Differences are turned so that positive values agree with the paper's arrow. Arrows that say "same" are left out.

    frame: from `asprm.claims.ledger`.
    """
    rows = frame[(frame["aspect"] == "arrow") & frame["here"].notna() & frame["direction"].isin(["up", "down"])]
    rows = rows.iloc[::-1].reset_index(drop=True)
    plot, (ax,) = new_plot(1.2 + 0.21 * max(len(rows), 1))
    sign = np.where(rows["direction"] == "up", 1.0, -1.0)
    value, one_end, other_end = (sign * rows[name].to_numpy(float) for name in ("here", "low", "high"))
    errors = distances(value, np.minimum(one_end, other_end), np.maximum(one_end, other_end))
    ax.axvline(0, color=GREY, linewidth=1)
    for verdict, (color, marker) in _VERDICTS.items():
        places = np.flatnonzero(rows["verdict"] == verdict)
        if len(places):
            style = {"fmt": marker, "color": color, "markersize": 5, "linewidth": 1.2, "label": verdict}
            ax.errorbar(value[places], places, xerr=errors[:, places], **style)
    ax.set_yticks(range(len(rows)), rows["id"], fontsize=9)
    ax.set_ylim(-0.8, max(len(rows), 1) - 0.2)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("points in the direction of the paper's arrow")
    if len(rows):
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    counts = [f"{(rows['verdict'] == verdict).sum()} {verdict}" for verdict in _VERDICTS]
    plot.alt = f"This run's differences for {len(rows)} arrows of the paper, with intervals: {', '.join(counts)}."
    return plot


@styled
def label_cost_bars(frame: pd.DataFrame) -> Plot:
    """Rollouts per labelled solution, for each reward model: all of every step, as the paper counts, and as run.

    frame: from `asprm.results.costs.cost_ledger`.
    """
    per_solution = frame.assign(
        paper=frame["paper_rollouts"] / frame["solutions"], run=frame["rollouts"] / frame["solutions"]
    )
    rows = per_solution.iloc[::-1]
    plot, (ax,) = new_plot(1.0 + 0.5 * len(rows))
    y = np.arange(len(rows))
    bars = ((0.2, "paper", PALE, "all rollouts of every step"), (-0.2, "run", BLUE, "as run"))
    for shift, column, color, label in bars:
        ax.barh(y + shift, rows[column], 0.38, color=color, label=label)
        bar_values(ax, [f"{value:.1f}" for value in rows[column]], rows[column], y + shift)
    ax.set_yticks(y, rows["prm"])
    ax.grid(visible=False, axis="y")
    ax.set(xlabel="rollouts per labelled solution", xlim=(0, float(rows["paper"].max()) * 1.15))
    ax.legend(loc="lower right")
    costs = [f"{row['prm']} {row['paper']:.1f} and {row['run']:.1f}" for row in per_solution.to_dict("records")]
    plot.alt = f"Rollouts per labelled solution, all of every step and those run: {'; '.join(costs)}."
    return plot
