"""Generalize: how reward models do with data, policies, positions and problems that are not their own (stage 9).

Paper §4.3 and Tables 2 to 6, the threshold sweep, and whether harder problems are split more. Reads tables of earlier
stages, computes shares with intervals and paired differences. No model is run here. Several trainings of one reward
model (seeds) count as one: a problem's outcome is the mean of theirs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from asprm import statistics as s
from asprm.best_of_n import chosen
from asprm.problems.sets import templates, test_sets
from asprm.results import selection
from asprm.results.candidates import candidates
from asprm.run.names import GREEDY, Method
from asprm.run.open import Run

OWN = "own steps"  # in the way of the steps that a reward model learned from
POSITIONS = {OWN: "", "confidence": "@confidence", "line break": "@line"}  # and "random", the mean over several seeds


def best_of_n(run: Run, prm: str, policy: str, name: str, position: str = OWN) -> pd.DataFrame:
    """(P, trainings) the probability that Best-of-N is right, one row a problem, one column a training of `prm`.

    N is `sample.candidates`. position: where candidates are rated, one of POSITIONS, or "random".
    MissingArtifact: that reward model did not rate this policy's candidates there.
    """
    columns = {}
    count = run.profile.best_of_n.random
    suffixes = [f"@random{k}" for k in range(count)] if position == "random" else [POSITIONS[position]]
    for artifact in run.profile.trainings(prm, policy):
        found = []
        for suffix in suffixes:
            c = candidates(run.read(f"best_of_n/{artifact}/{policy}-{name}{suffix}"))
            chosen = selection.best_of_n(c.scores(run.profile.best_of_n.aggregate), c.correct, c.correct.shape[1])
            found.append(pd.Series(np.ravel(chosen), c.problems))
        columns[artifact] = pd.concat(found, axis=1).mean(axis=1)
    return pd.DataFrame(columns)


def guided(run: Run, prm: str, policy: str, name: str) -> pd.Series:
    """Which problems guided decoding solves, at the trigger that was chosen for `prm` on validation problems."""
    trigger = run.read_json(f"tvd/{prm}/{policy}")["trigger"]
    frame = run.read(f"tvd/{prm}/{policy}-{name}").to_pandas()
    return frame[frame["trigger"] == trigger].set_index("problem")["correct"].astype(float)


def greedy(run: Run, policy: str, name: str) -> pd.Series:
    """Which problems greedy decoding solves."""
    frame = run.read(f"sample/{policy}/{name}{GREEDY}", ["problem", "correct"]).to_pandas()
    return frame.set_index("problem")["correct"].astype(float)


def results(run: Run) -> pd.DataFrame:
    """Every reward model on every policy's test sets, at every rating position: one row each.

    Columns: prm, policy, set, position, problems, trainings; bon with low and high (95 %, over problems) and with the
    worst and best training; greedy; where the reward model also guided decoding: tvd, tvd_low, tvd_high, trigger.
    Shares, not percent.
    """
    rows = []
    for policy, source in run.profile.policies.items():
        tests = test_sets(run.profile, source.domain)
        for prm in run.profile.best_of_n.score.get(policy, ()):
            own = run.profile.reward_models[prm].base == policy
            places = [OWN, *(["confidence", "line break", "random"] if own else [])]
            rows += [_result(run, prm, policy, name, place) for name in tests for place in places]
    return pd.DataFrame(rows)


def _result(run: Run, prm: str, policy: str, name: str, position: str) -> dict[str, object]:
    outcome = best_of_n(run, prm, policy, name, position)
    over = _clusters(run, name, tuple(outcome.index))
    bon = mean_of(outcome.mean(axis=1), over, run)
    row = {"prm": prm, "policy": policy, "set": name, "position": position, "problems": len(outcome)}
    row |= {"trainings": outcome.shape[1], "bon": bon.value, "low": bon.low, "high": bon.high}
    row |= {"worst": outcome.mean().min(), "best": outcome.mean().max(), "greedy": greedy(run, policy, name).mean()}
    if position == OWN and prm in run.profile.tvd.guide.get(policy, ()):
        tvd = mean_of(guided(run, prm, policy, name), over, run)
        row |= {"tvd": tvd.value, "tvd_low": tvd.low, "tvd_high": tvd.high}
        row["trigger"] = run.read_json(f"tvd/{prm}/{policy}")["trigger"]
    return row


def mean_of(outcome: pd.Series, clusters: np.ndarray | None, run: Run) -> s.Interval:
    """The share of problems solved, with its interval."""
    return s.bootstrap_mean(
        outcome.to_numpy(float), clusters, resamples=run.profile.generalize.resamples, seed=run.seed
    )


def paired(run: Run, a: pd.Series, b: pd.Series, name: str) -> s.Comparison:
    """Two ways on the same problems of the set `name`, paired. ValueError: not the same problems."""
    if set(a.index) != set(b.index):
        raise ValueError(f"generalize: {len(a)} and {len(b)} problems of {name}, and not the same ones")
    over = _clusters(run, name, tuple(a.index))
    options = {"resamples": run.profile.generalize.resamples, "seed": run.seed}
    return s.compare(a.to_numpy(), b.loc[a.index].to_numpy(), over, **options)


def _clusters(run: Run, name: str, problems: tuple[str, ...]) -> np.ndarray | None:
    """The templates of the problems of a set that is resampled by them."""
    found = templates(run.profile, name)
    return found and np.array([found[problem] for problem in problems])


def transfer(run: Run, found: pd.DataFrame, other: str, own: str) -> pd.DataFrame:
    """The reward model `other` against `own` wherever both rate a policy's candidates: differences, paired by problem.

    found: from `results`. Rows: policy, set, way (Best-of-N or TVD), both shares, difference with interval, p of
    `asprm.statistics.compare`.
    """
    rows = []
    own_steps = found[found["position"] == OWN]
    for policy, name in own_steps[own_steps["prm"] == other][["policy", "set"]].itertuples(index=False):
        both = own_steps[(own_steps["policy"] == policy) & (own_steps["set"] == name)].set_index("prm")
        if own not in both.index:
            continue
        bon = [best_of_n(run, prm, policy, name).mean(axis=1) for prm in (other, own)]
        rows.append({"policy": policy, "set": name, "way": "Best-of-N"} | _difference(run, *bon, name))
        if "tvd" in both and both.loc[[other, own], "tvd"].notna().all():
            decoded = [guided(run, prm, policy, name) for prm in (other, own)]
            rows.append({"policy": policy, "set": name, "way": "TVD"} | _difference(run, *decoded, name))
    return pd.DataFrame(rows)


def against_greedy(run: Run, found: pd.DataFrame, prm: str, names: list[str]) -> pd.DataFrame:
    """Best-of-N and TVD by `prm` against greedy decoding on the sets `names`, paired; rows as those of `transfer`."""
    rows = []
    for row in found[(found["prm"] == prm) & (found["position"] == OWN)].to_dict("records"):
        if row["set"] in names:
            base = greedy(run, row["policy"], row["set"])
            ways = {"Best-of-N": best_of_n(run, prm, row["policy"], row["set"]).mean(axis=1)}
            if not np.isnan(row.get("tvd", np.nan)):
                ways["TVD"] = guided(run, prm, row["policy"], row["set"])
            rows += [
                {"policy": row["policy"], "set": row["set"], "way": way} | _difference(run, outcome, base, row["set"])
                for way, outcome in ways.items()
            ]
    return pd.DataFrame(rows)


def corrected(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `transfer` or `against_greedy`, with Holm's p for all of them as one table."""
    return rows.assign(**{"p (Holm)": s.holm(rows["p"])}) if len(rows) else rows


def _difference(run: Run, a: pd.Series, b: pd.Series, name: str) -> dict[str, float]:
    found = paired(run, a, b, name)
    return {"this": found.a, "other": found.b, "difference": found.difference, "low": found.low, "high": found.high,
            "p": found.p}  # fmt: skip


def chosen_ones(run: Run) -> pd.DataFrame:
    """Of each policy's first test set, what the candidates are like that each reward model chooses.

    Columns: policy, reward model; gain over a lot (how much more often the chosen one is right than a candidate drawn
    by lot), low, high; and of `asprm.best_of_n.chosen` shorter, all_shorter, longer, all_longer. Shares.
    """
    rows = []
    for policy, source in run.profile.policies.items():
        name = next(iter(test_sets(run.profile, source.domain)))
        ids = run.read(f"sample/{policy}/{name}", ["problem", "solution", "ids"]).to_pandas()
        lengths = ids.set_index(["problem", "solution"])["ids"].map(len)
        for prm in run.profile.best_of_n.score.get(policy, ()):
            if prm.startswith("sweep"):
                continue
            best = chosen(run.read(f"best_of_n/{prm}/{policy}-{name}"), lengths, run.profile.best_of_n.aggregate)
            gain = mean_of(best["right"] - best["all_right"], None, run)
            like = best[["shorter", "all_shorter", "longer", "all_longer"]].mean().to_dict()
            gained = {"gain over a lot": gain.value, "low": gain.low, "high": gain.high}
            rows.append({"policy": policy, "reward model": prm} | gained | like)
    return pd.DataFrame(rows)


def sweep(run: Run, found: pd.DataFrame, policy: str) -> pd.DataFrame:
    """Best-of-N by the share of tokens below the threshold that the reward model's steps were cut at.

    Rows: share, set, bon, low, high, trainings. All rate candidates at the same places,
    the decision tokens of the study's own share.
    """
    own = run.profile.threshold.share
    shares = {}
    for prm, model in run.profile.reward_models.items():
        if model.base == policy and model.data == (f"{policy}/{model.rates}",) and model.rates.kind == "adaptive":
            shares[prm] = model.rates.share or own
    rows = found[(found["policy"] == policy) & (found["position"] == OWN) & found["prm"].isin(shares)]
    columns = ["share", "prm", "set", "bon", "low", "high", "trainings"]
    return rows.assign(share=rows["prm"].map(shares)).sort_values(["set", "share"])[columns]


def splits_by_difficulty(run: Run, policy: str, groups: int = 4) -> pd.DataFrame:
    """Are harder problems split more? Decision tokens per solution and per token, by how often a problem is solved.

    Training samples of the policy, problems in `groups` of equal size from the hardest on. Columns: solved (mean share
    of samples right), steps, low, high (decision tokens per solution, 95 % over problems), per_token.
    """
    tau = run.read_json(f"threshold/{policy}")["tau"]
    frame = run.read(f"sample/{policy}/train", ["problem", "confidences", "correct", "count"]).to_pandas()
    frame["steps"] = [int((row < tau).sum()) for row in frame["confidences"]]
    frame["tokens"] = frame["confidences"].map(len)
    for column in ("correct", "steps", "tokens"):
        frame[column] = frame[column] * frame["count"]
    by = frame.groupby("problem")[["correct", "steps", "tokens", "count"]].sum()
    by["solved"] = by["correct"] / by["count"]
    by["mean steps"] = by["steps"] / by["count"]
    ordered = by.sort_values("solved", kind="stable")
    rows = []
    for some in np.array_split(np.arange(len(ordered)), groups):
        part = ordered.iloc[some]
        steps = mean_of(part["mean steps"], None, run)
        rows.append((part["solved"].mean(), *steps, part["steps"].sum() / part["tokens"].sum()))
    return pd.DataFrame(rows, columns=["solved", "steps", "low", "high", "per_token"])


def training_data(run: Run) -> pd.DataFrame:
    """What each reward model learns from (paper Figure 6): one row per table of labels that is not of the sweep.

    Columns: prm, data, solutions, steps (mean per solution), tokens_per_step, length (mean tokens per solution), each
    mean with its 95 % interval over problems (…_low, …_high). Tokens are the policy's own (paper: Mistral's).
    """
    rows, seen = [], set()
    own = {prm: model for prm, model in run.profile.reward_models.items() if len(model.data) == 1}
    for prm, model in own.items():
        [table] = model.data
        if table in seen or Method.parse(table.partition("/")[2]).share is not None:
            continue
        seen.add(table)
        labels = run.read(f"rollout/{table}", ["problem", "solution", "end"]).to_pandas()
        each = labels.groupby(["problem", "solution"], sort=False)["end"].agg(steps="size", length="max")
        by = each.groupby("problem").agg(steps=("steps", "sum"), length=("length", "sum"), count=("steps", "size"))
        options = {"resamples": run.profile.generalize.resamples, "seed": run.seed}
        ratios = {"steps": ("steps", "count"), "tokens_per_step": ("length", "steps"), "length": ("length", "count")}
        row = {"prm": prm, "data": table, "solutions": len(each)}
        above, below = (by[list(some)].to_numpy(float) for some in zip(*ratios.values(), strict=True))
        found = s.bootstrap_ratio(above, below, **options)
        for name, value, low, high in zip(ratios, *found, strict=True):
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)
