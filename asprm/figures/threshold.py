"""Figures of the threshold chapter: how confident the policy is, and the threshold by the share below it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from asprm.figures.base import BLUE, RED, Plot, error_bars, new_plot, percent_axis, styled
from asprm.results.format import percent
from asprm.threshold import Threshold


@styled
def confidence_histogram(confidences: ArrayLike, threshold: Threshold, bins: int = 50) -> Plot:
    """Histogram of the confidences (T,) of sampled tokens, and the threshold τ with its interval."""
    confidences = np.asarray(confidences)
    plot, (ax,) = new_plot(2.9)
    edges = np.linspace(0, 1, bins + 1).tolist()
    ax.hist(confidences, edges, color=BLUE, alpha=0.35)
    ax.hist(confidences[confidences < threshold.tau], edges, color=RED)
    ax.axvspan(threshold.low, threshold.high, color=RED, alpha=0.2, linewidth=0)
    ax.axvline(threshold.tau, color=RED)
    ax.set_yscale("log")
    on_left = threshold.tau > 0.5
    ax.annotate(
        f"τ = {threshold.tau:.3f}  ({threshold.low:.3f} to {threshold.high:.3f})\n"
        f"{percent(threshold.achieved)} of the tokens are below",
        (threshold.tau, 0.97),
        xycoords=ax.get_xaxis_transform(),
        xytext=(-8 if on_left else 8, 0),
        textcoords="offset points",
        ha="right" if on_left else "left",
        va="top",
        color=RED,
    )
    ax.set(xlim=(0, 1), xlabel="confidence of the sampled token", ylabel="tokens (logarithmic)")
    sure = (confidences > 0.98).mean()
    plot.alt = (
        f"Histogram of {threshold.tokens:,} token confidences, with a logarithmic axis of counts: {percent(sure, 0)} "
        f"are above 0.98; {percent(threshold.achieved)} are below the threshold {threshold.tau:.3f} "
        f"(95 % interval {threshold.low:.3f} to {threshold.high:.3f})."
    )
    return plot


@styled
def threshold_sweep(thresholds: Sequence[Threshold], chosen: float = 0.02) -> Plot:
    """The threshold τ with its interval, by the share of tokens below it. chosen: the share that the study uses."""
    plot, (ax,) = new_plot(2.7)
    ordered = sorted(thresholds, key=lambda t: t.share)
    shares, taus, low, high = (np.array([getattr(t, f) for t in ordered]) for f in ("share", "tau", "low", "high"))
    ax.plot(shares, taus, color=BLUE)
    error_bars(ax, shares, taus, low, high, BLUE)
    for t in ordered:
        if np.isclose(t.share, chosen):
            error_bars(ax, [t.share], [t.tau], [t.low], [t.high], RED, zorder=5)
            ax.annotate(
                f"τ = {t.tau:.3f}",
                (t.share, t.tau),
                xytext=(0, 10),
                textcoords="offset points",
                ha="right",
                color=RED,
            )
    percent_axis(ax.xaxis, 1)
    ax.set(
        xlabel="share of tokens below τ", ylabel="τ", xlim=(0, shares.max() * 1.06), ylim=(0, min(1, high.max() * 1.15))
    )
    plot.alt = (
        f"The threshold rises from {taus[0]:.3f} for {percent(shares[0])} of the tokens "
        f"to {taus[-1]:.3f} for {percent(shares[-1])}."
    )
    return plot
