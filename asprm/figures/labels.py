"""Figures of labels and training: labels by step, training losses, reliability of a reward model's scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    percent_axis,
    styled,
)
from asprm.intervals import Floats, share_interval
from asprm.results.format import percent
from asprm.statistics import Reliability


@dataclass(frozen=True)
class _Groups:
    """Rows by group: group numbers, mean values with intervals over problems, and counts of rows; all (G,).

    most: the number of the last group, which holds all larger numbers too.
    """

    numbers: NDArray[np.int64]
    share: Floats
    low: Floats
    high: Floats
    count: NDArray[np.int64]
    most: int

    def alt(self, start: str, before: str, or_more: str) -> str:
        """The alternative text: how the share changes from the first group to the last one."""
        first, last = self.numbers[0], self.numbers[-1]
        end = or_more if last == self.most else ""
        return (
            f"{start}: {percent(self.share[0], 0)} {before} {first}, {percent(self.share[-1], 0)} {before} {last}{end}."
        )


def _grouped(group: ArrayLike, value: ArrayLike, problem: ArrayLike, most: int) -> _Groups:
    """Values in [0, 1] by the number of their group; all (rows,)."""
    group = np.minimum(np.asarray(group, int), most)
    codes = np.unique(np.asarray(problem), return_inverse=True)[1].ravel()
    top, bottom = np.zeros((2, codes.max() + 1, most + 1))
    np.add.at(top, (codes, group), np.asarray(value, float))
    np.add.at(bottom, (codes, group), 1)
    present = np.flatnonzero(bottom.sum(0))
    interval = share_interval(top[:, present], bottom[:, present])
    share, low, high = (np.asarray(bound) for bound in interval)
    return _Groups(present, share, low, high, bottom.sum(0)[present].astype(np.int64), most)


def _draw(axes: list[Axes], groups: _Groups, xlabel: str, ylabel: str, counted: str) -> None:
    """Shares with intervals in the upper panel, counts of rows in the lower one."""
    main, below = axes
    main.plot(groups.numbers, groups.share, color=BLUE, linewidth=1)
    error_bars(main, groups.numbers, groups.share, groups.low, groups.high, BLUE)
    main.set(ylim=(0, 1.02), ylabel=ylabel)
    percent_axis(main.yaxis)
    below.bar(groups.numbers, groups.count, color=PALE, width=0.7)
    below.set(xlabel=xlabel, ylabel=counted)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 1000:g}k" if v >= 1000 else f"{v:g}"))
    below.set_xticks(
        groups.numbers, [f"{number}+" if number == groups.most else str(number) for number in groups.numbers]
    )


@styled
def label_by_position(step: ArrayLike, label: ArrayLike, problem: ArrayLike, most: int = 12) -> Plot:
    """Mean label by the number of the step in its solution, with intervals over problems.

    step, label, problem: (steps,), numbers from 1. most: later steps are counted with this one.
    """
    plot, axes = new_plot(3.5, (3, 1))
    groups = _grouped(step, label, problem, most)
    _draw(axes, groups, "step", "mean label", "steps")
    plot.align_ylabels(axes)
    start = f"Mean label of {groups.count.sum():,} steps by their number in the solution"
    plot.alt = groups.alt(start, "at step", " and later")
    return plot


@styled
def accuracy_by_steps(steps: ArrayLike, correct: ArrayLike, problem: ArrayLike, most: int = 12) -> Plot:
    """Share of right solutions by their number of steps, with intervals over problems.

    steps, correct, problem: (solutions,). most: solutions of more steps are counted with those of this number.
    """
    plot, axes = new_plot(3.5, (3, 1))
    groups = _grouped(steps, correct, problem, most)
    _draw(axes, groups, "steps in the solution", "right solutions", "solutions")
    plot.align_ylabels(axes)
    start = f"Share of right solutions among {groups.count.sum():,} by their number of steps"
    plot.alt = groups.alt(start, "with", " or more")
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
    """The reward model's training loss, raw and as a moving average over a twentieth of the steps; its validation loss.

    step, loss: (n,). validation_step, validation_loss: (m,).
    """
    step, loss = np.asarray(step, float), np.asarray(loss, float)
    plot, (ax,) = new_plot(2.9)
    window = max(1, len(loss) // 20)
    smooth = np.asarray(pd.Series(loss).rolling(window, min_periods=1, center=True).mean())
    ax.plot(step, loss, color=BLUE, alpha=0.25, linewidth=1)
    ax.plot(step, smooth, color=BLUE)
    labels = [(smooth[-1], "training", BLUE)]
    change = "falls" if smooth[-1] < smooth[0] else "does not fall: it goes"
    alt = f"Training loss {change} from {smooth[0]:.3f} to {smooth[-1]:.3f} over {step[-1]:,.0f} steps"
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
    """Training losses by tokens seen, a line for each model; without models the figure says so.

    histories: (tokens, losses), both (n,), by the name of the model.
    """
    plot, (ax,) = new_plot(3.0 if histories else 0.8)
    if not histories:
        plot.alt = "None of the models was trained here."
        ax.set_axis_off()
        ax.text(0, 0.5, plot.alt, va="center")
        return plot
    sentences = []
    for color, (name, (tokens, losses)) in zip([BLUE, RED, GREEN, PURPLE, GREY], histories.items(), strict=False):
        tokens, losses = np.asarray(tokens, float), np.asarray(losses, float)
        ax.plot(tokens / 1e6, losses, color=color, linewidth=1.4, label=name)
        sentences.append(f"{name} from {losses[0]:.2f} to {losses[-1]:.2f}")
    ax.set(xlabel="million tokens seen", ylabel="loss per solution token", yscale="log", xlim=(0, None))
    ax.legend()
    plot.alt = f"Training loss per solution token, from the first to the last step: {', '.join(sentences)}."
    return plot


@styled
def reliability_diagram(bins: Reliability) -> Plot:
    """Reliability of a reward model: the share of steps with label 1, by score (calibrated: on the diagonal)."""
    plot, axes = new_plot(4.2, (3.4, 1))
    main, below = axes
    main.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    main.plot(bins.score, bins.share, color=BLUE, linewidth=1)
    error_bars(main, bins.score, bins.share, bins.low, bins.high, BLUE)
    main.text(0.02, 0.95, f"expected calibration error {bins.error:.3f}", transform=main.transAxes, va="top")
    main.set(xlim=(0, 1), ylim=(-0.02, 1.04), ylabel="share with label 1")
    percent_axis(main.yaxis)
    below.bar(bins.score, bins.count, color=PALE, width=0.06)
    below.set(xlabel="score of the reward model", ylabel="steps")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    plot.align_ylabels(axes)
    plot.alt = (
        f"Share of {bins.count.sum():,} steps with label 1, by the reward model's score: {percent(bins.share[0], 0)} "
        f"of those with scores near {bins.score[0]:.2f}, {percent(bins.share[-1], 0)} of those with scores near "
        f"{bins.score[-1]:.2f}; expected calibration error {bins.error:.3f}."
    )
    return plot
