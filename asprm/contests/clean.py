"""Clean labels: filters of noisy Monte-Carlo labels, and their noise before and after, measured against the truth.

SCAN (arXiv 2509.16548): a policy's *self-confidence* on a problem is the share of its samples that are right. Problems
on which it is low are dropped: there rollouts fail from sound steps, too. Right solutions count as sound throughout.
Of wrong ones, the steps shortly before the first one that no rollout solves get soft labels, their share of right
rollouts divided by the self-confidence; earlier ones are sound.

Consensus (arXiv 2501.07301) keeps a solution where two judges name the same first wrong step. The paper's second judge
is a large language model; here the two judges are the two halves of the rollouts.

Axes: K steps of a solution, the last one excluded; J rollouts of a step; S solutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asprm.contests.cheap import Rolled, first_wrong
from asprm.intervals import share_interval

NEAR = 1  # steps before the predicted first error whose labels are soft


def scan_labels(rolled: Rolled, confidence: float, least: float) -> NDArray[np.float64] | None:
    """Labels (K,) in [0, 1] of a solution; None: its problem is dropped.

    confidence: the policy's self-confidence on the problem. least: below it a problem is dropped.
    """
    if confidence < least:
        return None
    count = len(rolled.right)
    if rolled.correct:
        return np.ones(count)
    error = first_wrong(rolled.solved)
    labels = (np.arange(count) < error).astype(float)
    near = slice(max(0, error - NEAR), error)
    labels[near] = np.minimum(1.0, rolled.right[near].mean(1) / confidence)
    return labels


def consensus_labels(rolled: Rolled) -> NDArray[np.float64] | None:
    """Hard labels (K,) by all rollouts; None: the first half of the rollouts and the second name different first wrong
    steps. With a single rollout there are no halves, and every solution is kept.
    """
    half = rolled.right.shape[1] // 2
    if half:
        parts = rolled.right[:, :half], rolled.right[:, half:]
        first, second = (first_wrong(np.logical_or.reduce(part, axis=1)) for part in parts)
        if first != second:
            return None
    return rolled.solved.astype(float)


def noise(
    labels: Sequence[NDArray[np.float64] | None], true: Sequence[NDArray[np.bool_]], problems: Sequence[str]
) -> dict[str, Any]:
    """How the labels of the solutions that are kept disagree with the truth; a label of ½ or more says "sound".

    labels: (K,) of each of S solutions, None where it is dropped. true: (K,) whether nothing has departed up to the
    step's end. problems: (S,), over which intervals are.
    Returns kept and steps (counts) and shares: wrong, of the steps; missed, of the sound ones; forgiven, of the
    departed ones; and of the solutions, whose first step labelled wrong comes early (before the departure), late or
    exact. Each share with …_low and …_high, NaN where there is nothing to count.
    """
    counts: dict[str, list[float]] = {}
    for problem, given, truth in zip(problems, labels, true, strict=True):
        if given is not None:
            of_one = _disagreement(given, truth)
            counts[problem] = [a + b for a, b in zip(counts.get(problem, [0.0] * len(of_one)), of_one, strict=True)]
    if not counts:
        raise ValueError("rivals: a filter keeps no solution; lower `rivals.sure`, or give it more problems")
    sums = np.array(list(counts.values()), float)
    steps, sound, departed, miss, forgive, solutions, early, late, exact = sums.T
    shares = {
        "wrong": (miss + forgive, steps),
        "missed": (miss, sound),
        "forgiven": (forgive, departed),
        "early": (early, solutions),
        "late": (late, solutions),
        "exact": (exact, solutions),
    }
    row: dict[str, Any] = {"kept": int(solutions.sum()), "steps": int(steps.sum())}
    for name, (top, bottom) in shares.items():
        value, low, high = share_interval(top, bottom) if bottom.sum() else (np.nan,) * 3
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return row


def _disagreement(labels: NDArray[np.float64], true: NDArray[np.bool_]) -> list[float]:
    """Steps, sound ones, departed ones, missed, forgiven; 1 for the solution; whether it is early, late, exact."""
    says = labels >= 0.5
    predicted, actual = first_wrong(says), first_wrong(true)
    counts = len(true), true.sum(), (~true).sum(), (true & ~says).sum(), (~true & says).sum()
    return [float(x) for x in (*counts, 1, predicted < actual, predicted > actual, predicted == actual)]
