"""Figures of samples: how often problems are solved, and one solution split into steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from asprm.figures.base import BLUE, GREEN, PURPLE, RED, Fragment, Plot, new_plot, percent_axis, styled
from asprm.results.format import percent


@styled
def solve_rates(rates: Mapping[str, ArrayLike], bins: int = 8) -> Plot:
    """How often problems are solved. rates: by test set, each problem's share of right samples (P,)."""
    import seaborn as sns  # here, because it takes a second

    rates = {name: np.asarray(values, float) for name, values in rates.items()}
    frame = pd.concat([pd.DataFrame({"set": name, "rate": values}) for name, values in rates.items()])
    colors = [(BLUE, GREEN, RED, PURPLE)[k % 4] for k in range(len(rates))]
    plot, (ax,) = new_plot(3.2)
    sns.histplot(
        frame, x="rate", hue="set", palette=colors, bins=bins, binrange=(0, 1), stat="proportion", common_norm=False,
        multiple="dodge", shrink=0.9, alpha=1, linewidth=0, ax=ax,
    )  # fmt: skip
    sns.move_legend(ax, "best", title=None)
    percent_axis(ax.xaxis)
    percent_axis(ax.yaxis)
    ax.set(xlabel="share of a problem's samples that are right", ylabel="share of problems", xlim=(0, 1))
    sentences = [
        f"{name}: {percent((values == 0).mean())} never, {percent((values == 1).mean())} always"
        for name, values in rates.items()
    ]
    plot.alt = f"Share of problems by how often their samples are right. {'; '.join(sentences)}."
    return plot


def solution_steps(
    tokens: Sequence[str],
    confidences: ArrayLike,
    splits: Mapping[str, ArrayLike],
    tau: float,
) -> Fragment:
    """One solution token by token under several splits, as HTML that wraps on a phone (paper Figure 1).

    The redder the background of a token, the lower its confidence; tokens below tau are bold; a bar ends a step. The
    confidence of a token appears when the mouse is over it. Colours are transparent, so that they suit the light and
    the dark theme.

    tokens: (T,) texts. confidences: (T,). splits: step ends (K,), exclusive, by the name of the method. tau: the
    threshold. ValueError: not as many confidences as tokens.
    """
    confidences = np.asarray(confidences, float)
    if len(tokens) != len(confidences):
        raise ValueError(f"{len(tokens)} tokens and {len(confidences)} confidences: expected as many")
    ends_of = {method: np.asarray(ends, int).tolist() for method, ends in splits.items()}
    blocks = []
    for method, ends in ends_of.items():
        numbers = {end: k for k, end in enumerate(ends, start=1)}
        spans = [
            _token(token, confidence, tau, _bar(numbers[i]) if i in numbers else "")
            for i, (token, confidence) in enumerate(zip(tokens, confidences, strict=True), start=1)
        ]
        steps = "1 step" if len(numbers) == 1 else f"{len(numbers)} steps"
        blocks.append(
            f'<p style="margin:.9em 0 .2em"><strong>{escape(method)}</strong>: {steps}</p>'
            f'<div style="white-space:pre-wrap;line-height:1.9;font-size:.95em">{"".join(spans)}</div>'
        )
    splits_in_words = "; ".join(f"{method} into {len(ends)} steps" for method, ends in ends_of.items())
    label = (
        f"One solution of {len(tokens)} tokens, {int((confidences < tau).sum())} of them below {tau:.3f}, split by "
        f"{splits_in_words}"
    )
    key = f"The redder the background of a token, the lower its confidence; bold: below {tau:.3f}; a bar ends a step."
    blocks.append(f'<p style="margin:.9em 0;font-size:.85em">{key}</p>')
    return Fragment(f'<div role="group" aria-label="{escape(label)}">{"".join(blocks)}</div>')


def _token(token: str, confidence: float, tau: float, bar: str) -> str:
    """A token and the bar after it. The bar stands at the end of a line, not at the beginning of the next line."""
    doubt = min(1.0, -np.log(max(confidence, 1e-9)) / 1.6)  # full colour at confidence 0.2
    low = confidence < tau
    title = f"{token.strip() or repr(token)[1:-1]} {confidence:.3f}" + (" · decision" if low else "")
    style = f"background:rgba(213,94,0,{0.5 * doubt:.2f})" + (";font-weight:700" if low else "")
    text, newline, rest = token.partition("\n")
    text += "⏎" if low and newline else ""  # a line break itself shows no background
    return f'<span title="{escape(title)}" style="{style}">{escape(text)}</span>{bar}{newline}{escape(rest)}'


def _bar(number: int) -> str:
    style = "border-left:4px solid var(--pst-color-primary,#1f7fc0);margin:0 .25em;padding:.25em 0"
    return f'<span role="img" aria-label="end of step {number}" title="end of step {number}" style="{style}"></span>'
