"""Statistics: estimators, intervals and paired tests (the figures that this study owes its reader).

Pure functions on arrays: no model, no file, no plot. Axes: P problems, N candidates of one problem, L values of n.
Whatever is averaged over subsets comes back per problem: intervals resample problems and comparisons pair them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A value and its interval; floats, or arrays of one shape."""

    value: float | Floats
    low: float | Floats
    high: float | Floats


# --- intervals --------------------------------------------------------------------------------------------------------


def bootstrap_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Σ numerator / Σ denominator with a percentile interval that resamples problems, or whole clusters of them.

    numerator: (P, ...). denominator: (P, ...) or (P,). clusters: (P,) labels such as templates; None: problems.
    Returns an Interval of the shape of one row. A resample that draws nothing in the denominator is left out.
    ValueError: no problems, unequal lengths, NaN.
    """
    top = np.asarray(numerator, np.float64)
    bottom = np.asarray(denominator, np.float64)
    if len(top) == 0 or len(top) != len(bottom):
        raise ValueError(f"need one row per problem in both, at least one; got {len(top)} and {len(bottom)}")
    bottom = np.broadcast_to(bottom.reshape(bottom.shape + (1,) * (top.ndim - bottom.ndim)), top.shape)
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        raise ValueError("values must be finite; a problem without a value must be left out by the caller")
    shape = top.shape[1:]
    top, bottom = top.reshape(len(top), -1), bottom.reshape(len(bottom), -1)
    if clusters is not None:
        labels = np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()
        if len(labels) != len(top):
            raise ValueError(f"{len(labels)} cluster labels for {len(top)} problems; there must be one each")
        member = np.zeros((labels.max() + 1, len(labels)))
        member[labels, np.arange(len(labels))] = 1
        top, bottom = member @ top, member @ bottom
    with np.errstate(invalid="ignore", divide="ignore"):
        value = top.sum(0) / bottom.sum(0)
        drawn = np.concatenate([w @ top / (w @ bottom) for w in resampling_weights(len(top), resamples, seed)])
    low, high = percentiles(drawn, level)
    return Interval(*(x.reshape(shape)[()] for x in (value, low, high)))


def bootstrap_mean(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean over problems of values (P, ...) with a percentile interval; arguments as in `bootstrap_ratio`."""
    values = np.asarray(values, np.float64)
    return bootstrap_ratio(values, np.ones(len(values)), clusters, resamples=resamples, seed=seed, level=level)


def resampling_weights(units: int, resamples: int, seed: int = 0) -> Iterator[Floats]:
    """How often each of `units` is drawn in a resample: blocks (·, units) of `resamples` rows in all, read-only."""
    block = max(1, _BLOCK // units)
    if resamples <= block:
        yield _one_block(units, resamples, seed)
        return
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, block):
        yield _drawn(rng, units, min(block, resamples - start))


_BLOCK = 4_000_000  # bounds the memory: 32 MB a block


@lru_cache(maxsize=8)
def _one_block(units: int, resamples: int, seed: int) -> Floats:
    """Kept: a chapter asks for the intervals of a hundred results on the same few sets of problems."""
    weights = _drawn(np.random.default_rng(seed), units, resamples)
    weights.flags.writeable = False
    return weights


def _drawn(rng: np.random.Generator, units: int, rows: int) -> Floats:
    return rng.multinomial(units, np.full(units, 1 / units), size=rows).astype(np.float64)


def percentiles(drawn: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Low and high end of the central `level` of resampled values (R, ...), NaN left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of NaN only: its interval is NaN
        low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def wilson(successes: ArrayLike, total: ArrayLike, *, level: float = 0.95) -> Interval:
    """Share of independent trials with Wilson's interval; shapes broadcast. No trials: NaN with interval (0, 1)."""
    hits, trials = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(total, np.float64))
    if (hits < 0).any() or (hits > trials).any():
        raise ValueError("successes must lie between 0 and total")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = hits / trials
        centre = (hits + z * z / 2) / (trials + z * z)
        half = z / (trials + z * z) * np.sqrt(np.where(trials > 0, hits * (1 - share), 0) + z * z / 4)
    low = np.where(hits == 0, 0.0, np.clip(centre - half, 0, 1))
    high = np.where(hits == trials, 1.0, np.clip(centre + half, 0, 1))
    return Interval(*(np.asarray(x)[()] for x in (share, low, high)))


# --- one against another ----------------------------------------------------------------------------------------------


class McNemar(NamedTuple):
    """Problems that only a has right, that only b has right, and the exact two-sided p."""

    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True)
class Comparison:
    """a − b over the same problems."""

    a: float  # mean of a
    b: float
    difference: float  # in shares: 0.01 is one point
    low: float
    high: float
    only_a: int | None  # discordant counts; None where a value is not 0 or 1 (an average over subsets or ties)
    only_b: int | None
    p: float
    test: str  # "exact McNemar", or "random signs by problem" or "by template"


def mcnemar(a: ArrayLike, b: ArrayLike) -> McNemar:
    """Exact McNemar test of two right/wrong outcomes (P,) of the same problems: a sign test on the discordant pairs."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"a has shape {a.shape}, b {b.shape}; both must be (P,), in the same order of problems")
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise ValueError("outcomes must be 0 or 1; for averages use the bootstrap interval of the difference")
    only_a, only_b = int((a > b).sum()), int((a < b).sum())
    return McNemar(only_a, only_b, mcnemar_p(only_a, only_b))


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Two-sided exact p of two discordant counts under equal chances, in whole numbers until the last division."""
    pairs, tail, term = only_a + only_b, 1, 1
    for i in range(min(only_a, only_b)):
        term = term * (pairs - i) // (i + 1)  # C(pairs, i + 1)
        tail += term
    return float(min(1.0, 2 * tail / 2**pairs)) if pairs else 1.0


def compare(
    a: ArrayLike,
    b: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """a (P,) against b (P,), paired by problem: difference, bootstrap interval, and a test.

    The test is McNemar's, exact, for 0/1 outcomes of single problems; for averages, and where problems go together in
    `clusters` (P,), it is by random signs.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"a has shape {a.shape}, b {b.shape}; both must be (P,), in the same order of problems")
    difference, low, high = bootstrap_mean(a - b, clusters, resamples=resamples, seed=seed, level=level)
    binary = np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()
    only_a, only_b, p = mcnemar(a, b) if binary else (None, None, None)
    test = "exact McNemar"
    if clusters is not None or not binary:
        p = sign_flip_p(a - b, clusters, resamples=resamples, seed=seed)
        test = f"random signs by {'problem' if clusters is None else 'template'}"
    means = (float(x) for x in (a.mean(), b.mean(), difference, low, high))
    return Comparison(*means, only_a, only_b, p, test)


def sign_flip_p(
    differences: ArrayLike, clusters: ArrayLike | None = None, *, resamples: int = 10_000, seed: int = 0
) -> float:
    """Two-sided p of paired differences (P,) of any values, under equal chances of either sign, by random signs.

    For means over seeds or subsets, where McNemar's test does not apply; for 0/1 outcomes it comes to the same.
    Problems of one cluster change sign together. The observed signs count as one draw, so that p is never 0.
    ValueError: differences that are not finite, clusters of another length.
    """
    values = np.asarray(differences, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("differences must be (P,) and finite")
    if clusters is not None:
        labels = np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()
        if len(labels) != len(values):
            raise ValueError(f"{len(labels)} cluster labels for {len(values)} problems; there must be one each")
        values = np.bincount(labels, values)
    values = values[values != 0]
    if not len(values):
        return 1.0
    rng = np.random.default_rng(seed)
    observed, reached, block = abs(values.sum()) * (1 - 1e-12), 1, max(1, 4_000_000 // len(values))
    for start in range(0, resamples, block):
        signs = rng.integers(0, 2, (min(block, resamples - start), len(values)), np.int8) * 2 - 1
        reached += int((np.abs(signs @ values) >= observed).sum())
    return reached / (resamples + 1)


def difference_of_shares(a: Interval, b: Interval, *, level: float = 0.95) -> tuple[Interval, float]:
    """a − b of two values that come with intervals of `level`, as if they were independent, and a two-sided p.

    The interval recovers the variances from the two intervals, each on the side that matters (MOVER; for two Wilson
    intervals it is Newcombe's). p is of the normal distribution. Values that vary together differ by less than it says.
    """
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    spread = (value - low if value > 0 else high - value) / NormalDist().inv_cdf(0.5 + level / 2)
    p = 2 * NormalDist().cdf(-abs(value) / spread) if spread > 0 else float(value == 0)
    return Interval(float(value), float(low), float(high)), float(p)


def holm(p: ArrayLike) -> Floats:
    """Holm's adjusted p values (same order) of one table's tests: below alpha means significant in the family."""
    p = np.asarray(p, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p must be (tests,) of values between 0 and 1; leave out what was not tested")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def smallest_gain(problems: int, discordance: float, *, alpha: float = 0.05) -> float:
    """The smallest difference (a share of problems) that exact McNemar can call significant.

    discordance: share of problems on which the two differ. NaN where even a clean sweep of those is not significant.
    The sum of the two counts is fixed, so a gain moves in steps of two problems.
    """
    pairs = round(problems * discordance)
    for fewer in range(pairs // 2, -1, -1):
        if mcnemar_p(fewer, pairs - fewer) < alpha:
            return (pairs - 2 * fewer) / problems
    return math.nan


def most_discordance(problems: int, gain: int, *, alpha: float = 0.05) -> int:
    """On how many of the problems two may differ at most for a gain of so many to be significant by exact McNemar.

    0: on none, the gain is too small whichever problems changed (six, all one way, are the fewest).
    ValueError: more gained than there are problems.
    """
    gain = abs(gain)
    if gain > problems:
        raise ValueError(f"a gain of {gain} problems of {problems}")
    if not gain or mcnemar_p(0, gain) >= alpha:
        return 0
    low, high = 0, (problems - gain) // 2  # lost problems; significant at low, and p rises with them
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if mcnemar_p(middle, middle + gain) < alpha else (low, middle - 1)
    return 2 * low + gain


# --- labels and scores ------------------------------------------------------------------------------------------------


def missed_label(p: ArrayLike, rollouts: int) -> Floats:
    """Chance that the hard label of a step that a rollout solves with probability p is 0: (1 − p)^J."""
    return (1 - np.asarray(p, np.float64)) ** rollouts


def expected_rollouts(p: ArrayLike, rollouts: int) -> Floats:
    """Mean number of rollouts of a step that stops at its first right one, at most J: (1 − (1 − p)^J) / p."""
    p = np.asarray(p, np.float64)
    return np.where(p > 0, (1 - missed_label(p, rollouts)) / np.where(p > 0, p, 1), rollouts)


class Reliability(NamedTuple):
    """Per bin of score, empty bins left out: mean score, share of label 1 with its Wilson interval, steps; all (B,)."""

    score: Floats
    share: Floats
    low: Floats
    high: Floats
    count: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean over steps of |mean score − share| of their bin."""
        return float(np.average(np.abs(self.score - self.share), weights=self.count))


def same_shape(scores: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 arrays (..., N). ValueError: their shapes differ."""
    scores, correct = np.asarray(scores, np.float64), np.asarray(correct, np.float64)
    if scores.shape != correct.shape or scores.ndim == 0:
        raise ValueError(f"scores have shape {scores.shape}, correct {correct.shape}; both must be (..., N)")
    return scores, correct


def reliability(scores: ArrayLike, labels: ArrayLike, bins: int = 10) -> Reliability:
    """Scores in [0, 1] against labels in [0, 1], both (K,), in `bins` bins of equal width."""
    scores, labels = same_shape(scores, labels)
    if scores.ndim != 1 or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores must be (K,) in [0, 1]")
    index = np.minimum((scores * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    filled = count > 0
    sums = [np.bincount(index, x, minlength=bins)[filled] for x in (scores, labels)]
    count = count[filled]
    share = wilson(sums[1], count)
    return Reliability(sums[0] / count, share.value, share.low, share.high, count)


def brier(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """(K,) squared distance of each score in [0, 1] from its label; the mean is Brier's score, 0 the best."""
    scores, labels = same_shape(scores, labels)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores must lie in [0, 1]")
    return (scores - labels) ** 2


def harmonic(a: ArrayLike, b: ArrayLike) -> Floats:
    """2ab / (a + b), the F1 of two shares; 0 where both are 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.where(a + b > 0, 2 * a * b / np.where(a + b > 0, a + b, 1), 0.0)
