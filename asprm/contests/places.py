"""Places: five ways to say where a step ends, all with the same share of tokens.

AdaptiveStep ends a step where the policy's confidence in the token that it wrote is low. EDU-PRM (arXiv 2503.22233)
and the work on forking tokens (arXiv 2506.01939) look at the entropy of the whole distribution instead. Line breaks,
steps of fixed length and random ones know nothing of the policy's doubts.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE, ENTROPY, LINE, FIXED, RANDOM = (
    "low confidence",
    "high entropy",
    "line break",
    "fixed length",
    "random",
)
KINDS = (CONFIDENCE, ENTROPY, LINE, FIXED, RANDOM)


@dataclass(frozen=True, eq=False)
class Doubts:
    """A solution as its policy wrote it.

    problem, solution: its key. confidences, entropies: (T,) of its tokens. breaks: (T,) bool, tokens with a line break.
    """

    problem: str
    solution: int
    confidences: NDArray[np.float32]
    entropies: NDArray[np.float32]
    breaks: NDArray[np.bool_]


@dataclass(frozen=True)
class Cuts:
    """Where each kind of step ends, so that all have one share of the tokens.

    share: of the tokens but the last of each solution that are step ends.
    tau: confidences below it are low. high: entropies above it are high.
    kept: of the line breaks the share that end a step; 1 where they are rarer than `share`.
    """

    share: float
    tau: float
    high: float
    kept: float


def fit_cuts(solutions: Sequence[Doubts], tau: float) -> Cuts:
    """The cuts that give all kinds the share of tokens below `tau`, found on these (training) solutions.

    ValueError: no token lies below tau.
    """
    confidences, entropies, breaks = (
        np.concatenate([getattr(solution, name)[:-1] for solution in solutions])
        for name in ("confidences", "entropies", "breaks")
    )
    share = float((confidences < tau).mean()) if len(confidences) else 0.0
    if not share:
        raise ValueError(f"rivals: no inner token of {len(solutions)} solutions has a confidence below {tau:g}")
    lines = float(breaks.mean())
    high = np.sort(entropies)[::-1][round(share * len(entropies))]
    return Cuts(share, tau, float(high), min(1.0, share / lines) if lines else 1.0)


def places(kind: str, solution: Doubts, cuts: Cuts, seed: int) -> NDArray[np.bool_]:
    """(T,) whether a step ends with each token, the solution's last one included.

    kind: one of KINDS. seed: of what is drawn; it depends on the solution too, and on nothing else.
    ValueError: an unknown kind.
    """
    tokens = len(solution.confidences)
    rng = np.random.default_rng([seed, zlib.crc32(solution.problem.encode()), solution.solution, KINDS.index(kind)])
    if kind == CONFIDENCE:
        ends = solution.confidences < cuts.tau
    elif kind == ENTROPY:
        ends = solution.entropies > cuts.high
    elif kind == LINE:
        ends = solution.breaks & (rng.random(tokens) < cuts.kept)
    elif kind == FIXED:  # steps of 1/share tokens, the first of any length, so that the share is met
        ends = np.diff(np.floor(rng.random() + np.arange(tokens + 1) * cuts.share)) > 0
    else:
        ends = rng.random(tokens) < cuts.share
    ends = ends.copy()
    ends[-1] = True
    return ends


def ends_of(marked: ArrayLike) -> NDArray[np.int32]:
    """(K,) the number of tokens up to each step's end, from (T,) of `places`."""
    return (np.flatnonzero(marked) + 1).astype(np.int32)


def within_budget(rollouts: Sequence[int], budget: int, seed: int) -> NDArray[np.int64]:
    """Indices, in order, of solutions drawn by the seed whose rollouts (S,) sum to no more than the budget.

    Solutions are taken in one random order, the same for equal numbers of solutions, up to the first that would go
    beyond the budget.
    """
    order = np.random.default_rng(seed).permutation(len(rollouts))
    return np.sort(order[np.cumsum(np.asarray(rollouts)[order]) <= budget])
