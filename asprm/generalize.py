"""Generalize: how reward models do with data, policies, positions and problems that are not their own (stage 9).

Paper §4.3 and Tables 2 to 6, the threshold sweep, and whether harder problems are split more. Reads tables of earlier
stages and computes shares with intervals and paired differences; no model runs here. Several trainings of one reward
model count as one: a problem's outcome is the mean over them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asprm import statistics as s
from asprm.best_of_n import chosen
from asprm.intervals import Interval, difference_interval, share_interval
from asprm.problems.load import domain_of
from asprm.problems.sets import templates, test_sets
from asprm.results import outcomes
from asprm.results.format import one_interval, p_value, percent, points
from asprm.results.outcomes import OWN, POSITIONS, RANDOM, Outcomes
from asprm.run import names
from asprm.run.open import Run


def run_generalize(run: Run) -> list[str]:
    """Evaluate every reward model on every policy's test sets, at every rating position.

    Writes `generalize/results` (see `results`). Returns its name.
    """
    run.write(names.RESULTS, results(run))
    return [names.RESULTS]


def results(run: Run) -> pd.DataFrame:
    """Every reward model on every policy's test sets, at every rating position: one row each.

    Columns: prm, policy, set, position (own steps, confidence, line break or random), problems, trainings; bon with low
    and high (95 %, over problems and trainings) and with the worst and best training; greedy; where the reward model
    also guided decoding: tvd, tvd_low, tvd_high, trigger. Shares, not percent.
    """
    rows = []
    for policy, source in run.profile.policies.items():
        tests = test_sets(run.profile, source.domain)
        for prm in run.profile.best_of_n.score.get(policy, ()):
            is_own = run.profile.reward_models[prm].base == policy
            positions = [*POSITIONS, RANDOM] if is_own else [OWN]
            rows += [_result(run, prm, policy, name, position) for name in tests for position in positions]
    return pd.DataFrame(rows)


def _result(run: Run, prm: str, policy: str, name: str, position: str) -> dict[str, Any]:
    outcome = outcomes.best_of_n(run, prm, policy, name, position)
    bon, by_training = solved(run, outcome, name), outcome.values.mean(1)
    row = {
        "prm": prm,
        "policy": policy,
        "set": name,
        "position": position,
        "problems": len(outcome.problems),
        "trainings": len(by_training),
        "bon": bon.value,
        "low": bon.low,
        "high": bon.high,
        "worst": by_training.min(),
        "best": by_training.max(),
        "greedy": outcomes.greedy(run, policy, name).values.mean(),
    }
    if position == OWN and prm in run.profile.tvd.guide.get(policy, ()):
        tvd = solved(run, outcomes.guided(run, prm, policy, name), name)
        row |= {"tvd": tvd.value, "tvd_low": tvd.low, "tvd_high": tvd.high}
        row["trigger"] = outcomes.chosen_trigger(run, prm, policy)
    return row


# --- intervals and differences ----------------------------------------------------------------------------------------


def solved(run: Run, outcome: Outcomes, name: str) -> Interval:
    """The share of problems of the set `name` that are solved, with its interval over problems and trainings."""
    clusters = outcomes.clusters(templates(run.profile, name) or {}, outcome.problems)
    return share_interval(outcome.mean, clusters=clusters, trainings=[outcome.values.mean(1)])


def paired(run: Run, a: Outcomes, b: Outcomes, name: str) -> s.Comparison:
    """Two ways to solve the problems of the set `name`, paired; not tested where both are greedy decoding.

    ValueError: they are of different problems.
    """
    if set(a.problems) != set(b.problems):
        raise ValueError(
            f"generalize: {a.artifact} and {b.artifact} are of different problems of {name}; make them anew"
        )
    if a.greedy and b.greedy:
        return s.untested(a.values)
    clusters = outcomes.clusters(templates(run.profile, name) or {}, a.problems)
    return s.compare(a.values, b.ordered(a.problems), clusters, **_resampling(run))


def _resampling(run: Run) -> dict[str, int]:
    return {"resamples": run.profile.generalize.resamples, "seed": run.seed}


def _difference(run: Run, a: Outcomes, b: Outcomes, name: str) -> dict[str, float]:
    pair = paired(run, a, b, name)
    return {
        "this": pair.a,
        "other": pair.b,
        "difference": pair.difference,
        "low": pair.low,
        "high": pair.high,
        "p": pair.p,
    }


def against_rival(run: Run, frame: pd.DataFrame, prm: str, rival: str) -> pd.DataFrame:
    """The reward model `prm` against `rival` wherever both rate a policy's candidates, paired by problem.

    frame: from `results`. Columns: policy, set, way (Best-of-N or TVD), this and other (both shares), difference with
    low and high, p of `asprm.statistics.paired_test`.
    """
    own_steps = {(row["prm"], row["policy"], row["set"]): row for row in _records(frame) if row["position"] == OWN}
    rows = []
    for (name, policy, problems), row in own_steps.items():
        other = own_steps.get((rival, policy, problems))
        if name != prm or other is None:
            continue
        ways: dict[str, Any] = {"Best-of-N": outcomes.best_of_n}
        if _guides(row) and _guides(other):
            ways["TVD"] = outcomes.guided
        for way, solve in ways.items():
            this, that = solve(run, prm, policy, problems), solve(run, rival, policy, problems)
            rows.append({"policy": policy, "set": problems, "way": way} | _difference(run, this, that, problems))
    return pd.DataFrame(rows)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    records: Any = frame.to_dict("records")
    return records


def _guides(row: dict[str, Any]) -> bool:
    """Whether the reward model of a row of `results` also guided decoding."""
    return not np.isnan(row.get("tvd", np.nan))


def against_own(run: Run, frame: pd.DataFrame, role: str) -> pd.DataFrame:
    """Every reward model of a role against the one that its base's chapters look at: rows of `against_rival`.

    frame: from `results`. Columns in front: prm, against. The last one, p (Holm), corrects the rows of each reward
    model as one table.
    """
    tables = []
    for prm in run.profile.of_role(role):
        rival = run.profile.prm_of(run.profile.base_of(prm))
        rows = corrected(against_rival(run, frame, prm, rival))
        if len(rows):
            rows.insert(0, "against", rival)
            rows.insert(0, "prm", prm)
            tables.append(rows)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def against_greedy(run: Run, frame: pd.DataFrame, prm: str, sets: list[str]) -> pd.DataFrame:
    """Best-of-N and TVD by `prm` against greedy decoding on some test sets; columns as those of `against_rival`.

    frame: from `results`. sets: the names of the test sets.
    """
    rows = []
    for row in _records(frame):
        policy, name = row["policy"], row["set"]
        if (row["prm"], row["position"]) != (prm, OWN) or name not in sets:
            continue
        greedy = outcomes.greedy(run, policy, name)
        ways = {"Best-of-N": outcomes.best_of_n(run, prm, policy, name)}
        if _guides(row):
            ways["TVD"] = outcomes.guided(run, prm, policy, name)
        key = {"policy": policy, "set": name}
        rows += [key | {"way": way} | _difference(run, outcome, greedy, name) for way, outcome in ways.items()]
    return pd.DataFrame(rows)


def page(rows: pd.DataFrame) -> Any:
    """Rows of differences as a styled table for a page: the difference with its interval and p, then the two shares."""
    if rows.empty:
        return rows
    found = ["difference", "low", "high", "p (Holm)"]
    last = [name for name in ("this", "other", "greedy", "p") if name in rows]
    keys = [name for name in rows if name not in (*found, *last)]
    shown = one_interval(rows.loc[:, [*keys, *found, *last]], points)
    formats: dict[str, Any] = {"points": points} | dict.fromkeys(["this", "other", "greedy"], percent)
    formats |= dict.fromkeys(["p", "p (Holm)"], p_value)
    style: Any = shown.rename(columns={"difference": "points"}).style
    return style.format({name: formats[name] for name in formats if name in style.columns}).hide(axis="index")


def on_other_problems(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Reward models on problems unlike those that they learned from, against greedy decoding (Tables 4 and 5).

    Unlike are the sets made from templates, for reward models that learned from their own policy's steps, and the sets
    of another domain than all of their data. frame: from `results`. Columns: prm, then those of `against_rival`, then
    p (Holm) over all rows.
    """
    profile, tables = run.profile, []
    for prm, model in profile.reward_models.items():
        learned = {profile.policies[table.policy].domain for table in model.tables}
        for name in profile.problems.test:
            is_foreign = bool(learned) and domain_of(name) not in learned
            if is_foreign or (name in profile.problems.clusters and model.role == "own"):
                rows = against_greedy(run, frame, prm, [name])
                if len(rows):
                    rows.insert(0, "prm", prm)
                    tables.append(rows)
    return corrected(pd.concat(tables, ignore_index=True)) if tables else pd.DataFrame()


def corrected(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with a column p, and p (Holm) for all of them as one table."""
    return rows.assign(**{"p (Holm)": s.holm(rows["p"])}) if len(rows) else rows


# --- parts of the results ---------------------------------------------------------------------------------------------


def of_first_sets(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `results` that are of each policy's first test set."""
    tests = {name: test_sets(run.profile, policy.domain) for name, policy in run.profile.policies.items()}
    return frame.loc[[name in tests[policy][:1] for policy, name in zip(frame["policy"], frame["set"], strict=True)]]


def at_other_positions(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `results` at other places than a reward model's own steps (Table 3), without the sweep."""
    is_swept = frame["prm"].isin(run.profile.of_role("sweep"))
    return frame.loc[(frame["position"] != OWN) & ~is_swept]


def sweep(run: Run, frame: pd.DataFrame, policy: str) -> pd.DataFrame:
    """Best-of-N by the share of tokens below the threshold at which the reward model's steps were cut.

    frame: from `results`. Columns: share, prm, set, position, bon, low, high, trainings, labelled (steps learned from).
    Each reward model rates where its own steps end (`own steps`), and all at the same places, decision tokens by
    the study's share (`confidence`).
    """
    own_share = run.profile.threshold.share
    shares = {}
    for prm, model in run.profile.reward_models.items():
        tables = [(table.policy, table.method.kind) for table in model.tables]
        if model.base == policy and tables == [(policy, "adaptive")]:
            shares[prm] = model.rates.share or own_share
    places = frame["position"].isin([OWN, "confidence"])
    rows = frame.loc[(frame["policy"] == policy) & places & frame["prm"].isin(list(shares))]
    labelled = {prm: run.manifest(names.reward_model(prm))["facts"]["labels"] for prm in rows["prm"].unique()}
    rows = rows.assign(share=rows["prm"].map(shares), labelled=rows["prm"].map(labelled))
    columns = ["share", "prm", "set", "position", "bon", "low", "high", "trainings", "labelled"]
    return rows.sort_values(["set", "position", "share"]).loc[:, columns]


def what_else_differs(swept: pd.DataFrame) -> str:
    """What differs in a sweep (from `sweep`) besides the share: trainings and labelled steps, in a sentence."""
    each = swept.drop_duplicates("prm").sort_values("share")
    parts = [
        f"{percent(share)}: {steps:,} labelled steps, {count} training{'s' if count > 1 else ''}"
        for share, steps, count in zip(each["share"], each["labelled"], each["trainings"], strict=True)
    ]
    return f"Beside the share differ what each learned from, and how often it was trained. {'; '.join(parts)}."


# --- candidates and training data -------------------------------------------------------------------------------------


def chosen_candidates(run: Run) -> pd.DataFrame:
    """What the candidates are like that each reward model chooses, of each policy's first test set.

    Columns: policy; reward model; gain over a random candidate (how much more often the chosen one is right), low,
    high; spread, the mean standard deviation of a problem's scores; usual right, of the chosen ones of usual length the
    share that is right, and all usual right, of all of usual length; then rare, doubtful, shorter and longer (see
    `asprm.best_of_n.chosen`), of the chosen ones and, with all in front, of all. Means over trainings. The sweep is
    left out.
    """
    profile, rows = run.profile, []
    swept = profile.of_role("sweep")
    for policy, source in profile.policies.items():
        name = next(iter(test_sets(profile, source.domain)))
        like = solutions_like(run, policy, name)
        for prm in profile.best_of_n.score.get(policy, ()):
            if prm not in swept:
                rows.append({"policy": policy, "reward model": prm} | of_chosen(run, prm, policy, name, like))
    return pd.DataFrame(rows)


def solutions_like(run: Run, policy: str, name: str) -> pd.DataFrame:
    """The policy's candidates of the set `name` by (problem, solution): tokens, and least, their least confidence."""
    samples = run.read(names.samples(policy, name), ["problem", "solution", "confidences"]).to_pandas()
    confidences = samples["confidences"]
    return samples.assign(tokens=confidences.map(len), least=confidences.map(np.min)).set_index(["problem", "solution"])


def of_chosen(run: Run, prm: str, policy: str, name: str, like: pd.DataFrame) -> dict[str, Any]:
    """A row of `chosen_candidates`, without its key. like: from `solutions_like`."""
    tables = [run.read(names.scores(training, policy, name)) for training in run.profile.trainings(prm, policy)]
    each = [chosen(table, like, run.profile.best_of_n.aggregate) for table in tables]
    best: Any = sum(each) / len(each)
    gains = [np.mean(one["right"] - one["all_right"]) for one in each]
    gain = difference_interval(best["right"] - best["all_right"], trainings=[gains])
    row = {
        "gain over a random candidate": gain.value,
        "low": gain.low,
        "high": gain.high,
        "spread": best["spread"].mean(),
    }
    for start, words in (("", ""), ("all_", "all ")):
        usual = best[f"{start}usual"].sum()
        row[f"{words}usual right"] = best[f"{start}usual_right"].sum() / usual if usual else np.nan
        row |= {f"{words}{trait}": best[start + trait].mean() for trait in ("rare", "doubtful", "shorter", "longer")}
    return row


def why_worse(chosen: pd.DataFrame) -> str:
    """What reward models that choose worse than a random candidate pick, in sentences; or that there is none.

    chosen: from `chosen_candidates`. Ranges are over its rows: over those that choose worse, and over the others.
    """
    is_worse = chosen["gain over a random candidate"].to_numpy(float) < 0
    if not is_worse.any():
        return "Here no reward model chooses worse than a random candidate."

    def span(column: str, which: NDArray[np.bool_], show: Callable[[float], str]) -> str:
        values = chosen[column].to_numpy(float)[which]
        low, high = show(np.nanmin(values)), show(np.nanmax(values))
        return low if low == high else f"{low} to {high}"

    def both(column: str, show: Callable[[float], str] = percent) -> str:
        rest = f", the others' {span(column, ~is_worse, show)}" if (~is_worse).any() else ""
        return f"{span(column, is_worse, show)}{rest}"

    worse: Any = chosen.loc[is_worse]
    pairs = ", ".join(f"{prm} on {policy}" for policy, prm in worse[["policy", "reward model"]].to_numpy())
    is_length = bool((worse["usual right"] >= worse["all usual right"]).any())
    return (
        f"Here these choose worse than a random candidate: {pairs}. Among candidates of usual length their picks are "
        f"right for {span('usual right', is_worse, percent)}, random ones for "
        f"{span('all usual right', is_worse, percent)}: length {'may be' if is_length else 'is not'} the reason. The "
        f"standard deviation of their scores within a problem is {both('spread', '{:.3f}'.format)}. Of their picks "
        f"{both('rare')} have an answer that no other candidate gives, of all candidates "
        f"{span('all rare', is_worse, percent)}; {both('doubtful')} have a token of confidence below .1, of all "
        f"candidates {span('all doubtful', is_worse, percent)}."
    )


def splits_by_difficulty(run: Run, groups: int = 4) -> pd.DataFrame:
    """Are harder problems split more? Decision tokens per solution and per token, by how often a problem is solved.

    Training samples of every policy; its problems in `groups` of equal size, the hardest first. Columns: policy; solved
    (mean share of samples right); steps, low, high (decision tokens per solution, 95 % over problems); per_token.
    """
    return pd.DataFrame([row for policy in run.profile.policies for row in _difficulty(run, policy, groups)])


def _difficulty(run: Run, policy: str, groups: int) -> list[dict[str, Any]]:
    tau = run.read_json(names.threshold(policy))["tau"]
    frame = run.read(names.samples(policy, "train"), ["problem", "confidences", "correct", "count"]).to_pandas()
    frame["steps"] = [int((row < tau).sum()) for row in frame["confidences"]]
    frame["tokens"] = frame["confidences"].map(len)
    for column in ("correct", "steps", "tokens"):
        frame[column] = frame[column] * frame["count"]
    by_problem = frame.groupby("problem")[["correct", "steps", "tokens", "count"]].sum()
    by_problem["solved"] = by_problem["correct"] / by_problem["count"]
    by_problem["mean steps"] = by_problem["steps"] / by_problem["count"]
    ordered = by_problem.sort_values("solved", kind="stable")
    rows = []
    for places in np.array_split(np.arange(len(ordered)), groups):
        group = ordered.iloc[places]
        steps = s.bootstrap_mean(group["mean steps"], **_resampling(run))
        row = {"policy": policy, "solved": group["solved"].mean()}
        row |= {"steps": steps.value, "low": steps.low, "high": steps.high}
        rows.append(row | {"per_token": group["steps"].sum() / group["tokens"].sum()})
    return rows


def training_data(run: Run) -> pd.DataFrame:
    """What reward models learn from (paper Figure 6): one row per table of labels that is not of the sweep.

    Columns: prm (the first that learns from this table alone), data, solutions, steps (mean per solution),
    tokens_per_step, length (mean tokens per solution), each mean with its 95 % interval over problems (…_low, …_high).
    Tokens are those of the policy that wrote the solutions (paper: Mistral's).
    """
    rows: dict[str, dict[str, Any]] = {}
    for prm, model in run.profile.reward_models.items():
        if len(model.tables) != 1:
            continue
        [table] = model.tables
        if str(table) in rows or table.method.share is not None:
            continue
        labels = run.read(names.labels(table.policy, table.method), ["problem", "solution", "end"]).to_pandas()
        each = labels.groupby(["problem", "solution"], sort=False)["end"].agg(steps="size", length="max")
        sums = each.groupby("problem").agg(steps=("steps", "sum"), length=("length", "sum"), count=("steps", "size"))
        row = {"prm": prm, "data": str(table), "solutions": len(each)}
        ratios = {"steps": ("steps", "count"), "tokens_per_step": ("length", "steps"), "length": ("length", "count")}
        for name, (top, bottom) in ratios.items():
            value, low, high = s.bootstrap_ratio(sums[top], sums[bottom], **_resampling(run))
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows[str(table)] = row
    return pd.DataFrame(list(rows.values()))
