"""Statistics: estimators, intervals and paired tests (the figures that this study owes its reader).

Pure functions on arrays: no model, no file, no plot. Axes: P problems, N candidates of one problem, L values of n.
Whatever is averaged over subsets comes back per problem: intervals resample problems and comparisons pair them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
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


# --- what n of N samples would give -----------------------------------------------------------------------------------


def best_of_n(scores: ArrayLike, correct: ArrayLike, n: ArrayLike) -> Floats:
    """How often the best-scored of n candidates is right, averaged over all subsets of n of the N candidates.

    scores, correct: (..., N). n: int or (L,). Returns (...) or (..., L).
    Sorted by score, best first, candidate i (from 1) is the best of C(N−i, n−1) of the C(N, n) subsets.
    Candidates of equal score share their weights, as if ties were broken by lot.
    ValueError: shapes differ, a score is not finite, n outside 1..N.
    """
    scores, correct = _candidates(scores, correct)
    if not np.isfinite(scores).all():
        raise ValueError(f"{(~np.isfinite(scores)).sum()} of {scores.size} scores are not finite; score them again")
    total = scores.shape[-1]
    order = np.argsort(-scores, axis=-1, kind="stable")
    ranked, hits = np.take_along_axis(scores, order, -1), np.take_along_axis(correct, order, -1)
    starts = np.ones(ranked.shape, bool)
    starts[..., 1:] = ranked[..., 1:] != ranked[..., :-1]
    group = np.cumsum(starts.ravel()) - 1  # every row starts a group, so groups never cross rows
    mean = np.bincount(group, hits.ravel()) / np.bincount(group)
    return _over_n(n, total, lambda k: mean[group].reshape(hits.shape) @ _first_weights(total, k))


def pass_at_k(correct: ArrayLike, k: ArrayLike) -> Floats:
    """How often at least one of k candidates is right, over all subsets: 1 − C(N−c, k) / C(N, k).

    correct: (..., N). k: int or (L,). Returns (...) or (..., L). ValueError: k outside 1..N.
    """
    correct = np.asarray(correct, bool)
    total, right = correct.shape[-1], correct.sum(-1)

    def at(k: int) -> Floats:
        factors = [np.maximum(total - right - j, 0) / (total - j) for j in range(k)]  # no factorials: nothing overflows
        return 1 - np.prod(factors, axis=0)

    return _over_n(k, total, at)


def majority_vote(answers: Sequence[Sequence[object]], correct: ArrayLike, n: ArrayLike) -> Floats:
    """How often the most frequent answer of n candidates is right, exactly, over all subsets of n of the N candidates.

    answers: (P, N) hashable, None = no answer = no vote. correct: (P, N). n: int or (L,). Returns (P,) or (P, L).
    Tied answers share the win; a subset without any answer is wrong. Answers vote together when they are equal, so
    normalise them first; an answer whose candidates were graded differently counts with their mean.

    Counted, not drawn: for every winning number of votes v, the subsets in which no answer has more than v votes are
    counted by the number of answers that have v (a product of binomials), which takes about N² operations a problem.
    """
    correct = np.asarray(correct, np.float64)
    rows = [_majority_row(_ballots(a, c), c.size) for a, c in _paired_rows(answers, correct)]
    table = np.stack(rows)  # (P, N + 1): by n
    return _over_n(n, correct.shape[-1], lambda k: table[:, k])


def weighted_vote(
    answers: Sequence[Sequence[object]],
    correct: ArrayLike,
    weights: ArrayLike,
    n: ArrayLike,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Floats:
    """Like `majority_vote`, but a candidate's vote weighs `weights` (P, N), for instance its score.

    No count is known for this one. Where there are more than `draws` subsets, the mean is taken over the first n of
    `draws` random orders of the candidates, the same orders for all problems and all n: one problem's standard error
    is at most 0.5/√draws, that of the mean over problems far below the width of its interval. A weight of 0 is no vote.
    """
    correct, weights = np.asarray(correct, np.float64), np.asarray(weights, np.float64)
    if weights.shape != correct.shape:
        raise ValueError(f"weights have shape {weights.shape}, correct {correct.shape}; they must agree")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("weights must be finite and not negative")
    total = correct.shape[-1]
    rank = np.argsort(np.random.default_rng(seed).random((draws, total)), axis=-1)
    problems = []
    for (row, hits), weight in zip(_paired_rows(answers, correct), weights, strict=True):
        distinct = [answer for answer in dict.fromkeys(row) if answer is not None]
        member = np.array([[answer == other for other in distinct] for answer in row], np.float64).reshape(total, -1)
        problems.append((member * weight[:, None], hits @ member / member.sum(0)))

    def at(k: int) -> Floats:
        if math.comb(total, k) <= draws:
            chosen = np.zeros((math.comb(total, k), total))
            for row, members in zip(chosen, combinations(range(total), k), strict=True):
                row[list(members)] = 1
        else:
            chosen = (rank < k).astype(np.float64)
        return np.array([_winner_share(chosen @ votes, value) for votes, value in problems])

    return _over_n(n, total, at)


def _candidates(scores: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    scores, correct = np.asarray(scores, np.float64), np.asarray(correct, np.float64)
    if scores.shape != correct.shape or scores.ndim == 0:
        raise ValueError(f"scores have shape {scores.shape}, correct {correct.shape}; both must be (..., N)")
    return scores, correct


def _over_n(n: ArrayLike, total: int, at: Callable[[int], Floats]) -> Floats:
    sizes = np.asarray(n)
    if sizes.ndim > 1 or sizes.size == 0 or sizes.dtype.kind not in "iu":
        raise ValueError(f"n must be a whole number or a list of them, got {n!r}")
    if sizes.min() < 1 or sizes.max() > total:
        raise ValueError(f"n = {n} asks for subsets of {total} candidates; it must lie between 1 and {total}")
    return np.asarray(at(int(sizes))) if sizes.ndim == 0 else np.stack([at(int(k)) for k in sizes], axis=-1)


def _first_weights(total: int, n: int) -> Floats:
    """(N,) C(N−i, n−1) / C(N, n) for i = 1..N, as a running product: no factorials."""
    i = np.arange(1, total)
    return np.cumprod(np.concatenate([[n / total], np.maximum(total - i - n + 1, 0) / (total - i)]))


def _paired_rows(answers: Sequence[Sequence[object]], correct: Floats) -> list[tuple[list[object], Floats]]:
    if correct.ndim != 2 or len(answers) != len(correct) or any(len(row) != correct.shape[1] for row in answers):
        raise ValueError(f"answers must be (P, N) like correct {correct.shape}; got {len(answers)} rows")
    return [(list(row), hits) for row, hits in zip(answers, correct, strict=True)]


def _ballots(answers: list[object], correct: Floats) -> list[tuple[int, float]]:
    """(votes, share of them graded right) of every answer but None."""
    graded: dict[object, list[float]] = {}
    for answer, hit in zip(answers, correct, strict=True):
        if answer is not None:
            graded.setdefault(answer, []).append(float(hit))
    return [(len(hits), sum(hits) / len(hits)) for hits in graded.values()]


def _majority_row(ballots: list[tuple[int, float]], total: int) -> Floats:
    """(N + 1,) probability that the vote of n random candidates is right, for n = 0..N; 0 where nobody can vote."""
    choose = [[math.comb(m, u) for u in range(m + 1)] for m in range(total + 1)]
    wins = np.zeros(total + 1)
    for v in range(1, max((m for m, _ in ballots), default=0) + 1):
        rivals = [(m, right) for m, right in ballots if m >= v]
        others = total - sum(m for m, _ in rivals)  # cannot reach v, or do not vote: any number of them may be drawn
        most = min(len(rivals), total // v)
        # ways[t, u]: subsets of u candidates in which t answers have v votes and none has more.
        # hits[t, u]: the same, each subset weighed by how many of its t answers are right.
        ways, hits = np.zeros((2, most + 1, total + 1))
        ways[0, : others + 1] = choose[others]
        for m, right in rivals:
            old_ways, old_hits = ways, hits
            ways, hits = np.zeros_like(ways), np.zeros_like(hits)
            for u in range(v):
                ways[:, u:] += choose[m][u] * old_ways[:, : total + 1 - u]
                hits[:, u:] += choose[m][u] * old_hits[:, : total + 1 - u]
            ways[1:, v:] += choose[m][v] * old_ways[:-1, : total + 1 - v]
            hits[1:, v:] += choose[m][v] * (old_hits + right * old_ways)[:-1, : total + 1 - v]
        wins += (hits[1:] / np.arange(1, most + 1)[:, None]).sum(0)
    return wins / np.array(choose[total], np.float64)


def _winner_share(votes: Floats, value: Floats) -> float:
    """Mean over rows of votes (D, G) of the value of the answer with the most votes, tied answers sharing the win."""
    if votes.shape[1] == 0:
        return 0.0
    top = votes.max(axis=1, keepdims=True)
    winners = (votes >= top * (1 - 1e-12)) & (top > 0)  # sums of the same weights may differ in the last bit
    return float((winners @ value / np.maximum(winners.sum(1), 1)).mean())


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


def reliability(scores: ArrayLike, labels: ArrayLike, bins: int = 10) -> Reliability:
    """Scores in [0, 1] against labels in [0, 1], both (K,), in `bins` bins of equal width."""
    scores, labels = _candidates(scores, labels)
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
    scores, labels = _candidates(scores, labels)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores must lie in [0, 1]")
    return (scores - labels) ** 2


def harmonic(a: ArrayLike, b: ArrayLike) -> Floats:
    """2ab / (a + b), the F1 of two shares; 0 where both are 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.where(a + b > 0, 2 * a * b / np.where(a + b > 0, a + b, 1), 0.0)
