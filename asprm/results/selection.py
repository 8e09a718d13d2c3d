"""Selection: the expected accuracy of choosing among n of N candidates, over all subsets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from asprm.statistics import Floats, same_shape


def best_of_n(scores: ArrayLike, correct: ArrayLike, n: ArrayLike) -> Floats:
    """How often the best-scored of n candidates is right, averaged over all subsets of n of the N candidates.

    scores, correct: (..., N). n: int or (L,). Returns (...) or (..., L).
    Sorted by score, best first, candidate i (from 1) is the best of C(N−i, n−1) of the C(N, n) subsets.
    Candidates of equal score share their weights, as if ties were broken at random.
    ValueError: shapes differ, a score is not finite, n outside 1..N.
    """
    scores, correct = same_shape(scores, correct)
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

    Subsets are counted, not drawn: for each winning number of votes v, the subsets in which no answer has more than v
    votes, by the number of answers that have v (a product of binomials). This takes about N² operations per problem.
    """
    correct = np.asarray(correct, np.float64)
    ballots = [_ballots(a, c) for a, c in _paired_rows(answers, correct)]
    total = correct.shape[-1]
    if total > _COUNTED:
        return _over_n(n, total, lambda k: np.array([majority_of(problem, total, k) for problem in ballots]))
    table = np.stack([_majority_row(problem, total) for problem in ballots])  # (P, N + 1): by n
    return _over_n(n, total, lambda k: table[:, k])


_COUNTED = 400  # candidates up to which the numbers of subsets are counted: greater ones are no floats


def majority_of(ballots: Sequence[tuple[int, float]], total: int, n: int) -> float:
    """The probability that the vote of n of `total` candidates is right, for any `total`; see `majority_vote`.

    ballots: of each answer the number of candidates and the share of them that are right.
    Candidates are drawn with probability n/total each, given that n are drawn: then a number of votes is binomial, and
    the probabilities are neither too great nor too small for floats, as the numbers of subsets would be.
    """
    from scipy.signal import convolve  # late: it takes long to import
    from scipy.stats import binom

    p = n / total
    wins = 0.0
    for v in range(1, min(n, max((m for m, _ in ballots), default=0)) + 1):
        rivals = [(m, right) for m, right in ballots if m >= v]
        others = total - sum(m for m, _ in rivals)
        most = min(len(rivals), n // v)
        # ways[t, u]: probability that u candidates are drawn, t answers have v votes and none has more; hits: the same,
        # times how many of these t answers are right.
        ways, hits = np.zeros((2, most + 1, n + 1))
        ways[0] = binom.pmf(np.arange(n + 1), others, p)
        for m, right in rivals:
            votes = binom.pmf(np.arange(v + 1), m, p)
            fewer, tied = votes[None, :v], votes[v]
            next_ways, next_hits = (convolve(x, fewer)[:, : n + 1] for x in (ways, hits))
            next_ways[1:, v:] += tied * ways[:-1, : n + 1 - v]
            next_hits[1:, v:] += tied * (hits + right * ways)[:-1, : n + 1 - v]
            ways, hits = next_ways, next_hits
        wins += float((hits[1:, n] / np.arange(1, most + 1)).sum())
    return wins / float(binom.pmf(n, total, p))


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

    There is no formula for this one. Where there are more than `draws` subsets, the mean is taken over the first n
    candidates of `draws` random orders, the same for all problems and all n. One problem's standard error is at most
    0.5/√draws; that of the mean over problems is far below the width of its interval. A weight of 0 is no vote.

    answers, correct, n: as in `majority_vote`. weights: (P, N), not negative. draws, seed: of the random orders.
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
    factors = np.maximum(total - i - n + 1, 0) / (total - i)
    return np.cumprod(np.concatenate([[n / total], factors]), dtype=np.float64)


def _paired_rows(answers: Sequence[Sequence[object]], correct: Floats) -> list[tuple[list[object], Floats]]:
    if correct.ndim != 2 or len(answers) != len(correct) or any(len(row) != correct.shape[1] for row in answers):
        raise ValueError(f"answers must be (P, N) like correct {correct.shape}; got {len(answers)} rows")
    return [(list(row), hits) for row, hits in zip(answers, correct, strict=True)]


def _ballots(answers: list[object], correct: Floats) -> list[tuple[int, float]]:
    """(number of candidates, share of them that are right) of each answer except None."""
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
        # Any number may be drawn of candidates that do not vote, or whose answer cannot reach v votes.
        others = total - sum(m for m, _ in rivals)
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
