"""Threshold: from confidences to τ (stage 3; paper §2, "2 %").

τ is the value below which a target share of all sampled *tokens* lies. The fit knows arrays only: no model, no
tokenizer, no file; `run_threshold` reads and writes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asprm.run import names
from asprm.run.open import Run
from asprm.statistics import percentiles, resampling_weights

EXACT_TOKENS = 10_000_000  # up to here every confidence is kept, in 16 bytes a token
ROUNDING = 2.0**-11  # beyond it, confidences are rounded down by less than this share of themselves
GROUPS = 512  # and problems are merged into this many groups for the interval
_MANTISSA = np.uint32(12)  # bits of a float32 that rounding drops; 11 of the mantissa stay


@dataclass(frozen=True)
class Threshold:
    """τ and what it does to the tokens that it was fitted on: a token is a decision token when its confidence < tau."""

    tau: float
    share: float  # the share asked for
    achieved: float  # the share that lies below tau, never more than asked
    low: float  # 95 % interval of tau, bootstrap over problems
    high: float
    tokens: int
    decision_tokens: int  # below tau; more than one token short of share × tokens only because of ties
    tied: int  # tokens exactly at tau, the first that stay above
    resolution: float  # 0: exact; else the share of itself by which tau may lie below the exact quantile


# --- the stage --------------------------------------------------------------------------------------------------------


def run_threshold(run: Run) -> list[str]:
    """Fit the policy's threshold on its training samples, and one for each further share of `threshold.sweep`.

    Writes the JSON file `threshold/<policy>`: the fields of `Threshold` and, as `sweep`, a list of the same fields for
    each further share. Returns its name.
    """
    settings = run.profile.threshold
    samples = run.read(names.samples(run.policy, "train"), ["problem", "confidences"])
    confidences = [np.asarray(row.values) for row in samples["confidences"]]
    shares = [settings.share, *settings.sweep]
    fitted, *swept = sweep(confidences, samples["problem"].to_pylist(), shares, seed=run.seed)
    name = names.threshold(run.policy)
    run.write_json(name, asdict(fitted) | {"sweep": [asdict(other) for other in swept]}, tokens=fitted.tokens)
    return [name]


def read_threshold(run: Run) -> tuple[Threshold, list[Threshold]]:
    """The policy's threshold, and those of the further shares, as `run_threshold` wrote them."""
    values = run.read_json(names.threshold(run.policy))
    swept = [Threshold(**others) for others in values.pop("sweep")]
    return Threshold(**values), swept


def tau_of(fitted: Mapping[str, Any], share: float | None) -> float:
    """τ from the content of `threshold/<policy>`: of the policy's own share (None), or of one in the sweep.

    ValueError: the sweep does not have that share.
    """
    if share is None:
        return fitted["tau"]
    taus = {other["share"]: other["tau"] for other in fitted["sweep"]}
    if share not in taus:
        raise ValueError(f"no threshold was fitted for a share of {share}; add it to threshold.sweep, now {list(taus)}")
    return taus[share]


# --- the fit ----------------------------------------------------------------------------------------------------------


def fit_threshold(
    confidences: Iterable[ArrayLike],
    problem: Iterable[Hashable],
    share: float = 0.02,
    *,
    resamples: int = 1000,
    seed: int = 0,
    exact_tokens: int = EXACT_TOKENS,
) -> Threshold:
    """τ such that `share` of all tokens have a confidence strictly below it.

    confidences: one array (T,) in (0, 1] per solution, read once, so that an iterator over a big table will do.
    problem: for each solution, the problem that it solves. The interval resamples problems, not tokens: solutions of
        one problem hesitate at the same places.
    share: of the tokens, in (0, 1).
    resamples: of the problems, for the interval.
    seed: of the resamples.
    exact_tokens: more tokens than these are rounded.

    Of the sorted confidences, τ is the one that ⌊share · tokens⌋ tokens precede. The count is exact up to
    `exact_tokens` tokens; beyond, memory stays bounded and confidences are rounded down to 11 bits, which moves τ by
    less than 0.05 % of itself (`resolution`). `achieved` is the share below the τ that is returned, in either case.
    ValueError: share outside (0, 1), no tokens, a confidence outside (0, 1], solutions and problems of unequal number.
    """
    return sweep(confidences, problem, [share], resamples=resamples, seed=seed, exact_tokens=exact_tokens)[0]


def sweep(
    confidences: Iterable[ArrayLike],
    problem: Iterable[Hashable],
    shares: Sequence[float] = (0.005, 0.01, 0.015, 0.02),
    *,
    resamples: int = 1000,
    seed: int = 0,
    exact_tokens: int = EXACT_TOKENS,
) -> list[Threshold]:
    """One `Threshold` per share (the paper compares 0.5, 1, 1.5 and 2 %) from one reading of the tokens.

    Each is the one that `fit_threshold` gives for its share alone, with the same arguments.
    """
    for share in shares:
        if not 0 < share < 1:
            raise ValueError(f"share is {share}; it must lie between 0 and 1 (0.02 for 2 % of the tokens)")
    pool = _Pool(exact_tokens)
    for values, name in zip(confidences, problem, strict=True):
        pool.add(np.asarray(values, np.float32), name)
    values, groups, counts = pool.merged()
    taus_RS = _bootstrap(values, groups, counts, shares, resamples, seed)
    low, high = percentiles(taus_RS)
    below = np.concatenate([[0], np.cumsum(counts)])  # tokens before each entry
    fitted = []
    for i, share in enumerate(shares):
        tau = values[np.searchsorted(below, _rank(share, below[-1]), side="right") - 1]
        first, last = np.searchsorted(values, tau, "left"), np.searchsorted(values, tau, "right")
        fitted.append(
            Threshold(
                tau=float(tau),
                share=float(share),
                achieved=float(below[first] / below[-1]),
                low=float(low[i]),
                high=float(high[i]),
                tokens=int(below[-1]),
                decision_tokens=int(below[first]),
                tied=int(below[last] - below[first]),
                resolution=pool.resolution,
            )
        )
    return fitted


def _rank(share: float, tokens: int) -> int:
    """⌊share · tokens⌋, safe from rounding: never more than the share asked for."""
    rank = int(share * tokens) + 1
    while rank / tokens > share:
        rank -= 1
    return rank


class _Pool:
    """Confidences and their problems in entries (value, group, count): one per token, or fewer when there are many."""

    def __init__(self, exact_tokens: int):
        self.limit = exact_tokens  # entries
        self.resolution = 0.0
        self.index: dict[Hashable, int] = {}  # problem -> group
        self.values: list[NDArray] = []  # parts; one entry stands at the same place in all three
        self.groups: list[NDArray] = []
        self.counts: list[NDArray] = []
        self.held = 0  # entries

    def add(self, values: NDArray[np.float32], problem: Hashable) -> None:
        if values.ndim != 1 or not ((values > 0) & (values <= 1)).all():
            raise ValueError(f"confidences of a solution of problem {problem!r} must be (T,) in (0, 1]: {values!r}")
        group = self.index.setdefault(problem, len(self.index))
        self.values.append(values)
        self.groups.append(np.full(len(values), group, np.int32))
        self.counts.append(np.ones(len(values), np.int64))
        self.held += len(values)
        if self.held > self.limit:
            self.compact()

    def compact(self) -> None:
        """Round values down and merge entries that become equal.

        A rounded value is the lower edge of its bin, so that the tokens below τ can still be counted exactly.
        """
        self.resolution = ROUNDING
        values, groups, counts = (np.concatenate(x) for x in (self.values, self.groups, self.counts))
        edge = values.view(np.uint32) >> _MANTISSA  # positive floats have the order of their bits
        cell = edge.astype(np.int64) * GROUPS + groups % GROUPS
        cell, where = np.unique(cell, return_inverse=True)
        self.values = [((cell // GROUPS).astype(np.uint32) << _MANTISSA).view(np.float32)]
        self.groups = [(cell % GROUPS).astype(np.int32)]
        self.counts = [np.bincount(where, counts).astype(np.int64)]
        self.held = len(cell)
        self.limit = max(self.limit, 2 * self.held)

    def merged(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
        """Values, groups and counts of all entries, sorted by value. ValueError: there are none."""
        if not self.held:
            raise ValueError("no tokens: the threshold needs at least one solution with a confidence")
        if self.resolution:
            self.compact()
        values, groups, counts = (np.concatenate(x) for x in (self.values, self.groups, self.counts))
        order = np.argsort(values, kind="stable")
        return values[order], groups[order], counts[order]


def _bootstrap(
    values: NDArray, groups: NDArray, counts: NDArray, shares: Sequence[float], resamples: int, seed: int
) -> NDArray[np.float64]:
    """(R, S) τ of each resample of the problems and each share; NaN for a resample without tokens.

    values, groups, counts: the entries (E,), sorted by value. Only the lowest values are weighted first: τ lies there.
    """
    units = int(groups.max()) + 1
    tokens = np.bincount(groups, counts, units).astype(np.int64)
    tail = int(np.searchsorted(np.cumsum(counts), 1.5 * max(shares) * counts.sum())) + 1
    taus = []
    for weights in resampling_weights(units, resamples, seed):
        for weight, total in zip(weights, weights @ tokens, strict=True):
            if total == 0:
                taus.append(np.full(len(shares), np.nan))
                continue
            ranks = [_rank(share, total) for share in shares]
            below = np.cumsum(weight[groups[:tail]] * counts[:tail])
            if below[-1] <= max(ranks):
                below = np.cumsum(weight[groups] * counts)
            taus.append(values[np.searchsorted(below, ranks, side="right")])
    return np.array(taus, np.float64)
