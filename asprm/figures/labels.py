"""Figures of labels and training: labels by step, losses, and whether a reward model's scores come true."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from asprm.figures.base import (
    BLUE,
    GREEN,
    GREY,
    PALE,
    PURPLE,
    RED,
    Plot,
    end_labels,
    error_bars,
    new_plot,
    percent,
    percent_axis,
    styled,
)
from asprm.statistics import Interval, Reliability, bootstrap_ratio


def _share_by_group(
    group: ArrayLike, value: ArrayLike, problem: ArrayLike, most: int, seed: int = 0
) -> tuple[NDArray[np.int64], Interval, NDArray[np.int64]]:
    """Groups up to `most` (more count as `most`), the mean value of each with its interval over problems, its rows."""
    group = np.minimum(np.asarray(group, int), most)
    codes = np.unique(np.asarray(problem), return_inverse=True)[1].ravel()
    top, bottom = np.zeros((2, codes.max() + 1, most + 1))
    np.add.at(top, (codes, group), np.asarray(value, float))
    np.add.at(bottom, (codes, group), 1)
    present = np.flatnonzero(bottom.sum(0))
    share = bootstrap_ratio(top[:, present], bottom[:, present], resamples=2000, seed=seed)
    return present, share, bottom.sum(0)[present].astype(np.int64)


def _by_group(plot: Plot, axes: list[Axes], found, most: int, xlabel: str, ylabel: str, counted: str) -> None:
    groups, (share, low, high), count = found
    main, below = axes
    main.plot(groups, share, color=BLUE, linewidth=1)
    error_bars(main, groups, share, low, high, BLUE)
    main.set(ylim=(0, 1.02), ylabel=ylabel)
    percent_axis(main.yaxis)
    below.bar(groups, count, color=PALE, width=0.7)
    below.set(xlabel=xlabel, ylabel=counted)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 1000:g}k" if v >= 1000 else f"{v:g}"))
    below.set_xticks(groups, [f"{g}+" if g == most else str(g) for g in groups])
    plot.align_ylabels(axes)


@styled
def label_by_position(step: ArrayLike, label: ArrayLike, problem: ArrayLike, most: int = 12) -> Plot:
    """Mean label by step number (from 1; `most` and later together), with intervals over problems; all (steps,)."""
    plot, axes = new_plot(3.5, (3, 1))
    found = _share_by_group(step, label, problem, most)
    _by_group(plot, axes, found, most, "step", "mean label", "steps")
    groups, (share, _, _), count = found
    plot.alt = (
        f"Mean label of {count.sum():,} steps by their number in the solution: {percent(share[0], 0)} at step "
        f"{groups[0]}, {percent(share[-1], 0)} at step {groups[-1]}{' and later' if groups[-1] == most else ''}."
    )
    return plot


@styled
def accuracy_by_steps(steps: ArrayLike, correct: ArrayLike, problem: ArrayLike, most: int = 12) -> Plot:
    """Share of right solutions by their number of steps (`most` and more together); all (solutions,)."""
    plot, axes = new_plot(3.5, (3, 1))
    found = _share_by_group(steps, correct, problem, most)
    _by_group(plot, axes, found, most, "steps in the solution", "right solutions", "solutions")
    groups, (share, _, _), count = found
    plot.alt = (
        f"Share of right solutions among {count.sum():,} by their number of steps: {percent(share[0], 0)} with "
        f"{groups[0]}, {percent(share[-1], 0)} with {groups[-1]}{' or more' if groups[-1] == most else ''}."
    )
    return plot


@styled
def training_curve(
    step: ArrayLike,
    loss: ArrayLike,
    validation_step: ArrayLike = (),
    validation_loss: ArrayLike = (),
    *,
    xlabel: str = "optimizer step",
) -> Plot:
    """The PRM's training loss, as logged and smoothed over a twentieth of the run, and its validation loss."""
    step, loss = np.asarray(step, float), np.asarray(loss, float)
    plot, (ax,) = new_plot(2.9)
    window = max(1, len(loss) // 20)
    smooth = pd.Series(loss).rolling(window, min_periods=1, center=True).mean().to_numpy()
    ax.plot(step, loss, color=BLUE, alpha=0.25, linewidth=1)
    ax.plot(step, smooth, color=BLUE)
    labels = [(smooth[-1], "training", BLUE)]
    alt = f"Training loss falls from {smooth[0]:.3f} to {smooth[-1]:.3f} over {step[-1]:,.0f} steps"
    if smooth[-1] >= smooth[0]:
        alt = f"Training loss goes from {smooth[0]:.3f} to {smooth[-1]:.3f} over {step[-1]:,.0f} steps"
    if len(np.atleast_1d(validation_loss)):
        validation_step, validation_loss = np.atleast_1d(validation_step), np.atleast_1d(validation_loss)
        ax.plot(validation_step, validation_loss, "o-", color=RED, markersize=4)
        labels.append((float(validation_loss[-1]), "validation", RED))
        alt += f"; the last validation loss is {validation_loss[-1]:.3f}"
    ax.set(xlabel=xlabel, ylabel="cross-entropy", xlim=(0, step[-1]))
    end_labels(ax, labels)
    plot.alt = alt + "."
    return plot


@styled
def loss_curves(histories: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Plot:
    """Losses against tokens seen, a line per model: (tokens, losses) by name. Without models the figure says so."""
    plot, (ax,) = new_plot(3.0 if histories else 0.8)
    if not histories:
        plot.alt = "None of the models was made here."
        ax.set_axis_off()
        ax.text(0, 0.5, plot.alt, va="center")
        return plot
    labels, told = [], []
    for color, (name, (tokens, losses)) in zip([BLUE, RED, GREEN, PURPLE, GREY], histories.items(), strict=False):
        tokens, losses = np.asarray(tokens, float), np.asarray(losses, float)
        ax.plot(tokens / 1e6, losses, color=color, linewidth=1.4)
        labels.append((losses[-1], name, color))
        told.append(f"{name} falls from {losses[0]:.2f} to {losses[-1]:.2f}")
    ax.set(xlabel="million tokens seen", ylabel="loss per solution token", yscale="log", xlim=(0, None))
    for _, name, color in labels:
        ax.plot([], [], color=color, label=name)
    ax.legend()
    plot.alt = f"Training losses: {', '.join(told)}."
    return plot


@styled
def reliability_diagram(bins: Reliability) -> Plot:
    """Do scores mean what they say? The share of steps with label 1 by score, beside the diagonal, and the counts."""
    plot, axes = new_plot(4.2, (3.4, 1))
    main, below = axes
    main.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    main.plot(bins.score, bins.share, color=BLUE, linewidth=1)
    error_bars(main, bins.score, bins.share, bins.low, bins.high, BLUE)
    main.text(0.02, 0.95, f"expected calibration error {bins.error:.3f}", transform=main.transAxes, va="top")
    main.set(xlim=(0, 1), ylim=(-0.02, 1.04), ylabel="share with label 1")
    percent_axis(main.yaxis)
    below.bar(bins.score, bins.count, color=PALE, width=0.06)
    below.set(xlabel="PRM score", ylabel="steps")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    plot.align_ylabels(axes)
    plot.alt = (
        f"Share of steps labelled 1 against the PRM's score for {bins.count.sum():,} steps: scores near "
        f"{bins.score[0]:.2f} come true in {percent(bins.share[0], 0)}, scores near {bins.score[-1]:.2f} in "
        f"{percent(bins.share[-1], 0)}; expected calibration error {bins.error:.3f}."
    )
    return plot
