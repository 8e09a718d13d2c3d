"""Evidence: this run's estimate for a claim of the paper, with its interval and its test.

One function for each aspect of a number (its level, its arrow, its contrast), one for each kind of statement. The
estimate is the mean over trainings, problem by problem; intervals are over problems and trainings, tests over problems.
All raise MissingArtifact where a table is missing, and NotRun where the run has no value for another reason.
`asprm.claims` turns evidence into a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from asprm import statistics as s
from asprm.intervals import difference_interval, share_interval
from asprm.results import costs
from asprm.results.measures import Measures, NotRun
from asprm.results.outcomes import Outcomes
from asprm.results.paper import (
    All,
    Best,
    Chance,
    Measure,
    Number,
    OfPolicy,
    Outside,
    Pool,
    Saving,
    Share,
    Statement,
    Types,
    load_claims,
    number,
    paper,
)
from asprm.run import names
from asprm.statistics import Floats

INCOMPARABLE, UNTESTED = "not comparable at this scale", "not tested"  # verdicts without a test
IDLE = "guided decoding changed no token: both sides are greedy decoding"
ALIKE = "both sides are alike on every problem"
POOLED = "pooled over {} comparisons"  # the end of a test's name
_BY_PROBLEM = "interval over problems"  # a test against a bound, from the interval alone
_FEWEST = 6  # discordant problems, all one way, that exact McNemar can call significant
Pairs = Sequence[tuple[Outcomes, Outcomes]]


@dataclass(frozen=True)
class Evidence:
    """This run's estimate for a claim, in percent or points (counts as they are)."""

    value: float
    low: float = np.nan
    high: float = np.nan
    n: int | None = None  # problems
    seeds: int = 1  # trainings of the reward model
    test: str = ""
    p: float = np.nan
    smallest: float = np.nan  # the smallest effect that could have been significant
    agree: bool = True  # whether all trainings have the same sign
    artifact: str = ""
    verdict: str | None = None  # where no test decides
    why: str = ""
    broken: str = ""  # the table of a losing reward model that chooses worse than a random candidate
    compared: tuple[str, str] | None = None  # the tables of both sides, where it is one comparison with 0


def percentages(interval: s.Interval) -> tuple[float, float, float]:
    """Value, low and high of a share in percent, or of a difference of shares in points."""
    return 100 * float(interval.value), 100 * float(interval.low), 100 * float(interval.high)


# --- numbers of the paper's tables ------------------------------------------------------------------------------------


def level(printed: Number, measures: Measures) -> Evidence:
    """This run's value for a number of the paper.

    It is tested against the paper's number only where both are the same quantity (`Measures.other_level`). The paper's
    number then counts as exact, since the problems are the same.
    """
    measure = _known(printed.measure)
    if measure.kind in ("tokens", "comments"):
        share, name = measures.type_share(printed)
        value, low, high = percentages(share) if printed.unit == "percent" else (float(x) for x in share)
        return Evidence(value, low, high, artifact=name, verdict=INCOMPARABLE, why="of this run's own samples")
    outcomes = measures.outcomes(measure)
    values, clusters = _units(outcomes.mean, measures)
    mean = share_interval(values, clusters=clusters, trainings=[outcomes.values.mean(1)])
    p, other = np.nan, measures.other_level(printed)
    if not other:
        _, p = s.difference_of_shares(mean, _exactly(printed.value))
    value, low, high = percentages(mean)
    return Evidence(
        value,
        low,
        high,
        n=len(outcomes.problems),
        seeds=len(outcomes.values),
        test="interval over problems and trainings",
        p=p,
        artifact=outcomes.artifact,
        verdict=INCOMPARABLE if other else None,
        why=other,
    )


def arrow(printed: Number, measures: Measures) -> Evidence:
    """The difference that the arrow beside a number stands for."""
    return gain([_pair(printed, measures)], measures)


def contrast(printed: Number, measures: Measures) -> Evidence:
    """The difference from the number that a table shows for comparison, without an arrow."""
    if _known(printed.measure).kind not in ("tokens", "comments"):
        return gain([_pair(printed, measures)], measures)
    assert printed.contrast is not None
    (share, name), (other, _) = measures.type_share(printed), measures.type_share(number(printed.contrast))
    return _of_shares(share, other, name, "two intervals")


def _known(measure: Measure | None) -> Measure:
    if measure is None:
        raise NotRun("this study measures no such number")
    return measure


def _pair(printed: Number, measures: Measures) -> tuple[Outcomes, Outcomes]:
    """The outcomes that an arrow or a contrast compares."""
    against = printed.against or printed.contrast
    other = printed.rival or (number(against).measure if against else None)
    measure, other = _known(printed.measure), _known(other)
    return measures.outcomes(measure), measures.outcomes(other)


# --- differences ------------------------------------------------------------------------------------------------------


def gain(pairs: Pairs, measures: Measures, over: float = 0.0) -> Evidence:
    """By how many points a beats b, paired by problem, averaged over the pairs (a, b).

    over: in points; the test asks whether the gain is above it.
    """
    # 0. Nothing can differ where both sides are greedy decoding.
    idle = sum(a.greedy and b.greedy for a, b in pairs)
    if idle == len(pairs):
        return Evidence(0.0, n=len(pairs[0][0].problems), artifact=pairs[0][0].artifact, verdict=UNTESTED, why=IDLE)

    # 1. Differences by problem. A problem in several pairs counts once, with its mean: its outcomes go together.
    parts = [_differences(a, b) for a, b in pairs]
    frame = pd.DataFrame(
        {
            "problem": [problem for a, _ in pairs for problem in a.problems],
            "difference": np.concatenate([part.mean(0) for part in parts]),
        }
    )
    by_problem = pd.Series(frame.groupby("problem", sort=False)["difference"].mean())
    values, clusters = _units(by_problem, measures)
    interval = difference_interval(values, clusters, trainings=_trainings(pairs))
    value, low, high = percentages(interval)

    # 2. The test. Each difference is of two right or wrong outcomes only in a single pair without further trainings.
    seeds = max(len(part) for part in parts)
    binary = len(pairs) == 1 and seeds == 1 and not over and all(_is_binary(x.values) for x in pairs[0])
    test = s.paired_test(values - over / 100, clusters, binary=binary)
    name, smallest = test.name, 100 * (float(interval.high - interval.low) / 2)
    if name == s.EXACT:
        name = f"{s.EXACT}, {test.only_a} against {test.only_b}"
        smallest = 100 * _smallest_gain(len(values), int((values != 0).sum()))

    if len(pairs) > 1:
        name += f", {POOLED.format(len(pairs))}"

    # 3. Do all trainings have the same sign? A pair with fewer trainings than another repeats them.
    by_seed = [np.mean([part[r % len(part)].mean() for part in parts]) - over / 100 for r in range(seeds)]
    agree = not min(by_seed) < 0 < max(by_seed)
    return Evidence(
        value,
        low,
        high,
        n=len(values),
        seeds=seeds,
        test=name,
        p=test.p,
        smallest=smallest,
        agree=agree,
        artifact=pairs[0][0].artifact,
        why=f"in {idle} of {len(pairs)} comparisons {IDLE}" if idle else "" if values.any() else ALIKE,
        broken=", ".join(dict.fromkeys(loser.artifact for loser in map(_loser, pairs) if loser.broken)),
        compared=(pairs[0][0].artifact, pairs[0][1].artifact) if len(pairs) == 1 and not over else None,
    )


def _loser(pair: tuple[Outcomes, Outcomes]) -> Outcomes:
    """The side that is right less often."""
    return min(pair, key=lambda side: float(side.values.mean()))


def _trainings(pairs: Pairs) -> list[Floats]:
    """Of each side, the mean of each training (R,) over the pairs. A pair with fewer trainings repeats them."""
    means = []
    for side in range(2):
        count = max(len(pair[side].values) for pair in pairs)
        by_pair = [pair[side].values.mean(1)[np.arange(count) % len(pair[side].values)] for pair in pairs]
        means.append(np.mean(by_pair, axis=0))
    return means


def _differences(a: Outcomes, b: Outcomes) -> Floats:
    """(R, P) a − b by training of the one that has more, against the mean over the other's trainings."""
    place = {problem: i for i, problem in enumerate(b.problems)}
    if set(place) != set(a.problems):
        raise ValueError(f"claims: {a.artifact} and {b.artifact} are of different problems; make them anew")
    other = b.values[:, [place[problem] for problem in a.problems]]
    if len(a.values) >= len(other):
        return a.values - other.mean(0)
    return a.values.mean(0) - other


def _units(by_problem: pd.Series, measures: Measures) -> tuple[Floats, list[str] | None]:
    """(P,) values and their clusters. Independent problems go in the order of their names, so that random draws do not
    depend on the order of a table.
    """
    clusters = measures.clusters(by_problem.index)
    ordered = by_problem.sort_index() if clusters is None else by_problem
    return ordered.to_numpy(np.float64), clusters


def _is_binary(values: Floats) -> bool:
    return bool(np.isin(values, (0, 1)).all())


def _smallest_gain(problems: int, discordant: int) -> float:
    """The smallest significant gain (a share of problems), given on how many problems a and b differ."""
    smallest = s.smallest_gain(problems, discordant / problems)
    if np.isnan(smallest) and problems >= _FEWEST:
        return _FEWEST / problems
    return smallest


def _of_shares(a: s.Interval, b: s.Interval, artifact: str, test: str) -> Evidence:
    """a − b of two shares that come with intervals, as if they were independent."""
    difference, p = s.difference_of_shares(a, b)
    value, low, high = percentages(difference)
    return Evidence(value, low, high, test=test, p=p, smallest=(high - low) / 2, artifact=artifact)


def _against_bound(share: s.Interval, over: float, artifact: str) -> Evidence:
    """A share, tested against a bound in percent."""
    evidence = _of_shares(share, _exactly(over), artifact, _BY_PROBLEM)
    value, low, high = percentages(share)
    return replace(evidence, value=value, low=low, high=high)


def _exactly(percent: float) -> s.Interval:
    """A share in percent as an interval without width."""
    return s.Interval(*[percent / 100] * 3)


# --- statements -------------------------------------------------------------------------------------------------------


def prose(statement: Statement, measures: Measures) -> Evidence:
    """The evidence for a statement, by the kind of comparison that it asks for."""
    match compare := statement.compare:
        case None:
            raise NotRun("this study has no test of it")
        case Pool():
            return _pool(compare, measures)
        case All():
            return Evidence(np.nan)  # `asprm.claims` draws it from the verdicts of other claims
        case Best():
            return _best(compare, measures)
        case Share():
            share, name = measures.token_share(compare.a[0], compare.row)
            return _against_bound(share, compare.over, name)
        case Saving():
            a, b = (measures.run.profile.plays(name) for name in (compare.a, compare.b))
            share = costs.saving(measures.run, a, b, compare.count)
            table = costs.labels_of(measures.run, a)[0]
            return _against_bound(share, compare.over, names.labels(table.policy, table.method))
        case OfPolicy(kind="confidence"):
            return _confidence(measures.run.profile.plays(compare.policy), measures)
        case OfPolicy():
            return _harder(measures.run.profile.plays(compare.policy), measures)
        case Types():
            return _types(compare, measures)
        case Chance():
            return _chance(statement)
        case Outside():
            return Evidence(np.nan, verdict=INCOMPARABLE, why=compare.why)


def _pool(compare: Pool, measures: Measures) -> Evidence:
    """The mean gain over several comparisons."""
    if compare.of:
        pairs = [_pair(number(other), measures) for other in compare.of]
    else:
        pairs = [(measures.outcomes(a), measures.outcomes(b)) for a, b in zip(compare.a, compare.b, strict=True)]
    return gain(pairs, measures, compare.over)


def _best(compare: Best, measures: Measures) -> Evidence:
    """The first against each of the others. It is the best only if it beats them all, and is not as soon as one beats
    it, so that the largest p counts in the first case, and the smallest, corrected, in the second.
    """
    first, *others = ([measures.outcomes(measure) for measure in group] for group in compare.of)
    gains = [gain(list(zip(first, other, strict=True)), measures) for other in others]
    least = min(gains, key=lambda evidence: evidence.value)
    p = max(evidence.p for evidence in gains) if least.value > 0 else min(1.0, len(gains) * least.p)
    rival = compare.of[1 + gains.index(least)][0].prm
    return replace(least, p=p, why=f"nearest rival {rival}", agree=all(evidence.agree for evidence in gains))


def _confidence(policy: str, measures: Measures) -> Evidence:
    """Mean confidence of tokens that end a line less that of all others, by problem."""
    run, name = measures.run, names.samples(policy, "train")
    samples = run.read(name, ["problem", "confidences"]).to_pydict()
    ends = run.read(names.step_ends(policy, "line"), ["ends"])["ends"].to_pylist()
    # By problem: sum and number of confidences at line ends, sum and number of all others.
    sums: dict[str, NDArray] = {}
    for problem, confidences, step_ends in zip(samples["problem"], samples["confidences"], ends, strict=True):
        every = np.asarray(confidences)
        lines = every[np.asarray(step_ends[:-1], int) - 1]  # the last step ends with the text, not with a line
        count = sums.setdefault(problem, np.zeros(4))
        count += lines.sum(), len(lines), every.sum() - lines.sum(), len(every) - len(lines)
    lines, n_lines, others, n_others = np.array([count for count in sums.values() if count[1] and count[3]]).T
    values = lines / n_lines - others / n_others
    interval = difference_interval(values)
    value, low, high = percentages(interval)
    test = s.paired_test(values, binary=False)
    smallest = 50 * float(interval.high - interval.low)
    return Evidence(value, low, high, len(values), 1, test.name, test.p, smallest, artifact=name)


def _harder(policy: str, measures: Measures) -> Evidence:
    """Spearman's correlation, in percent, between the share of wrong solutions and the mean number of steps."""
    run, name = measures.run, names.step_ends(policy, "adaptive")
    frame = run.read(names.samples(policy, "train"), ["problem", "correct", "count"]).to_pandas()
    frame["steps"] = [len(ends) for ends in run.read(name, ["ends"])["ends"].to_pylist()]
    frame[["wrong", "steps"]] = frame[["count"]].to_numpy() * np.stack([~frame["correct"], frame["steps"]], 1)
    sums = frame.groupby("problem")[["wrong", "steps", "count"]].sum()
    wrong, steps = (sums[column] / sums["count"] for column in ("wrong", "steps"))
    if wrong.nunique() < 2 or steps.nunique() < 2:
        raise NotRun("no two problems differ in how often they are solved, or in their steps")
    correlation: Any = spearmanr(wrong, steps)
    rho, p, problems = float(correlation.statistic), float(correlation.pvalue), len(sums)
    half = norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / (problems - 3))  # Bonett and Wright
    low, high = np.tanh(np.arctanh(rho) + np.array([-half, half]))
    smallest = 100 * np.tanh(half)
    return Evidence(100 * rho, 100 * low, 100 * high, problems, 1, "Spearman", p, smallest, artifact=name)


def _types(compare: Types, measures: Measures) -> Evidence:
    """How many of a table's types of token have decision tokens. One that has none may only be rare."""
    shares = {
        printed.row[-1]: measures.type_share(printed)
        for printed in load_claims()
        if isinstance(printed, Number) and printed.table == compare.table and printed.measure
        if printed.measure.column == "decision_share"
    }
    absent = [label for label, (share, _) in shares.items() if not share.value]
    why = f"none is of type {', '.join(absent)}" if absent else "all types occur"
    verdict = "inconclusive" if absent else "reproduced"
    present = 100 * (len(shares) - len(absent)) / len(shares)
    return Evidence(present, artifact=next(iter(shares.values()))[1], verdict=verdict, why=why, test="count")


def _chance(statement: Statement) -> Evidence:
    """Of the paper's gains that a statement rests on, the share that no exact McNemar test could call significant."""
    could = [other for other in statement.rests_on if papers_discordance(number(other))]
    share = 100 * (1 - len(could) / len(statement.rests_on))
    verdict = "opposite" if could else "reproduced"
    return Evidence(share, verdict=verdict, why="computed from the paper's numbers", test=s.EXACT)


def papers_discordance(printed: Number) -> int:
    """On how many problems the two sides of an arrow of the paper may differ at most, so that exact McNemar calls the
    paper's own difference significant; 0: it never can be.
    """
    assert printed.against is not None
    assert printed.n is not None
    gained = round((printed.value - paper(printed.against)) * printed.n / 100)
    return s.most_discordance(printed.n, gained)
