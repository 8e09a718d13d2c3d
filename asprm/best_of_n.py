"""Best-of-N: what a reward model's choice among N candidates is worth (paper §4, Figures 4 and 5).

Reads scored candidates, writes tidy frames of accuracy with intervals. No model here: scores come from `asprm.prm`.
Axes: P problems, N candidates of each, K steps of a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from asprm import statistics as s
from asprm.run import Run

Table = pa.Table | pd.DataFrame

# From step scores (S,) of candidates end to end, one number for each: its steps begin at `starts`, and are `counts`.
AGGREGATES: dict[str, Callable[[NDArray, NDArray, NDArray], NDArray]] = {
    "min": lambda scores, starts, counts: np.minimum.reduceat(scores, starts),  # the paper's
    "mean": lambda scores, starts, counts: np.add.reduceat(scores, starts) / counts,
    "last": lambda scores, starts, counts: scores[starts + counts - 1],
    "product": lambda scores, starts, counts: np.multiply.reduceat(scores, starts),
    "max": lambda scores, starts, counts: np.maximum.reduceat(scores, starts),
}


def aggregate(scores: ArrayLike, how: str = "min") -> float:
    """One score of a candidate from those of its steps (K,). ValueError: no steps, one outside [0, 1], unknown how."""
    return float(aggregates(np.asarray(scores, np.float64), np.array([np.size(scores)]), how)[0])


def aggregates(scores: NDArray, counts: NDArray, how: str = "min") -> NDArray[np.float64]:
    """(C,) `aggregate` of many candidates: scores (S,), all steps end to end; counts (C,), how many each has."""
    if how not in AGGREGATES:
        raise ValueError(f"unknown aggregate {how!r}; known: {', '.join(AGGREGATES)}")
    if scores.ndim != 1 or not (counts > 0).all() or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"a candidate needs the scores (K,) in [0, 1] of at least one step, got {scores!r}")
    return AGGREGATES[how](scores, np.cumsum(counts) - counts, counts)


@dataclass(frozen=True)
class Candidates:
    """N scored candidates of each of P problems."""

    problems: list[str]  # (P,) in order of first appearance
    steps: NDArray[np.float64]  # (S,) the scores of all steps, candidate after candidate
    counts: NDArray[np.int64]  # (P · N,) steps of each candidate
    correct: NDArray[np.bool_]  # (P, N)
    answers: list[list[str | None]]  # (P, N)

    def scores(self, how: str = "min") -> NDArray[np.float64]:
        """(P, N) one score per candidate."""
        return aggregates(self.steps, self.counts, how).reshape(self.correct.shape)

    @property
    def fewest(self) -> NDArray[np.int64]:
        """(P, N) greater for fewer steps."""
        return -self.counts.reshape(self.correct.shape)


def candidates(table: pa.Table | pd.DataFrame) -> Candidates:
    """From a table with columns problem, solution, scores (one per step), correct, answer; one row per candidate.

    ValueError: a candidate twice, problems with unequal numbers of candidates, no rows.
    """
    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    if frame.empty:
        raise ValueError("no candidates in the table")
    if frame.duplicated(["problem", "solution"]).any():
        raise ValueError("a candidate stands in the table twice: problem and solution must name each row once")
    code, names = pd.factorize(frame["problem"])
    sizes = np.bincount(code)
    few, many = int(sizes.argmin()), int(sizes.argmax())
    if sizes[few] < sizes[many]:
        raise ValueError(
            f"problem {names[few]!r} has {sizes[few]} candidates, {names[many]!r} has {sizes[many]}; they must be equal"
        )
    frame = frame.iloc[np.lexsort((frame["solution"], code))]
    scores = frame["scores"].tolist()
    shape = len(names), int(sizes[0])
    answers = frame["answer"].astype(object).where(frame["answer"].notna(), None)
    return Candidates(
        problems=[str(name) for name in names],
        steps=np.concatenate(scores).astype(np.float64),
        counts=np.array([len(row) for row in scores]),
        correct=frame["correct"].to_numpy(bool).reshape(shape),
        answers=answers.to_numpy().reshape(shape).tolist(),
    )


def rated(run: Run, prm: str, name: str, position: str = "") -> list[pd.DataFrame]:
    """The rated candidates of the run's policy on the set `name`, one table per training of the reward model `prm`."""
    return [
        run.read(f"best_of_n/{artifact}/{run.policy}-{name}{position}").to_pandas()
        for artifact in run.profile.trainings(prm, run.policy)
    ]


def curves(
    table: Table | Mapping[str, Sequence[Table]],
    ns: Sequence[int],
    *,
    how: Sequence[str] = tuple(AGGREGATES),
    name: str = "PRM",
    greedy: Mapping[str, bool] | None = None,
    clusters: Mapping[str, str] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy against n: tidy frame with columns method, n, value, low, high.

    table: as for `candidates`, or several by the name of the reward model, each with one table per training of it, of
    the same candidates; a problem's outcome is then the mean over the trainings. Methods: "PRM-min" and so on for each
    of `how` (`name`, or the names, instead of PRM), "majority", "weighted vote" (by the score of the first of `how`, of
    the first reward model's first training), "fewest steps" (the candidate with the fewest steps in that table: where
    steps end at doubts, the policy's own confidence and no reward model), "pass@n" (the ceiling), "mean" (a single
    sample) and, where `greedy` says which problems greedy decoding has right, "greedy"; the last two are the same for
    every n.
    Each value is the mean over problems of the mean over subsets of n candidates; its 95 % interval resamples problems,
    or their `clusters` (templates by problem). All methods share the resamples. Shares, not percent.
    """
    tables = table if isinstance(table, Mapping) else {name: [table]}
    rated = {prm: [candidates(one) for one in some] for prm, some in tables.items()}
    c = next(iter(rated.values()))[0]
    ns = [int(n) for n in ns]
    flat = np.ones(len(ns))
    methods = {}
    for prm, trainings in rated.items():
        for one in trainings:
            _check_same(prm, one, c)
        for h in how:
            outcomes = [s.best_of_n(one.scores(h), one.correct, ns) for one in trainings]
            methods[f"{prm}-{h}"] = np.mean(outcomes, axis=0)
    methods["majority"] = s.majority_vote(c.answers, c.correct, ns)
    methods["weighted vote"] = s.weighted_vote(c.answers, c.correct, c.scores(how[0]), ns, seed=seed)
    methods["fewest steps"] = s.best_of_n(c.fewest, c.correct, ns)
    methods["pass@n"] = s.pass_at_k(c.correct, ns)
    methods["mean"] = np.outer(c.correct.mean(1), flat)
    if greedy is not None:
        methods["greedy"] = np.outer(_in_order(greedy, c.problems, "greedy solution"), flat)
    values = np.stack(list(methods.values()), axis=1)  # (P, methods, ns)
    groups = _in_order(clusters, c.problems, "cluster") if clusters is not None else None
    interval = s.bootstrap_mean(values, groups, resamples=resamples, seed=seed)
    return pd.DataFrame(
        [
            {
                "method": method,
                "n": n,
                "value": interval.value[i, j],
                "low": interval.low[i, j],
                "high": interval.high[i, j],
            }
            for i, method in enumerate(methods)
            for j, n in enumerate(ns)
        ]
    )


def comparisons(
    table: pa.Table | pd.DataFrame,
    *,
    n: int | None = None,
    how: str = "min",
    greedy: Mapping[str, bool] | None = None,
    clusters: Mapping[str, str] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """BoN@n (n = N unless told) against the other ways to choose (see `curves`) and greedy, paired by problem.

    A frame with one row per rival: against, then the fields of `asprm.statistics.Comparison` (a is BoN@n).
    """
    c = candidates(table)
    n = n or c.correct.shape[1]
    scores = c.scores(how)
    rivals = {
        "single sample": c.correct.mean(1),
        "majority": s.majority_vote(c.answers, c.correct, n),
        "weighted vote": s.weighted_vote(c.answers, c.correct, scores, n, seed=seed),
        "fewest steps": s.best_of_n(c.fewest, c.correct, n),
    }
    if greedy is not None:
        rivals["greedy"] = _in_order(greedy, c.problems, "greedy solution").astype(float)
    groups = _in_order(clusters, c.problems, "cluster") if clusters is not None else None
    chosen = s.best_of_n(scores, c.correct, n)
    rows = [
        {"against": rival, **asdict(s.compare(chosen, values, groups, resamples=resamples, seed=seed))}
        for rival, values in rivals.items()
    ]
    return pd.DataFrame(rows)


def chosen(table: Table, lengths: pd.Series, how: str = "min", margin: int = 5) -> pd.DataFrame:
    """What the best-scored candidate of each problem is like: one row a problem, shares in [0, 1] over its ties.

    lengths: tokens by (problem, solution). Columns: right; shorter and longer, than the median of the problem's
    candidates by more than `margin` tokens; all_right, all_shorter and all_longer, the same of all its candidates.
    """
    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    scores = aggregates(np.concatenate(frame["scores"].tolist()), frame["scores"].map(len).to_numpy(), how)
    names = frame["problem"].to_numpy()
    tokens = lengths.loc[pd.MultiIndex.from_frame(frame[["problem", "solution"]])].to_numpy()
    over = tokens - pd.Series(tokens).groupby(names).transform("median").to_numpy()
    like = pd.DataFrame({"right": frame["correct"].to_numpy(), "shorter": over < -margin, "longer": over > margin})
    like = like.astype(float)
    best = scores == pd.Series(scores).groupby(names).transform("max").to_numpy()
    every = like.groupby(names, sort=False).mean().add_prefix("all_")
    return like[best].groupby(names[best], sort=False).mean().join(every).rename_axis("problem")


def _check_same(prm: str, one: Candidates, other: Candidates) -> None:
    if one.problems != other.problems or not np.array_equal(one.correct, other.correct):
        raise ValueError(f"the tables of {prm} are of other candidates than the first; expected the same, in one order")


def _in_order(by_problem: Mapping[str, object], problems: list[str], what: str) -> NDArray:
    missing = [p for p in problems if p not in by_problem]
    if missing:
        raise ValueError(f"{len(missing)} of {len(problems)} problems have no {what}, the first is {missing[0]!r}")
    return np.array([by_problem[p] for p in problems])
