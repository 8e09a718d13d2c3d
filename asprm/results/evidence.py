"""Evidence: what a run has on a claim of the paper, as an estimate with its interval and its test.

There is a function for each aspect of a number (its level, its arrow, its contrast) and for each kind of statement.
Over seeds, the estimate is the mean per problem; intervals and tests resample problems, not seeds. Each raises NotRun
where a table is missing. What the evidence amounts to is for `asprm.claims` to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from asprm import statistics as s
from asprm.results import costs
from asprm.results.outcomes import Measures, NotRun, Outcomes
from asprm.results.paper import Number, Statement, claim, load_claims, paper

INCOMPARABLE = "not comparable at this scale"  # a verdict without a test
ALIKE = "both sides are alike on every problem"
_RESAMPLES = 4000
Pairs = Sequence[tuple[Outcomes, Outcomes]]


@dataclass(frozen=True)
class Evidence:
    """What this run has on a claim, in percent or points (counts as they are)."""

    value: float
    low: float = np.nan
    high: float = np.nan
    n: int | None = None  # problems
    seeds: int = 1
    test: str = ""
    p: float = np.nan
    smallest: float = np.nan  # the smallest effect that could have been significant
    agree: bool = True  # the seeds, in sign
    artifact: str = ""
    verdict: str | None = None  # where no test decides
    why: str = ""


def level(one: Number, measures: Measures) -> Evidence:
    """This run's value for a number of the paper, and how likely one so far from it is by chance.

    Only where it is the same quantity (`Measures.other_level`) has it a test, against the number as printed, as if that
    had no error of its own: the problems are the same.
    """
    if one.measure is None:
        raise NotRun("this study measures no such number")
    if one.measure.kind in ("tokens", "comments"):
        value, name = measures.type_share(one)
        scale = 100 if one.unit == "percent" else 1
        why = "of this run's own samples"
        return Evidence(*(scale * x for x in value), artifact=name, verdict=INCOMPARABLE, why=why)
    found = measures.outcomes(one.measure)
    mean = s.bootstrap_mean(found.values.mean(0), measures.clusters(found.problems), resamples=_RESAMPLES)
    p, other = np.nan, measures.other_level(one)
    if not other:
        _, p = s.difference_of_shares(mean, s.Interval(*[one.value / 100] * 3))
    return Evidence(
        *(100 * float(x) for x in mean), len(found.problems), len(found.values), "bootstrap", p,
        artifact=found.artifact, verdict=INCOMPARABLE if other else None, why=other,
    )  # fmt: skip


def arrow(one: Number, measures: Measures) -> Evidence:
    """The difference that the arrow beside a number stands for."""
    return gain([_pair(one, measures)], measures)


def contrast(one: Number, measures: Measures) -> Evidence:
    """The difference from the number that a table shows for comparison, without an arrow."""
    other = claim(one.contrast)
    if one.measure.kind in ("bon", "tvd", "greedy", "single"):
        return gain([_pair(one, measures)], measures)
    (a, name), (b, _) = measures.type_share(one), measures.type_share(other)
    return _of_shares(a, b, name, "two intervals")


def _of_shares(a: s.Interval, b: s.Interval, artifact: str, test: str) -> Evidence:
    found, p = s.difference_of_shares(a, b)
    value, low, high = (100 * x for x in found)
    return Evidence(value, low, high, test=test, p=p, smallest=(high - low) / 2, artifact=artifact)


def _pair(one: Number, measures: Measures) -> tuple[Outcomes, Outcomes]:
    """The outcomes that an arrow or contrast compares."""
    other = one.rival or claim(one.against or one.contrast).measure
    if one.measure is None or other is None:
        raise NotRun("this study measures no such number")
    return measures.outcomes(one.measure), measures.outcomes(other)


def gain(pairs: Pairs, measures: Measures, over: float = 0.0) -> Evidence:
    """By how many points a beats b, paired by problem, averaged over pairs; the test asks whether it beats `over`.

    A problem that occurs in several pairs counts once, with its mean: its outcomes go together.
    """
    parts = [_differences(a, b) for a, b in pairs]
    seeds = max(len(d) for d in parts)
    frame = pd.DataFrame(
        {
            "problem": [name for a, _ in pairs for name in a.problems],
            "difference": np.concatenate([d.mean(0) for d in parts]),
        }
    )
    by_problem = frame.groupby("problem", sort=False)["difference"].mean()
    values, clusters = by_problem.to_numpy(), measures.clusters(by_problem.index)
    value, low, high = s.bootstrap_mean(values, clusters, resamples=_RESAMPLES)
    by_seed = [np.mean([d[r % len(d)].mean() for d in parts]) - over / 100 for r in range(seeds)]
    whole = len(pairs) == 1 and seeds == 1 and not over and clusters == list(by_problem.index)
    if whole and np.isin(pairs[0][0].values, (0, 1)).all() and np.isin(pairs[0][1].values, (0, 1)).all():
        only_a, only_b = int((values > 0).sum()), int((values < 0).sum())
        test, p = f"exact McNemar, {only_a} against {only_b}", s.mcnemar_p(only_a, only_b)
        smallest = s.smallest_gain(len(values), (only_a + only_b) / len(values))
        if np.isnan(smallest) and len(values) >= 6:
            smallest = 6 / len(values)  # if six differed, all one way
    else:
        p = s.sign_flip_p(values - over / 100, clusters)
        test = "random signs by " + ("problem" if clusters == list(by_problem.index) else "template")
        smallest = float(high - low) / 2
    return Evidence(
        100 * float(value), 100 * float(low), 100 * float(high), len(values), seeds, test, p, 100 * smallest,
        agree=not (min(by_seed) < 0 < max(by_seed)), artifact=pairs[0][0].artifact,
        why="" if values.any() else ALIKE,
    )  # fmt: skip


def _differences(a: Outcomes, b: Outcomes) -> NDArray[np.float64]:
    """(R, P) a − b by seed of the one that has more, against the mean over the other's."""
    place = {name: i for i, name in enumerate(b.problems)}
    if set(place) != set(a.problems):
        raise ValueError(f"claims: {a.artifact} and {b.artifact} are of different problems; make them anew")
    other = b.values[:, [place[name] for name in a.problems]]
    if len(a.values) >= len(other):
        return a.values - other.mean(0)
    return a.values.mean(0) - other


def prose(one: Statement, measures: Measures) -> Evidence:
    """By the kind of comparison that a statement asks for."""
    if one.compare is None:
        raise NotRun("this study has no test of it")
    return _PROSE[one.compare.kind](one, measures)


def _pool(one: Statement, measures: Measures) -> Evidence:
    compare = one.compare
    if compare.of:
        pairs = [_pair(claim(other), measures) for other in compare.of]
    else:
        pairs = [(measures.outcomes(a), measures.outcomes(b)) for a, b in zip(compare.a, compare.b, strict=True)]
    return gain(pairs, measures, compare.over)


def _best(one: Statement, measures: Measures) -> Evidence:
    """The first against each other: the best only if it beats them all, not the best as soon as one beats it."""
    first, *others = ([measures.outcomes(m) for m in some] for some in one.compare.of)
    found = [gain(list(zip(first, other, strict=True)), measures) for other in others]
    least = min(found, key=lambda e: e.value)
    p = max(e.p for e in found) if least.value > 0 else min(1.0, len(found) * least.p)
    rival = one.compare.of[1 + found.index(least)][0].prm
    return replace(least, p=p, why=f"nearest rival {rival}", agree=all(e.agree for e in found))


def _share(one: Statement, measures: Measures) -> Evidence:
    value, name = measures.token_share(one.compare.a[0], one.compare.row)
    bound = s.Interval(*[one.compare.over / 100] * 3)
    found = _of_shares(value, bound, name, "interval over problems")
    return replace(found, value=100 * value.value, low=100 * value.low, high=100 * value.high)


def _saving(one: Statement, measures: Measures) -> Evidence:
    compare = one.compare
    try:
        value = costs.saving(measures.run, compare.a, compare.b)
    except costs.NoLabels as reason:
        raise NotRun(str(reason)) from None
    bound = s.Interval(*[compare.over / 100] * 3)
    found = _of_shares(value, bound, f"rollout/{costs.labels_of(measures.run, compare.a)[0]}", "interval over problems")
    return replace(found, value=100 * value.value, low=100 * value.low, high=100 * value.high)


def _confidence(one: Statement, measures: Measures) -> Evidence:
    """Mean confidence of tokens that end a line less that of all others, by problem."""
    policy, run = one.compare.policy, measures.run
    names = f"sample/{policy}/train", f"split/{policy}/line"
    measures.require(*names)
    samples = run.read(names[0], ["problem", "confidences"]).to_pydict()
    ends = run.read(names[1], ["ends"])["ends"].to_pylist()
    sums: dict[str, NDArray] = {}
    for problem, confidences, cut in zip(*samples.values(), ends, strict=True):
        every = np.asarray(confidences)
        lines = every[np.asarray(cut[:-1], int) - 1]  # the last step ends with the text, whatever stands there
        count = sums.setdefault(problem, np.zeros(4))
        count += lines.sum(), len(lines), every.sum() - lines.sum(), len(every) - len(lines)
    top, lines, rest, others = np.array([c for c in sums.values() if c[1] and c[3]]).T
    values = top / lines - rest / others
    value, low, high = s.bootstrap_mean(values, resamples=_RESAMPLES)
    return Evidence(
        100 * float(value), 100 * float(low), 100 * float(high), len(values), 1, "random signs by problem",
        s.sign_flip_p(values), 50 * float(high - low), artifact=names[0],
    )  # fmt: skip


def _harder(one: Statement, measures: Measures) -> Evidence:
    """Spearman's correlation, in per cent, of the share of wrong solutions with the mean number of steps."""
    policy, run = one.compare.policy, measures.run
    names = f"sample/{policy}/train", f"split/{policy}/adaptive"
    measures.require(*names)
    frame = run.read(names[0], ["problem", "correct", "count"]).to_pandas()
    frame["steps"] = [len(e) for e in run.read(names[1], ["ends"])["ends"].to_pylist()]
    frame[["wrong", "steps"]] = frame[["count"]].to_numpy() * np.stack([~frame["correct"], frame["steps"]], 1)
    sums = frame.groupby("problem")[["wrong", "steps", "count"]].sum()
    found = spearmanr(sums["wrong"] / sums["count"], sums["steps"] / sums["count"])
    rho, n = float(found.statistic), len(sums)
    half = norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / (n - 3))  # Bonett and Wright
    low, high = np.tanh(np.arctanh(rho) + np.array([-half, half]))
    return Evidence(
        100 * rho, 100 * low, 100 * high, n, 1, "Spearman", float(found.pvalue), 100 * np.tanh(half), artifact=names[1]
    )


def _types(one: Statement, measures: Measures) -> Evidence:
    numbers = [
        n for n in load_claims()
        if isinstance(n, Number) and n.table == one.compare.table and n.measure and n.measure.column == "decision_share"
    ]  # fmt: skip
    found = {n.row[-1]: measures.type_share(n) for n in numbers}
    absent = [label for label, (share, _) in found.items() if not share.value]
    why = f"none is of type {', '.join(absent)}" if absent else "all types occur"
    verdict = "inconclusive" if absent else "reproduced"  # a type that is absent may only be rare
    share = 100 * (len(found) - len(absent)) / len(found)
    return Evidence(share, artifact=next(iter(found.values()))[1], verdict=verdict, why=why, test="count")


def _chance(one: Statement, measures: Measures) -> Evidence:
    gains = {other: problems_gained(claim(other)) for other in one.rests_on}
    could = [other for other, gained in gains.items() if s.most_discordance(claim(other).n, gained)]
    verdict = "opposite" if could else "reproduced"
    share = 100 * (1 - len(could) / len(gains))
    return Evidence(share, verdict=verdict, why="computed from the paper's numbers", test="exact McNemar")


def problems_gained(one: Number) -> int:
    """How many of the paper's problems its own difference amounts to."""
    return round((one.value - paper(one.against)) * one.n / 100)


def _outside(one: Statement, measures: Measures) -> Evidence:
    return Evidence(np.nan, verdict=INCOMPARABLE, why=one.compare.why)


def _later(one: Statement, measures: Measures) -> Evidence:
    return Evidence(np.nan)  # from the verdicts of other claims, once they are known


_PROSE = {
    "pool": _pool,
    "all": _later,
    "best": _best,
    "share": _share,
    "saving": _saving,
    "confidence": _confidence,
    "harder": _harder,
    "types": _types,
    "chance": _chance,
    "outside": _outside,
}
