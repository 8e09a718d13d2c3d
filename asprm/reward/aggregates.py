"""Aggregates: how the scores of a candidate's steps become one score (paper §4: their minimum).

To add one, write a row of AGGREGATES. Profiles and the command line then know its name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Aggregate = Callable[[NDArray, NDArray, NDArray], NDArray]
"""From the step scores (S,) of C candidates end to end, the place (C,) where each candidate's steps begin and their
number (C,), to one score per candidate (C,)."""


_SMALLEST = float(np.finfo(np.float64).tiny)  # stands for a score of 0, whose logarithm is infinite


def each(function: Callable[[NDArray], float]) -> Aggregate:
    """The aggregate that calls `function` with the step scores (K,) of one candidate at a time: slower, but simple."""

    def aggregate_each(scores: NDArray, starts: NDArray, counts: NDArray) -> NDArray:
        return np.array([function(scores[start : start + count]) for start, count in zip(starts, counts, strict=True)])

    return aggregate_each


AGGREGATES: dict[str, Aggregate] = {
    "min": lambda scores, starts, counts: np.minimum.reduceat(scores, starts),  # the paper's
    "mean": lambda scores, starts, counts: np.add.reduceat(scores, starts) / counts,
    "last": lambda scores, starts, counts: scores[starts + counts - 1],
    # The logarithm of the product, at most 0: the product of many steps is too small for a number of its own.
    "product": lambda scores, starts, counts: np.add.reduceat(np.log(np.maximum(scores, _SMALLEST)), starts),
    "max": lambda scores, starts, counts: np.maximum.reduceat(scores, starts),
}


def known_aggregate(name: str) -> str:
    """The name itself. ValueError: not the name of an aggregate."""
    if name not in AGGREGATES:
        raise ValueError(f"unknown aggregate {name!r}; known: {', '.join(AGGREGATES)}")
    return name


def aggregate(scores: ArrayLike, how: str = "min") -> float:
    """One score of a candidate from those of its steps (K,). ValueError: no steps, one outside [0, 1], unknown how."""
    return float(aggregates(np.asarray(scores, np.float64), np.array([np.size(scores)]), how)[0])


def aggregates(scores: NDArray, counts: NDArray, how: str = "min") -> NDArray[np.float64]:
    """(C,) `aggregate` of many candidates: scores (S,), all steps end to end; counts (C,), steps of each candidate."""
    function = AGGREGATES[known_aggregate(how)]
    if scores.ndim != 1 or not (counts > 0).all() or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"a candidate needs the scores (K,) in [0, 1] of at least one step, got {scores!r}")
    return function(scores, np.cumsum(counts) - counts, counts)
