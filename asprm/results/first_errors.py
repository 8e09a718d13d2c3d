"""First errors: whether a reward model finds the step in which a solution first departs from the truth (ProcessBench),
and whether its scores are calibrated.

Knows frames with one row per solution: problem; scores (K,), of its steps; confidences (K,), the policy's; error, the
number of the step in which the solution departs, from 0 (−1: it does not). No model, no run.
Axes: S solutions, P problems, K steps of a solution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asprm import statistics as s
from asprm.intervals import Interval, difference_interval, score_interval, share_interval
from asprm.results.format import interval, percent, points

CUTS = np.linspace(0.02, 0.98, 49)
POLICY = "the policy's confidence"  # beside the names of reward models


def first_errors(validated: Mapping[str, pd.DataFrame], scored: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How well each reward model, and the policy's own confidence, find the first error; the best first.

    validated, scored: by reward model, the validation solutions, on which its cut is chosen, and the test solutions.
    Columns: by, cut, then the keys of `find_errors`; gain, gain_low, gain_high, p, p (Holm): by how much its F1 is
    above that of the policy's confidence, as `f1_gain` gives it (NaN for the confidence itself). ValueError: there are
    no reward models.
    """
    if not scored:
        raise ValueError("truth: no reward model rated the policy's validation and test candidates at decision tokens")
    first = next(iter(scored))
    ways = [(prm, prm, "scores") for prm in scored]
    ways.insert(1, (POLICY, first, "confidences"))  # which are the same in every frame
    rows, claims = [], {}
    for label, prm, column in ways:
        cut = best_cut(validated[prm], column)
        claims[label] = _claims(scored[prm], column, cut)
        rows.append({"by": label, "cut": cut} | find_errors(scored[prm], cut, column))
    for row in rows:
        row |= dict.fromkeys(("gain", "gain_low", "gain_high", "p"), np.nan)
        if row["by"] != POLICY:
            gain, row["p"] = f1_gain(claims[row["by"]], claims[POLICY])
            row |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
    table = pd.DataFrame(rows)
    return table.assign(**{"p (Holm)": s.holm(table["p"])}).sort_values("f1", ascending=False)


def f1_gain(sums: NDArray, others: NDArray) -> tuple[Interval, float]:
    """By how much the F1 of one way is above another's, both (P, 4) of `_claims` for the same problems, and p.

    Paired by problem: each problem stands for the gain and by how much it moves it. The test draws their signs.
    """
    gain = float(_f1(sums.sum(0))[2] - _f1(others.sum(0))[2])
    parts = _contributions(sums) - _contributions(others)
    values = gain + len(parts) * parts
    return difference_interval(values), s.sign_flip_p(values)


def f1_against(frame: pd.DataFrame, cut: float, other: pd.DataFrame, other_cut: float) -> tuple[Interval, float]:
    """`f1_gain` of scored solutions over others of the same problems, in their order, each with its own cut and steps.

    ValueError: the problems differ.
    """
    if frame["problem"].unique().tolist() != other["problem"].unique().tolist():
        raise ValueError("truth: the two frames have other problems, or another order; their F1 cannot be paired")
    return f1_gain(_claims(frame, "scores", cut), _claims(other, "scores", other_cut))


def told(table: pd.DataFrame, alpha: float) -> str:
    """Who finds the first error best, and which reward models do so better than the policy's confidence, in sentences.

    table: from `first_errors`. alpha: of Holm's p.
    """
    best, own = table.iloc[0], table.set_index("by").loc[POLICY]
    better = table.loc[(table["p (Holm)"] < alpha) & (table["gain"] > 0), "by"]
    start = f"The first error is found best by {best['by']}, with F1 {percent(best['f1'])}"
    if best["by"] != POLICY:
        start += f", against {percent(own['f1'])} of {POLICY}: a gain of {points(best['gain'])} points "
        start += f"({interval(best['gain_low'], best['gain_high'])})"
    found = (
        f"better than it by the test: {', '.join(better)}" if len(better) else "no reward model is better by the test"
    )
    return f"{start}; {found} (random signs, Holm over the reward models of this table)."


def first_below(scores: Sequence[NDArray], cut: float) -> NDArray[np.int64]:
    """(S,) the earliest step scored below the cut, −1 if there is none: the error that a reward model claims."""
    counts = np.array([len(row) for row in scores])
    starts = np.cumsum(counts) - counts
    number = np.arange(counts.sum()) - np.repeat(starts, counts)
    never = counts.max()
    first = np.minimum.reduceat(np.where(np.concatenate(scores) < cut, number, never), starts)
    return np.where(first < never, first, -1)


def best_cut(frame: pd.DataFrame, column: str = "scores") -> float:
    """The cut of CUTS with the highest F1 on these (validation) solutions."""
    return float(max(CUTS, key=lambda cut: _f1(_claims(frame, column, cut).sum(0))[2]))


def find_errors(frame: pd.DataFrame, cut: float, column: str = "scores") -> dict[str, float]:
    """ProcessBench's F1, the harmonic mean of two accuracies: of solutions that depart (the very step must be found),
    and of those that do not (none may be claimed). Keys: found, unclaimed, f1, f1_low, f1_high.
    """
    sums = _claims(frame, column, cut)
    found, unclaimed, f1 = _f1(sums.sum(0))
    _, low, high = score_interval(float(f1), _contributions(sums))
    values = {"found": found, "unclaimed": unclaimed, "f1": f1, "f1_low": low, "f1_high": high}
    return {name: float(value) for name, value in values.items()}


def _claims(frame: pd.DataFrame, column: str, cut: float) -> NDArray[np.float64]:
    """(P, 4): departing solutions whose step is found, departing ones, others without a claim, others."""
    claimed, error = first_below(frame[column].to_list(), cut), frame["error"].to_numpy()
    departs = error >= 0
    counts = np.stack([departs & (claimed == error), departs, ~departs & (claimed < 0), ~departs], 1)
    return sums_by_problem(counts.astype(float), frame["problem"].to_numpy())


def _f1(sums: NDArray) -> tuple[Any, Any, Any]:
    """Both accuracies and their harmonic mean from summed counts (..., 4); an accuracy of nothing counts as 0."""
    with np.errstate(invalid="ignore"):
        found, unclaimed = np.nan_to_num(sums[..., 0] / sums[..., 1]), np.nan_to_num(sums[..., 2] / sums[..., 3])
    return found, unclaimed, s.harmonic(found, unclaimed)


def _contributions(sums: NDArray) -> NDArray[np.float64]:
    """(P,) the derivative of the F1 of summed counts (P, 4) by the weight of each problem."""
    found, unclaimed, _ = _f1(sums.sum(0))
    if found + unclaimed == 0:
        return np.zeros(len(sums))
    hit, departs, quiet, others = sums.T
    parts = [(hit - found * departs) / max(departs.sum(), 1), (quiet - unclaimed * others) / max(others.sum(), 1)]
    return 2 * (unclaimed**2 * parts[0] + found**2 * parts[1]) / (found + unclaimed) ** 2


def calibration(frame: pd.DataFrame, bins: int = 10) -> tuple[s.Reliability, dict[str, float]]:
    """Step scores as probabilities that nothing has departed so far.

    Returns the reliability curve, and ece, brier, brier_low, brier_high and brier_base: the Brier score of always
    giving the base rate.
    """
    steps = [len(row) for row in frame["scores"]]
    scores = np.concatenate(frame["scores"].to_list())
    number = np.concatenate([np.arange(n) for n in steps])
    error = np.repeat(frame["error"].to_numpy(), steps)
    true = ((error < 0) | (number < error)).astype(float)
    curve = s.reliability(scores, true, bins)
    problem = np.repeat(frame["problem"].to_numpy(), steps)
    squares = sums_by_problem(np.stack([s.brier(scores, true), np.ones_like(true)], 1), problem)
    brier = share_interval(squares[:, 0], squares[:, 1])
    base = float(true.mean())
    values = {
        "ece": curve.error,
        "brier": brier.value,
        "brier_low": brier.low,
        "brier_high": brier.high,
        "brier_base": base * (1 - base),
    }
    return curve, {name: float(value) for name, value in values.items()}


def sums_by_problem(values: NDArray, problems: NDArray) -> NDArray[np.float64]:
    """(P, …) sums of the rows (S, …) of each problem, in order of first appearance. problems: (S,)."""
    return pd.DataFrame(values).groupby(problems, sort=False).agg("sum").to_numpy(float)
