"""Quantities: the numbers that a chapter reports, one row each, in the paper's own words for policies and sets.

Every run has them, so that pages can show runs side by side (`asprm.site.beside`): a policy or reward model goes by
the name of the one of the paper whose part it plays (`cast` of the profile), a published test set by the family
that stands for it. All functions raise MissingArtifact where the run lacks a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from asprm import best_of_n, tvd
from asprm import statistics as s
from asprm.generalize import paired, solved
from asprm.intervals import Interval, share_interval
from asprm.models.load import load_tokenizer
from asprm.problems.load import PAPERS
from asprm.problems.sets import has_rivals, knows_truth, test_sets
from asprm.results import costs, outcomes, selection
from asprm.results.candidates import candidates
from asprm.results.measures import NotRun
from asprm.results.outcomes import Outcomes
from asprm.run import names
from asprm.run.open import Run
from asprm.split import split_table
from asprm.truth import SAMPLED

SHARE, POINTS, PLAIN = "share", "points", "plain"
"""Units: a share in [0, 1], a difference of shares, and any other number."""
GREEDY, SINGLE, MAJORITY = "greedy decoding", "single sample", "majority vote"
BEST, GUIDED = "Best-of-N", "guided decoding"
OVER_SINGLE, OVER_GREEDY = ", gain over a single sample", ", gain over greedy decoding"
"""Ends of the names of differences, after BEST or GUIDED."""
AT = ", rated at "
"""Between BEST and a rating position."""
TOKEN_SHARES = {"share": "of all tokens", "decision_share": "of decision tokens"}
"""Columns of the tables of token types, in words."""


class Quantity(NamedTuple):
    """One number of one policy. set, prm: "" where it has none. p: of a difference that the chapter tests, corrected by
    Holm's method with the chapter's other tests of the policy, else NaN.
    """

    what: str
    unit: str
    value: float
    low: float = np.nan
    high: float = np.nan
    set: str = ""
    prm: str = ""
    p: float = np.nan


def quantities(run: Run, stage: str, policy: str) -> pd.DataFrame:
    """What the chapter of a stage reports of a policy, one row each: policy, then the fields of `Quantity`.

    stage: a key of STAGES. An interval covers 95 %, over problems and trainings; NaN where there is none.
    """
    parts = {name: part for part, name in run.profile.cast.items()}
    families = {published: family for family, published in PAPERS.items()}
    rows = [
        row._replace(set=families.get(row.set, row.set), prm=parts.get(row.prm, row.prm))
        for row in STAGES[stage](run, policy)
    ]
    frame = pd.DataFrame(rows, columns=list(Quantity._fields))
    frame.insert(0, "policy", parts.get(policy, policy))
    return frame


def all_quantities(run: Run) -> pd.DataFrame:
    """`quantities` of every stage and policy, with the stage in front."""
    parts = [quantities(run, stage, policy).assign(stage=stage) for stage in STAGES for policy in run.profile.policies]
    return pd.concat(parts, ignore_index=True).loc[:, ["stage", "policy", *Quantity._fields]]


# --- of each stage ----------------------------------------------------------------------------------------------------


def _sample(run: Run, policy: str) -> Iterator[Quantity]:
    for name in test_sets(run.profile, run.profile.policies[policy].domain):
        for what, outcome in _without_rewards(run, policy, name).items():
            yield Quantity(what, SHARE, *solved(run, outcome, name), set=name)
    train = run.read(names.samples(policy, "train"), ["problem", "ids", "finished", "count"]).to_pandas()
    each = {"problems": train["problem"], "weights": train["count"]}
    yield Quantity("tokens per solution", PLAIN, *_mean_of(train["ids"].map(len), **each))
    yield Quantity("cut at the length limit", SHARE, *_share_of(~train["finished"], **each))


def _without_rewards(run: Run, policy: str, name: str) -> dict[str, Outcomes]:
    """Outcomes on one test set by the ways that need no reward model. The vote is of all N candidates."""
    table = run.read(names.samples(policy, name)).to_pandas()
    table = table.loc[table.index.repeat(table["count"])].assign(scores=[[0.0]] * int(table["count"].sum()))
    table["solution"] = table.groupby("problem", sort=False).cumcount()
    c = candidates(table)
    most = c.correct.shape[1]
    ways = {
        SINGLE: c.correct.mean(1),
        MAJORITY: selection.majority_vote(c.answers, c.correct, most),
        "one of N right": selection.pass_at_k(c.correct, most),
    }
    artifact = names.samples(policy, name)
    found = {GREEDY: outcomes.greedy(run, policy, name)}
    return found | {way: Outcomes(tuple(c.problems), values[None], artifact) for way, values in ways.items()}


def _threshold(run: Run, policy: str) -> Iterator[Quantity]:
    fitted = run.read_json(names.threshold(policy))
    yield Quantity("threshold τ", PLAIN, fitted["tau"], fitted["low"], fitted["high"])
    line, other = [], []
    samples = run.read(names.samples(policy, "train"))
    ends = split_table(samples, "line", load_tokenizer(run.policy_path(policy)))["ends"]
    for problem, row, cut in zip(samples["problem"].to_pylist(), samples["confidences"], ends, strict=True):
        confidences = np.asarray(row.values)
        is_line = np.zeros(len(confidences), bool)
        is_line[np.asarray(cut.values)[:-1] - 1] = True  # the last step ends with the text, not with a line
        line += [(problem, x) for x in confidences[is_line]]
        other += [(problem, x) for x in confidences[~is_line]]
    for what, rows in (("at line breaks", line), ("at other tokens", other)):
        if rows:
            frame = pd.DataFrame(rows, columns=["problem", "confidence"])
            yield Quantity(f"mean confidence {what}", PLAIN, *_mean_of(frame["confidence"], frame["problem"]))
            below = frame["confidence"] < fitted["tau"]
            yield Quantity(f"below τ {what}", SHARE, *_share_of(below, frame["problem"]))


def _methods(run: Run, policy: str) -> list[str]:
    """The ways to split the policy's solutions, without other shares of the same way."""
    return [method for method in run.profile.methods(policy) if names.Method.parse(method).share is None]


def _split(run: Run, policy: str) -> Iterator[Quantity]:
    samples = run.read(names.samples(policy, "train"), ["problem", "ids"]).to_pandas()
    lengths = samples["ids"].map(len).to_numpy()
    for split in dict.fromkeys(names.Method.parse(method).split for method in _methods(run, policy)):
        steps = run.read(names.step_ends(policy, split), ["ends"])["ends"].to_pandas().map(len).to_numpy()
        yield Quantity(f"steps per solution, {split}", PLAIN, *_mean_of(steps, samples["problem"]))
        ratio = s.bootstrap_ratio(*_sums(samples["problem"], lengths, steps), resamples=_RESAMPLES)
        yield Quantity(f"tokens per step, {split}", PLAIN, *ratio)


def _rollout(run: Run, policy: str) -> Iterator[Quantity]:
    for method in _methods(run, policy):
        labels = run.read(names.labels(policy, method)).to_pandas()
        yield Quantity(f"mean label, {method}", PLAIN, *_mean_of(labels["label"], labels["problem"]))
        inner = labels[labels["step"] < labels.groupby(["problem", "solution"])["step"].transform("max")]
        if inner.empty:  # whole solutions: nothing is continued
            continue
        ran = inner["rollouts"].where(inner["tokens"] > 0, 0)
        yield Quantity(f"rollouts run per step, {method}", PLAIN, *_mean_of(ran, inner["problem"]))
        solutions = labels.groupby("problem")["solution"].nunique()
        tokens = labels.groupby("problem")["tokens"].sum()
        ratio = s.bootstrap_ratio(tokens, solutions, resamples=_RESAMPLES)
        yield Quantity(f"rollout tokens per solution, {method}", PLAIN, *ratio)


def _prm(run: Run, policy: str) -> Iterator[Quantity]:
    for name in run.profile.trained_on(policy):
        logs = [run.read(names.training_log(training)).to_pandas() for training in run.profile.seeds_of(name)]
        best = [log.loc[log["validation_loss"].idxmin()] for log in logs if log["validation_loss"].notna().any()]
        for column, what in (("validation_auc", "AUC on held-out steps"), ("validation_accuracy", "right side of ½")):
            values = [float(row[column]) for row in best]
            if values:
                yield Quantity(what, PLAIN, float(np.mean(values)), min(values), max(values), prm=name)


def _best_of_n(run: Run, policy: str) -> Iterator[Quantity]:
    profile, raters = run.profile, run.profile.best_of_n.score.get(policy, ())
    own = profile.prm_of(policy) if raters else ""
    tested: Any = best_of_n.gains(run, policy, own).to_dict("records") if own in raters else []
    rows = {(row["problems"], row["against"]): row for row in tested}
    for name in test_sets(profile, profile.policies[policy].domain):
        single = outcomes.single_sample(run, policy, name)
        for prm in raters:
            best = outcomes.best_of_n(run, prm, policy, name)
            yield Quantity(BEST, SHARE, *solved(run, best, name), set=name, prm=prm)
            if prm == own:
                for over, rival in ((OVER_SINGLE, "single sample"), (OVER_GREEDY, "greedy")):
                    row = rows[name, rival]
                    gain = row["difference"], row["low"], row["high"]
                    yield Quantity(BEST + over, POINTS, *gain, set=name, prm=prm, p=row[s.HOLM])
            else:
                pair = paired(run, best, single, name)
                gain = pair.difference, pair.low, pair.high
                yield Quantity(BEST + OVER_SINGLE, POINTS, *gain, set=name, prm=prm)


def _tvd(run: Run, policy: str) -> Iterator[Quantity]:
    guides = run.profile.tvd.guide.get(policy, ())
    table: Any = tvd.gains(run, policy, guides) if guides else pd.DataFrame()
    for (prm, name), row in table.to_dict("index").items():
        yield Quantity(GUIDED, SHARE, *solved(run, outcomes.guided(run, prm, policy, name), name), set=name, prm=prm)
        gain = row["difference"], row["low"], row["high"]
        yield Quantity(GUIDED + OVER_GREEDY, POINTS, *gain, set=name, prm=prm, p=row[s.HOLM])
    for prm in guides:
        yield Quantity("trigger", PLAIN, outcomes.chosen_trigger(run, prm, policy), prm=prm)


def _generalize(run: Run, policy: str) -> Iterator[Quantity]:
    """Best-of-N by every reward model at every rating position, without the sweep."""
    rows: Any = run.read(names.RESULTS).to_pandas().query("policy == @policy").to_dict("records")
    for row in rows:
        if row["prm"] not in run.profile.of_role("sweep"):
            found = row["bon"], row["low"], row["high"]
            yield Quantity(f"{BEST}{AT}{row['position']}", SHARE, *found, set=row["set"], prm=row["prm"])


def _truth(run: Run, policy: str) -> Iterator[Quantity]:
    """Where errors of sampled solutions enter, and how well the first error is found."""
    if not knows_truth(run.profile, policy):
        return
    entry, found = (run.read(names.truth(policy, table)).to_pandas() for table in ("entry", "first-error"))
    rows: Any = entry.loc[entry["texts"] == SAMPLED].to_dict("records")
    for row in rows:
        yield Quantity(f"errors that enter at {row['method']}", SHARE, *_estimate(row, "recall"))
    rows = found.to_dict("records")
    for row in rows:
        yield Quantity(f"F1 of the first error, by {row['by']}", SHARE, *_estimate(row, "f1"))


def _tokens(run: Run, policy: str) -> Iterator[Quantity]:
    tables = [names.token_types(policy)]
    if run.profile.policies[policy].domain == "code":
        tables.append(names.token_places(policy))
    for name in tables:
        frame = run.read(name).to_pandas()
        for row in frame.to_dict("records"):
            label = row[frame.columns[0]]
            for column, what in TOKEN_SHARES.items():
                value, low, high = (row[column + end] for end in ("", "_low", "_high"))
                yield Quantity(f"{label}, {what}", SHARE, value, low, high)


def _claims(run: Run, policy: str) -> Iterator[Quantity]:
    """What labels cost against those of the policy's baselines."""
    profile = run.profile
    for rival in profile.of_role("baseline"):
        if profile.reward_models[rival].base != policy:
            continue
        for count, words in costs.COUNTS.items():
            try:
                saved = costs.saving(run, profile.prm_of(policy), rival, count)
            except NotRun:
                continue
            yield Quantity(f"saved: {words}", SHARE, *saved, prm=rival)


def _rivals(run: Run, policy: str) -> Iterator[Quantity]:
    """What each contest found, of the policy that has them."""
    if not has_rivals(run.profile) or policy != next(iter(run.profile.policies)):
        return
    rows: dict[str, Any] = {
        name: run.read(names.rivals(policy, name)).to_pandas().to_dict("records") for name in names.RIVALS
    }
    for row in rows["steps"]:
        kind = f"steps end at: {row['kind']}"
        yield Quantity(f"{BEST}, {kind}", SHARE, *_estimate(row, "bon"))
        if row["gain"] == row["gain"]:
            yield Quantity(f"{BEST}, {kind}, gain", POINTS, *_estimate(row, "gain"), p=row[s.HOLM])
        yield Quantity(f"wrong labels, {kind}", SHARE, *_estimate(row, "wrong"))
    for row in rows["tokens"]:
        if row["recall"] == row["recall"]:
            yield Quantity(f"{row['wanted']} marked by {row['by']}", SHARE, *_estimate(row, "recall"))
    for row in rows["labels"]:
        yield Quantity(f"rollouts run, {row['way']}", SHARE, *_estimate(row, "of_all"))
    for row in rows["noise"]:
        yield Quantity(f"wrong labels, {row['filter']}", SHARE, *_estimate(row, "wrong"))
    for row in rows["search"]:
        if row["gain"] == row["gain"]:
            way = f"{row['way']}, {row['size']}"
            yield Quantity(f"solved by {way}", SHARE, *_estimate(row, "right"))
            yield Quantity(f"gain of {way}", POINTS, *_estimate(row, "gain"), p=row[s.HOLM])
    for row in rows["edits"]:
        yield Quantity(f"{row['edit']}: noticed by {row['by']}", SHARE, *_estimate(row, "noticed"))


_RESAMPLES = 4000


def _estimate(row: Any, name: str) -> tuple[float, float, float]:
    """A value of a row with its interval."""
    return row[name], row[f"{name}_low"], row[f"{name}_high"]


STAGES: dict[str, Callable[[Run, str], Iterator[Quantity]]] = {
    "sample": _sample,
    "threshold": _threshold,
    "split": _split,
    "rollout": _rollout,
    "prm": _prm,
    "best_of_n": _best_of_n,
    "tvd": _tvd,
    "generalize": _generalize,
    "tokens": _tokens,
    "truth": _truth,
    "claims": _claims,
    "rivals": _rivals,
}


# --- means over problems ----------------------------------------------------------------------------------------------


def _share_of(values: Any, problems: Any, weights: Any = None) -> Interval:
    """The share of values that are true; arguments as in `_mean_of`."""
    values = np.asarray(values, float)
    counts = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    return Interval(*map(float, share_interval(*_sums(problems, values * counts, counts))))


def _mean_of(values: Any, problems: Any, weights: Any = None) -> Interval:
    """The mean of amounts, with an interval that resamples problems: a ratio of sums over problems.

    weights: how many equal ones each value stands for; None: one.
    """
    values = np.asarray(values, float)
    counts = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    value, low, high = s.bootstrap_ratio(*_sums(problems, values * counts, counts), resamples=_RESAMPLES)
    return Interval(float(value), float(low), float(high))


def _sums(problems: Any, *columns: Any) -> tuple[np.ndarray, ...]:
    """The sums of each column by problem, in order of first appearance."""
    sums: Any = pd.DataFrame(dict(enumerate(columns))).groupby(np.asarray(problems), sort=False).sum()
    return tuple(sums.to_numpy(float).T)
