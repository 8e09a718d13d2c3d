"""Cheap labels: what is left of the labels of a solution's steps when fewer rollouts are run.

All ways see the same rollouts: number j of a prefix is the same whoever asks for it, so a way only decides which are
run. *All*: J of each step, as the paper counts. *Early stopping*: up to the wave with the first right one, which cannot
change a hard label (`asprm.rollout`). *Binary search* (OmegaPRM, arXiv 2406.06592): the first wrong step is looked for
by halving, with about log2 K steps asked of K; a right solution needs no rollout at all. It takes for granted that no
step comes right again after a wrong one. Axes: K steps of a solution, the last one excluded; J rollouts of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asprm.rollout import waves


@dataclass(frozen=True, eq=False)
class Rolled:
    """All rollouts of the steps of a solution but the last.

    right: (K, J) bool. tokens: (K, J), of each rollout. correct: whether the solution itself is right.
    """

    right: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    correct: bool

    @property
    def solved(self) -> NDArray[np.bool_]:
        """(K,) whether any rollout of the step is right."""
        return np.logical_or.reduce(self.right, axis=1)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Hard labels (K,) of 0 and 1, and what they took. asked: (K,) rollouts that were run of each step."""

    labels: NDArray[np.float64]
    asked: NDArray[np.int64]
    tokens: int

    @property
    def rollouts(self) -> int:
        return int(self.asked.sum())


def by_all(rolled: Rolled) -> Labelled:
    """Labels from all J rollouts of each step."""
    return Labelled(rolled.solved.astype(float), np.full(*rolled.right.shape), int(rolled.tokens.sum()))


def by_early_stopping(rolled: Rolled) -> Labelled:
    """The same labels, from as many waves of rollouts as they need."""
    asked = np.array([_until_right(right) for right in rolled.right], np.int64)
    return _labelled(rolled, rolled.solved, asked)


def by_binary_search(rolled: Rolled) -> Labelled:
    """Labels that are 1 before the first wrong step and 0 from there on; each step asked with early stopping."""
    count = len(rolled.right)
    asked = np.zeros(count, np.int64)
    sound, wrong = -1, count  # a step that is sound, and one that is wrong: the end, if the solution is wrong
    while not rolled.correct and wrong - sound > 1:
        middle = (sound + wrong) // 2
        asked[middle] = _until_right(rolled.right[middle])
        if rolled.right[middle].any():
            sound = middle
        else:
            wrong = middle
    return _labelled(rolled, np.arange(count) < wrong, asked)


WAYS: dict[str, Callable[[Rolled], Labelled]] = {
    "all rollouts": by_all,
    "early stopping": by_early_stopping,
    "binary search": by_binary_search,
}
ALL, EARLY, BINARY = WAYS


def first_wrong(labels: Sequence[float] | NDArray) -> int:
    """The number of the first step whose label is 0; K if there is none."""
    zeros = np.flatnonzero(np.asarray(labels) == 0)
    return int(zeros[0]) if len(zeros) else len(labels)


def _until_right(right: NDArray[np.bool_]) -> int:
    """How many of the J rollouts of a step run in waves up to the first that holds a right one."""
    done = 0
    for size in waves(len(right)):
        done += size
        if right[:done].any():
            break
    return done


def _labelled(rolled: Rolled, labels: NDArray[np.bool_], asked: NDArray[np.int64]) -> Labelled:
    tokens = sum(int(row[:count].sum()) for row, count in zip(rolled.tokens, asked, strict=True))
    return Labelled(labels.astype(float), asked, tokens)
