"""Figures of the tokens chapter: which types and roles decision tokens have, and some in their contexts."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd

from asprm.figures.base import BLUE, PALE, RED, Fragment, Plot, marked, new_plot, percent, percent_axis, styled, table


@styled
def token_bars(frame: pd.DataFrame) -> Plot:
    """Shares of all tokens and of decision tokens by type or role, from `asprm.token_types.mathematics.token_table`, with intervals."""
    by = frame.columns[0]
    rows = frame[frame["tokens"] > 0].sort_values("decision_share")
    plot, (ax,) = new_plot(0.9 + 0.42 * len(rows))
    y = np.arange(len(rows))
    for offset, column, color, name in (
        (0.2, "decision_share", RED, "decision tokens"),
        (-0.2, "share", PALE, "all tokens"),
    ):
        ax.barh(y + offset, rows[column], 0.38, color=color, label=name)
        errors = np.maximum([rows[column] - rows[f"{column}_low"], rows[f"{column}_high"] - rows[column]], 0)
        ax.errorbar(rows[column], y + offset, xerr=errors, fmt="none", ecolor="#1f2328", elinewidth=1)
        for place, value, high in zip(y + offset, rows[column], rows[f"{column}_high"], strict=True):
            ax.annotate(
                percent(value), (high, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
            )
    ax.set_yticks(y, rows[by])
    ax.grid(visible=False, axis="y")
    ax.set_xlim(0, float(rows[["share_high", "decision_share_high"]].to_numpy().max()) * 1.15)
    ax.set_xlabel("share of tokens")
    percent_axis(ax.xaxis)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    top = rows.iloc[::-1].head(3)
    told = [f"{r[by]} {percent(r['decision_share'])} (of all tokens {percent(r['share'])})" for _, r in top.iterrows()]
    plot.alt = f"Decision tokens by {by}, most frequent first: {', '.join(told)}."
    return plot


@styled
def types_beside_paper(frame: pd.DataFrame, paper: pd.DataFrame) -> Plot:
    """Shares by token type with intervals, beside the paper's: of all tokens, and of those where something is decided.

    frame: from `token_table`, indexed by type. paper: columns share and decision_share, indexed by type; may lack rows.
    """
    rows = frame.sort_values("decision_share")
    plot, (ax,) = new_plot(0.9 + 0.42 * len(rows))
    y = np.arange(len(rows))
    for offset, column, color, name in (
        (0.17, "decision_share", RED, "decisions"),
        (-0.17, "share", BLUE, "all tokens"),
    ):
        value = rows[column].to_numpy(float)
        errors = np.maximum([value - rows[f"{column}_low"], rows[f"{column}_high"] - value], 0)
        ax.errorbar(value, y + offset, xerr=errors, fmt="o", color=color, markersize=5, linewidth=1.6, label=name)
        theirs = paper[column].reindex(rows.index).to_numpy(float)
        ax.plot(theirs, y + offset, "D", color=color, mfc="white", markersize=5, label=f"{name}, paper", linestyle="")
    ax.set_yticks(y, rows.index)
    ax.set_xlim(0, None)
    ax.set_xlabel("share")
    percent_axis(ax.xaxis)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    top = rows.iloc[::-1].head(3)
    told = [
        f"{name} {percent(row['decision_share'])}"
        + (f" (paper {percent(paper.loc[name, 'decision_share'])})" if name in paper.index else "")
        for name, row in top.iterrows()
    ]
    plot.alt = f"Decisions by token type beside the paper's, most frequent first: {', '.join(told)}."
    return plot


def token_samples(frame: pd.DataFrame) -> Fragment:
    """Decision tokens in their contexts (paper Tables 11 and 12), from `asprm.token_types.tables.samples_by_type`, as HTML."""
    rows = []
    for row in frame.itertuples():
        before, token, after = (escape(text.replace("\n", "⏎")) for text in (row.before, row.token, row.after))
        context = f'<span style="font-family:monospace;white-space:pre-wrap">{before}{marked(token)}{after}</span>'
        rows.append((escape(row.type), f"{row.confidence:.3f}", context))
    return Fragment(table(["type", "confidence", "in its context"], rows))
