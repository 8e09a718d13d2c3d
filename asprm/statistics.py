"""Statistics: paired tests, resampling and calibration. Intervals of shares and differences: `asprm.intervals`.

Pure functions on arrays: no model, no file, no plot. Axes: P problems, R trainings of a reward model, K steps.
Resampling draws problems, or clusters of them, and comparisons pair problems.
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

from asprm.intervals import Floats, Interval, difference_interval

# --- resampling -------------------------------------------------------------------------------------------------------


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

    For amounts over hundreds of problems, such as tokens. Of shares and differences, `asprm.intervals` knows better.

    numerator: (P, ...).
    denominator: (P, ...) or (P,).
    clusters: (P,) labels such as templates; None: each problem is drawn by itself.
    resamples, seed: of the bootstrap. level: of the interval.

    Returns an Interval of the shape of one row. A resample whose denominator is 0 is left out.
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
    """How often each of `units` is drawn in each resample: read-only blocks (·, units), `resamples` rows in all."""
    block = max(1, _BLOCK // units)
    if resamples <= block:
        yield _one_block(units, resamples, seed)
        return
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, block):
        yield _drawn(rng, units, min(block, resamples - start))


_BLOCK = 4_000_000  # numbers in a block: 32 MB


@lru_cache(maxsize=8)
def _one_block(units: int, resamples: int, seed: int) -> Floats:
    """Cached: a chapter computes a hundred intervals on the same few sets of problems."""
    weights = _drawn(np.random.default_rng(seed), units, resamples)
    weights.flags.writeable = False
    return weights


def _drawn(rng: np.random.Generator, units: int, rows: int) -> Floats:
    return rng.multinomial(units, np.full(units, 1 / units), size=rows).astype(np.float64)


def percentiles(drawn: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Low and high end of the central `level` of resampled values (resamples, ...). NaN are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # from a column of NaN only, whose interval is NaN
        low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def wilson(successes: ArrayLike, total: ArrayLike, *, level: float = 0.95) -> Interval:
    """Share of successes in independent trials with Wilson's interval; shapes broadcast. No trials: NaN, (0, 1)."""
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


@dataclass(frozen=True)
class Comparison:
    """a − b over the same problems, in shares: 0.01 is one point. p, not the interval, says if it could be chance."""

    a: float  # mean of a
    b: float
    difference: float
    low: float
    high: float
    only_a: int | None  # problems that only a has right; None where a value is not 0 or 1 (an average)
    only_b: int | None
    p: float  # NaN: not tested
    test: str  # the name of the test, as in `PairedTest`, or NOT_TESTED


class PairedTest(NamedTuple):
    """The result of a paired test."""

    p: float  # two-sided
    name: str  # EXACT, "random signs by problem" or "random signs by template"
    only_a: int | None  # problems that only a has right; None where outcomes are not right or wrong
    only_b: int | None


EXACT = "exact McNemar"
NOT_TESTED = "not tested: both are greedy decoding"


def paired_test(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    binary: bool,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """The test that suits paired differences a − b, by this rule:

    - exact McNemar, where a and b are right or wrong, and problems are independent;
    - random signs by problem, where a value is an average (over trainings, subsets or ties);
    - random signs by template, where `clusters` says which problems were made from one template.

    differences: (P,). clusters: (P,) labels; None: problems are independent.
    binary: whether every a and b is 0 or 1 (then a difference is −1, 0 or 1). resamples, seed: of random signs.
    """
    values = np.asarray(differences, np.float64)
    only_a, only_b = int((values > 0).sum()), int((values < 0).sum())
    if binary and clusters is None:
        return PairedTest(mcnemar_p(only_a, only_b), EXACT, only_a, only_b)
    p = sign_flip_p(values, clusters, resamples=resamples, seed=seed)
    name = f"random signs by {'problem' if clusters is None else 'template'}"
    return PairedTest(p, name, only_a if binary else None, only_b if binary else None)


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test, from two discordant counts. Whole numbers until the last division."""
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
    """a against b, paired by problem: difference, its interval, and the test of `paired_test`.

    a, b: (P,) outcomes in [0, 1], in one order of problems; or (R, P), a row for each training of a reward model. Then
        a problem's outcome is the mean over the trainings, and their spread is in the interval. The test is over
        problems alone.
    clusters: (P,) labels of problems that go together.
    resamples, seed: of random signs.
    level: of the interval.

    ValueError: a and b are of different numbers of problems.
    """
    sides = [np.atleast_2d(np.asarray(side, np.float64)) for side in (a, b)]
    if sides[0].shape[-1] != sides[1].shape[-1] or max(side.ndim for side in sides) > 2:
        shapes = f"a has shape {np.shape(a)}, b {np.shape(b)}"
        raise ValueError(f"{shapes}; both must be (P,) or (R, P), in the same order of problems")
    trainings = [side.mean(1) for side in sides]
    mean_a, mean_b = (side.mean(0) for side in sides)
    difference, low, high = difference_interval(mean_a - mean_b, clusters, trainings=trainings, level=level)
    binary = all(bool(np.isin(side, (0, 1)).all()) for side in (mean_a, mean_b))
    test = paired_test(mean_a - mean_b, clusters, binary=binary, resamples=resamples, seed=seed)
    return Comparison(
        a=float(mean_a.mean()),
        b=float(mean_b.mean()),
        difference=float(difference),
        low=float(low),
        high=float(high),
        only_a=test.only_a,
        only_b=test.only_b,
        p=test.p,
        test=test.name,
    )


def untested(a: ArrayLike) -> Comparison:
    """Outcomes (P,) or (R, P) against the same again: by construction nothing can differ, so nothing is tested."""
    value, nothing = float(np.asarray(a, np.float64).mean()), math.nan
    return Comparison(value, value, 0.0, nothing, nothing, 0, 0, nothing, NOT_TESTED)


def sign_flip_p(
    differences: ArrayLike, clusters: ArrayLike | None = None, *, resamples: int = 10_000, seed: int = 0
) -> float:
    """Two-sided p of paired differences (P,), by random signs: under chance, both signs are equally likely.

    For means over trainings or subsets, where McNemar's test does not apply; for 0/1 outcomes it gives the same p.
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
    """a − b of two independent values that come with intervals of `level`, and a two-sided p.

    The interval recovers the variances from the two intervals, each on the side that matters (MOVER; for two Wilson
    intervals it is Newcombe's). p is of the normal distribution. If the two vary together, the interval is too wide
    and p too large.
    """
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    spread = (value - low if value > 0 else high - value) / NormalDist().inv_cdf(0.5 + level / 2)
    p = 2 * NormalDist().cdf(-abs(value) / spread) if spread > 0 else float(value == 0)
    return Interval(float(value), float(low), float(high)), float(p)


HOLM = "p (Holm)"  # as the head of a column


def holm(p: ArrayLike) -> Floats:
    """Holm's adjusted p values, in the same order, of one family of tests: below alpha is significant.

    NaN: not tested; it stays, and does not count as a member of the family.
    """
    p = np.asarray(p, np.float64)
    tested = np.flatnonzero(~np.isnan(p))
    if p.ndim != 1 or not ((p[tested] >= 0) & (p[tested] <= 1)).all():
        raise ValueError("p must be (tests,) of values between 0 and 1, or NaN where nothing was tested")
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def smallest_gain(problems: int, discordance: float, *, alpha: float = 0.05) -> float:
    """The smallest difference (a share of problems) that exact McNemar can call significant.

    discordance: share of problems on which the two differ. NaN: no gain is significant, even if all of them go one way.
    The sum of the two discordant counts is fixed, so a gain moves in steps of two problems.
    """
    pairs = round(problems * discordance)
    for fewer in range(pairs // 2, -1, -1):
        if mcnemar_p(fewer, pairs - fewer) < alpha:
            return (pairs - 2 * fewer) / problems
    return math.nan


def most_discordance(problems: int, gain: int, *, alpha: float = 0.05) -> int:
    """The largest number of problems on which two may differ, so that exact McNemar calls a gain significant.

    gain: how many problems more one of them solves. 0: the gain is too small, whichever problems changed (six, all one
    way, are the fewest). ValueError: the gain is larger than `problems`.
    """
    gain = abs(gain)
    if gain > problems:
        raise ValueError(f"a gain of {gain} problems of {problems}; it cannot be larger than their number")
    if not gain or mcnemar_p(0, gain) >= alpha:
        return 0
    low, high = 0, (problems - gain) // 2  # problems lost: significant at low, and p rises with their number
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if mcnemar_p(middle, middle + gain) < alpha else (low, middle - 1)
    return 2 * low + gain


# --- labels and scores ------------------------------------------------------------------------------------------------


def missed_label(p: ArrayLike, rollouts: int) -> Floats:
    """Chance that a step has hard label 0, if each of its J rollouts is right with probability p: (1 − p)^J."""
    return (1 - np.asarray(p, np.float64)) ** rollouts


def expected_rollouts(p: ArrayLike, rollouts: int) -> Floats:
    """Mean number of rollouts of a step, if the first right one is the last, J at most: (1 − (1 − p)^J) / p."""
    p = np.asarray(p, np.float64)
    return np.where(p > 0, (1 - missed_label(p, rollouts)) / np.where(p > 0, p, 1), rollouts)


class Reliability(NamedTuple):
    """By bin of score, without empty bins: mean score, share of label 1 with its Wilson interval, steps; all (B,)."""

    score: Floats
    share: Floats
    low: Floats
    high: Floats
    count: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: |mean score − share| of a bin, averaged over steps."""
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
    """(K,) squared distance of each score in [0, 1] from its label. The mean is Brier's score; 0 is best."""
    scores, labels = same_shape(scores, labels)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores must lie in [0, 1]")
    return (scores - labels) ** 2


def harmonic(a: ArrayLike, b: ArrayLike) -> Floats:
    """2ab / (a + b), the F1 of two shares; 0 where both are 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.where(a + b > 0, 2 * a * b / np.where(a + b > 0, a + b, 1), 0.0)
