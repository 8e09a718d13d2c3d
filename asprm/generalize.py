"""Generalize: how reward models do with data, policies, positions and problems that are not their own (stage 9).

Paper §4.3 and Tables 2 to 6, the threshold sweep, and whether harder problems are split more. Reads tables of earlier
stages and computes shares with intervals and paired differences; no model runs here. Several trainings of one reward
model count as one: a problem's outcome is the mean over them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asprm import statistics as s
from asprm import tvd
from asprm.best_of_n import chosen, gains
from asprm.intervals import Interval, difference_interval, share_interval
from asprm.problems.load import domain_of
from asprm.problems.sets import templates, test_sets
from asprm.results import outcomes
from asprm.results.format import one_interval, p_value, percent, points
from asprm.results.outcomes import OWN, POSITIONS, RANDOM, Outcomes
from asprm.run import names
from asprm.run.open import Run
from asprm.run.sections import ProfileError
from asprm.run.store import MissingArtifact


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
        guided = solved(run, outcomes.guided(run, prm, policy, name), name)
        row |= {"tvd": guided.value, "tvd_low": guided.low, "tvd_high": guided.high}
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

    frame: from `results`. Columns in front: prm, against. The last one, p (Holm), corrects all rows together.
    """
    tables = []
    for prm in run.profile.of_role(role):
        rival = run.profile.prm_of(run.profile.base_of(prm))
        rows = against_rival(run, frame, prm, rival)
        if len(rows):
            rows.insert(0, "against", rival)
            rows.insert(0, "prm", prm)
            tables.append(rows)
    return _corrected(pd.concat(tables, ignore_index=True)) if tables else pd.DataFrame()


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
    found = ["difference", "low", "high", s.HOLM]
    last = [name for name in ("this", "other", "greedy", "p") if name in rows]
    keys = [name for name in rows if name not in (*found, *last)]
    shown = one_interval(rows.loc[:, [*keys, *found, *last]], points)
    formats: dict[str, Any] = {"points": points} | dict.fromkeys(["this", "other", "greedy"], percent)
    formats |= dict.fromkeys(["p", s.HOLM], p_value)
    style: Any = shown.rename(columns={"difference": "points"}).style
    return style.format({name: formats[name] for name in formats if name in style.columns}).hide(axis="index")


def on_other_problems(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Reward models on problems unlike those that they learned from, against greedy decoding (Tables 4 and 5).

    Unlike are the sets made from templates, for reward models that learned from their own policy's steps, and the sets
    of another domain than all of their data. frame: from `results`. Columns: prm, then those of `against_rival`, then
    p (Holm): that of chapter 7 or 8 where one of them tested the same, and over the other rows together.
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
    if not tables:
        return pd.DataFrame()
    return _as_tested(run, pd.concat(tables, ignore_index=True))


def own_over_greedy(run: Run) -> pd.DataFrame:
    """Every policy's own reward model against greedy decoding on the policy's test sets.

    Columns: those of `against_rival`, then p (Holm), that of chapters 7 and 8.
    """
    frame, parts = run.read(names.RESULTS).to_pandas(), []
    for policy, source in run.profile.policies.items():
        prm = run.profile.prm_of(policy)
        rows = against_greedy(run, frame, prm, test_sets(run.profile, source.domain))
        if len(rows):
            parts.append(rows.loc[rows["policy"] == policy].assign(prm=prm))
    return _as_tested(run, pd.concat(parts, ignore_index=True)).drop(columns="prm")


def _as_tested(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `against_greedy` with a column prm, and p (Holm): that of chapter 7 or 8 where it tested the same, and of
    the other rows together.
    """
    tested = _over_greedy(run)
    before = [tested.get(_compared(row["way"], row["prm"], row["policy"], row["set"])) for row in _records(rows)]
    others = s.holm(rows["p"].where([test is None for test in before]))
    corrected = [value if test is None else test.p_holm for value, test in zip(others, before, strict=True)]
    return rows.assign(**{s.HOLM: corrected})


def _corrected(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with a column p, and p (Holm) for all of them together."""
    return rows.assign(**{s.HOLM: s.holm(rows["p"])}) if len(rows) else rows


# --- which tests are corrected together -------------------------------------------------------------------------------


class Test(NamedTuple):
    """A comparison that a chapter tests."""

    where: str
    """the chapter, and what its tests that are corrected together are of"""
    p: float
    p_holm: float


def tests(run: Run) -> dict[tuple[str, str], Test]:
    """Each comparison that chapters 7 to 9 test, by its two tables (`Outcomes.artifact`).

    A comparison is corrected once, with the other tests of the chapter that makes it first. What a run lacks is left
    out.
    """
    found = _over_greedy(run)
    if not run.has(names.RESULTS):
        return found
    frame = run.read(names.RESULTS).to_pandas()
    kinds = {
        "transfer": lambda: against_own(run, frame, "transfer"),
        "mixture": lambda: against_own(run, frame, "mixture"),
        "other problems": lambda: on_other_problems(run, frame),
    }
    for kind, make in kinds.items():
        with suppress(MissingArtifact):
            for row in _records(make()):
                key = _compared(row["way"], row["prm"], row["policy"], row["set"], row.get("against", ""))
                found.setdefault(key, Test(f"chapter 9, {kind}", row["p"], row[s.HOLM]))
    return found


def _over_greedy(run: Run) -> dict[tuple[str, str], Test]:
    """The comparisons with greedy decoding that chapters 7 and 8 test."""
    found, profile = {}, run.profile
    for policy in profile.policies:
        with suppress(MissingArtifact, ProfileError):  # a policy may have no reward model
            own = profile.prm_of(policy)
            rows: Any = gains(run, policy, own)
            for row in _records(rows.loc[rows["against"] == "greedy"]):
                key = _compared("Best-of-N", own, policy, row["problems"])
                found[key] = Test(f"chapter 7, policy {policy}", row["p"], row[s.HOLM])
        with suppress(MissingArtifact):
            guides = profile.tvd.guide.get(policy, ())
            table: Any = tvd.gains(run, policy, guides) if guides else pd.DataFrame()
            for (guide, name), row in table.to_dict("index").items():
                found[_compared("TVD", guide, policy, name)] = Test(
                    f"chapter 8, policy {policy}", row["p"], row[s.HOLM]
                )
    return found


def _compared(way: str, prm: str, policy: str, name: str, rival: str = "") -> tuple[str, str]:
    """The tables of both sides of a comparison. rival: another reward model; "": greedy decoding."""
    table = {"Best-of-N": names.scores, "TVD": names.guided}[way]
    return table(prm, policy, name), table(rival, policy, name) if rival else names.greedy_samples(policy, name)


# --- parts of the results ---------------------------------------------------------------------------------------------


def of_first_sets(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `results` that are of each policy's first test set."""
    tests = {name: test_sets(run.profile, policy.domain) for name, policy in run.profile.policies.items()}
    return frame.loc[[name in tests[policy][:1] for policy, name in zip(frame["policy"], frame["set"], strict=True)]]


def at_other_positions(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `results` at other places than a reward model's own steps (Table 3), without the sweep."""
    is_swept = frame["prm"].isin(run.profile.of_role("sweep"))
    return frame.loc[(frame["position"] != OWN) & ~is_swept]


# --- candidates -------------------------------------------------------------------------------------------------------


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
