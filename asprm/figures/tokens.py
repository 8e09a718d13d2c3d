"""Figures of the tokens chapter: the types and roles of decision tokens, and examples in their contexts."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd

from asprm.figures.base import (
    BLACK,
    BLUE,
    PALE,
    RED,
    Fragment,
    Plot,
    bar_values,
    distances,
    marked,
    new_plot,
    percent_axis,
    styled,
    table,
)
from asprm.results.format import percent


@styled
def token_bars(frame: pd.DataFrame) -> Plot:
    """Shares of all tokens and of decision tokens, by type or role, with intervals.

    frame: from `token_table` of `asprm.token_types.mathematics` or `code`; its first column is the type or role.
    """
    by = frame.columns[0]
    rows = frame.loc[frame["tokens"] > 0].sort_values("decision_share")
    plot, (ax,) = new_plot(0.9 + 0.42 * len(rows))
    y = np.arange(len(rows))
    for offset, column, color, name in (
        (0.2, "decision_share", RED, "decision tokens"),
        (-0.2, "share", PALE, "all tokens"),
    ):
        ax.barh(y + offset, rows[column], 0.38, color=color, label=name)
        errors = distances(rows[column], rows[f"{column}_low"], rows[f"{column}_high"])
        ax.errorbar(rows[column], y + offset, xerr=errors, fmt="none", ecolor=BLACK, elinewidth=1)
        bar_values(ax, [percent(value) for value in rows[column]], rows[f"{column}_high"], y + offset)
    ax.set_yticks(y, rows[by])
    ax.grid(visible=False, axis="y")
    ax.set_xlim(0, float(rows[["share_high", "decision_share_high"]].to_numpy().max()) * 1.15)
    ax.set_xlabel("share of tokens")
    percent_axis(ax.xaxis)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    top = rows.iloc[::-1].head(3).to_dict("records")
    shares = [f"{row[by]} {percent(row['decision_share'])} (of all tokens {percent(row['share'])})" for row in top]
    plot.alt = f"Share of decision tokens by {by}, the most frequent: {', '.join(shares)}."
    return plot


@styled
def types_beside_paper(frame: pd.DataFrame, paper: pd.DataFrame) -> Plot:
    """Shares of all tokens and of decision tokens by type, with intervals, beside the paper's.

    frame: from `token_table`, indexed by type. paper: columns share and decision_share, indexed by type, some or all.
    """
    rows = frame.sort_values("decision_share")
    plot, (ax,) = new_plot(0.9 + 0.42 * len(rows))
    y = np.arange(len(rows))
    for offset, column, color, name in (
        (0.17, "decision_share", RED, "decision tokens"),
        (-0.17, "share", BLUE, "all tokens"),
    ):
        value = rows[column].to_numpy(float)
        errors = distances(value, rows[f"{column}_low"], rows[f"{column}_high"])
        ax.errorbar(value, y + offset, xerr=errors, fmt="o", color=color, markersize=5, linewidth=1.6, label=name)
        theirs = paper[column].reindex(rows.index).to_numpy(float)
        ax.plot(theirs, y + offset, "D", color=color, mfc="white", markersize=5, label=f"{name}, paper", linestyle="")
    ax.set_yticks(y, rows.index)
    ax.set_xlim(0, None)
    ax.set_xlabel("share of tokens")
    percent_axis(ax.xaxis)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    theirs = {name: f" (paper {percent(share)})" for name, share in paper["decision_share"].to_dict().items()}
    top = rows["decision_share"].iloc[::-1].head(3).to_dict()
    shares = [f"{name} {percent(share)}{theirs.get(name, '')}" for name, share in top.items()]
    plot.alt = f"Share of decision tokens by type beside the paper's, the most frequent: {', '.join(shares)}."
    return plot


def token_samples(frame: pd.DataFrame) -> Fragment:
    """Decision tokens in their contexts, as HTML (paper Tables 11 and 12).

    frame: from `asprm.token_types.tables.samples_by_type`.
    """
    rows = []
    for row in frame.to_dict("records"):
        before, token, after = (escape(row[name].replace("\n", "⏎")) for name in ("before", "token", "after"))
        context = f'<span style="font-family:monospace;white-space:pre-wrap">{before}{marked(token)}{after}</span>'
        rows.append((escape(row["type"]), f"{row['confidence']:.3f}", context))
    return Fragment(table(["type", "confidence", "in its context"], rows))
