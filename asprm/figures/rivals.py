"""Figures of the chapter on rivals: gains, decisive tokens along a solution, and accuracy against cost."""

from __future__ import annotations

import numpy as np
import pandas as pd

from asprm.contests.places import CONFIDENCE
from asprm.contests.searched import BEAM, BEST, GREEDY, GUIDED, MAJORITY, TVD, VOTED
from asprm.contests.told import records
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
    error_bars,
    new_plot,
    percent_axis,
    styled,
)
from asprm.results.format import percent, points

_WAYS = {
    BEST: (BLUE, "o"),
    MAJORITY: (GREY, "s"),
    GREEDY: (BLACK, "D"),
    TVD: (RED, "v"),
    BEAM: (GREEN, "^"),
    GUIDED: (PURPLE, "P"),
    VOTED: (YELLOW, "X"),
}

SHARES = (0, 0.25, 0.5, 0.75, 1)  # ticks where marks or a legend stand above 100 %


@styled
def gains_of_kinds(table: pd.DataFrame) -> Plot:
    """By how much Best-of-N and F1 differ from low confidence. table: from `asprm.rivals.step_table`."""
    rows = table.loc[table["kind"] != CONFIDENCE]
    plot, (ax,) = new_plot(3.0)
    x = np.arange(len(rows))
    ax.axhline(0, color=GREY, linewidth=1)
    series = ((-0.12, "gain", BLUE, "Best-of-N"), (0.12, "f1_gain", RED, "F1 of the first error"))
    for shift, name, color, words in series:
        error_bars(ax, x + shift, rows[name], rows[f"{name}_low"], rows[f"{name}_high"], color, label=words)
    ax.set_xticks(x, rows["kind"])
    ax.set(ylabel=f"against {CONFIDENCE}", xlim=(-0.5, len(rows) - 0.5))
    percent_axis(ax.yaxis)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)  # an interval may reach any corner
    told = [f"{row['kind']} {points(row['gain'])} and {points(row['f1_gain'])}" for row in records(rows)]
    plot.alt = f"Best-of-N and F1 against {CONFIDENCE}, in points: {'; '.join(told)}."
    return plot


@styled
def success_along(drops: pd.DataFrame) -> Plot:
    """The probability of success after each token of one solution. drops: its rows of `asprm.rivals.drop_table`."""
    plot, (ax,) = new_plot(3.2)
    rollouts = int(drops["rollouts"].iloc[0])
    places = np.arange(len(drops) + 1)
    success = np.append(drops["before"].to_numpy(), drops["after"].iloc[-1]) / rollouts
    error = 1.96 * np.sqrt(success * (1 - success) / rollouts)
    ax.plot(places, success, color=BLUE, linewidth=1.5)
    band(ax, places, np.clip(success - error, 0, 1), np.clip(success + error, 0, 1), BLUE)
    marks = (("low confidence", CONFIDENCE, SKY, "o", 1.05), ("decisive", "decisive", RED, "v", 1.12),
             ("departure", "departure", BLACK, "X", 1.19))  # fmt: skip
    for words, column, color, marker, height in marks:
        at = np.flatnonzero(drops[column].to_numpy(bool)) + 1
        ax.plot(at, np.full(len(at), height), marker, color=color, label=words, linestyle="none")
    ax.set(xlabel="tokens", ylabel="rollouts that come right", ylim=(-0.03, 1.28))
    ax.set_yticks(SHARES)
    percent_axis(ax.yaxis)
    ax.legend(loc="center right")
    count = int(drops["decisive"].to_numpy().sum())
    plot.alt = (
        f"Success probability along {len(drops)} tokens of a solution, from {percent(success[0], 0)} to "
        f"{percent(success[-1], 0)}, with {count} decisive tokens."
    )
    return plot


@styled
def recall_of_kinds(table: pd.DataFrame) -> Plot:
    """How many of the cliffs, decisive tokens and departures each kind marks.

    table: from `asprm.rivals.token_table`.
    """
    plot, (ax,) = new_plot(3.2)
    kinds = list(dict.fromkeys(table.loc[table["wanted"] == "departure", "by"]))[:-1]
    x, told = np.arange(len(kinds)), []
    for shift, wanted, color in ((-0.2, "decisive", RED), (0.0, "cliff", YELLOW), (0.2, "departure", BLACK)):
        rows = table.loc[table["wanted"] == wanted].set_index("by").reindex(kinds)
        if rows["recall"].notna().any():
            error_bars(ax, x + shift, rows["recall"], rows["recall_low"], rows["recall_high"], color, label=wanted)
            shares = [f"{kind} {percent(value, 0)}" for kind, value in zip(kinds, rows["recall"], strict=True)]
            told.append(f"{wanted}: {', '.join(shares)}")
    ax.set_xticks(x, kinds)
    ax.set(ylabel="recall", ylim=(-0.03, 1.25), xlim=(-0.5, len(kinds) - 0.5))
    ax.set_yticks(SHARES)
    percent_axis(ax.yaxis)
    if told:
        ax.legend(loc="upper right", ncols=3)
    plot.alt = f"Share of tokens that each kind marks: {'; '.join(told) or 'there are 0 of them'}."
    return plot


@styled
def frontier(table: pd.DataFrame) -> Plot:
    """Accuracy against operations, with the frontier. table: from `asprm.rivals.search_table`."""
    plot, (ax,) = new_plot(4.6)
    on = table.loc[table["frontier"]]
    ax.step(on["flops"], on["right"], where="post", color=PALE, linewidth=4, label="frontier")
    for way, (color, marker) in _WAYS.items():
        rows = table.loc[table["way"] == way].sort_values("flops")
        if len(rows):
            ax.plot(rows["flops"], rows["right"], color=color, marker=marker, linewidth=1, label=way)
            ax.vlines(rows["flops"], rows["right_low"], rows["right_high"], color=color, linewidth=1, alpha=0.5)
            for row in records(rows):
                place = row["flops"], row["right"]
                ax.annotate(str(row["size"]), place, xytext=(3, 4), textcoords="offset points", fontsize=9)
    ax.set(xscale="log", xlabel="operations per problem", ylabel="problems solved")
    percent_axis(ax.yaxis)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)  # points may lie anywhere
    told = [f"{row['way']} of {row['size']} {percent(row['right'])}" for row in records(on)]
    plot.alt = f"Problems solved against operations per problem; on the frontier: {', '.join(told)}."
    return plot
