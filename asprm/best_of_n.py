"""Best-of-N: what a reward model's choice among N candidates is worth (paper §4, Figures 4 and 5).

Reads scored candidates, writes tidy frames of accuracy with intervals. No model here: scores come from `asprm.prm`.
Axes: P problems, N candidates of each, K steps of a candidate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from asprm import statistics as s
from asprm.models.load import load_tokenizer
from asprm.models.prompts import prompts_of
from asprm.problems.sets import origins, problem_set, test_sets
from asprm.results import selection
from asprm.run.chunks import map_chunks
from asprm.run.names import Method
from asprm.run.open import Run
from asprm.run.profile import Profile
from asprm.split import cutter, split_tables
from asprm.threshold import tau_of

if TYPE_CHECKING:
    pass
from asprm.results.candidates import AGGREGATES, Candidates, Table, aggregates, candidates
from asprm.reward.published import load_reward_model, scorer_for
from asprm.reward.rating import rate_positions
from asprm.reward.score import PRM


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
            outcomes = [selection.best_of_n(one.scores(h), one.correct, ns) for one in trainings]
            methods[f"{prm}-{h}"] = np.mean(outcomes, axis=0)
    methods["majority"] = selection.majority_vote(c.answers, c.correct, ns)
    methods["weighted vote"] = selection.weighted_vote(c.answers, c.correct, c.scores(how[0]), ns, seed=seed)
    methods["fewest steps"] = selection.best_of_n(c.fewest, c.correct, ns)
    methods["pass@n"] = selection.pass_at_k(c.correct, ns)
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
        "majority": selection.majority_vote(c.answers, c.correct, n),
        "weighted vote": selection.weighted_vote(c.answers, c.correct, scores, n, seed=seed),
        "fewest steps": selection.best_of_n(c.fewest, c.correct, n),
    }
    if greedy is not None:
        rivals["greedy"] = _in_order(greedy, c.problems, "greedy solution").astype(float)
    groups = _in_order(clusters, c.problems, "cluster") if clusters is not None else None
    chosen = selection.best_of_n(scores, c.correct, n)
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


def rated_sets(profile: Profile, artifact: str, policy: str) -> list[str]:
    """The sets of the policy's candidates that a training of a reward model rates: the test sets and, for the first
    training of one that starts from the policy, the validation set, on which cuts and aggregates are chosen.
    """
    own = "@" not in artifact and profile.reward_models[artifact].base == policy
    return [*(["validation"] if own else []), *test_sets(profile, profile.policies[policy].domain)]


def score_all(run: Run) -> list[str]:
    """Rate the policy's candidates of each test set, and those of validation that are asked for
    (`asprm.best_of_n.rated_sets`), by every reward model that is asked for.

    Writes `best_of_n/<prm>/<policy>-<set>`. One rule for all: a reward model rates where steps end in the way of those
    that it learned from (of a published one the profile says it): at decision tokens, at line breaks, or at the end of
    the solution. For those that start from this policy there are also `…@confidence`, `…@line` and `…@random0` …
    (Table 3), which cost nothing more: one reading of a solution gives the scores at all positions. An experiment rates
    by `run.prm` alone. Returns the tables' names.
    """
    profile, policy = run.profile, run.policy
    chosen = [run.prm] if run.experiment else profile.best_of_n.score[policy]
    names = [artifact for name in chosen for artifact in profile.trainings(name, policy)]
    sets = ["validation", *test_sets(profile, run.domain)]
    rated = {name: rated_sets(profile, name, policy) for name in names}
    if run.prm in rated:  # it is looked at more closely
        rated[run.prm] = sets
    tasks = [(name, one) for one in sets for name in names if one in rated[name]]
    with run.noting() as inputs:
        models = {name: run.reward_model(name) for name in names}
        run.policy_path()  # whose tokenizer reads
        run.inputs.update(origins(profile, run.domain))
        run.read_json(f"threshold/{policy}")
        for one in sets:
            run.find(f"sample/{policy}/{one}.parquet")
    tables = map_chunks(
        partial(_score_task, run=run, models=models),
        tasks,
        size=1,
        folder=run.work(f"best_of_n/{policy}"),
        key={"tasks": tasks, "settings": profile.reads("best_of_n"), "inputs": inputs},
        setup=partial(_Candidates, run),
        workers=run.workers,
        label=f"scores of {policy}",
        kept=run.kept,
    )
    written = []
    for (name, one), table in zip(tasks, tables, strict=True):
        for position in table["position"].unique().to_pylist():
            written.append(f"best_of_n/{name}/{policy}-{one}{position}")
            run.write(written[-1], table.filter(pc.equal(table["position"], position)).drop_columns("position"))
    return written


class _Candidates:
    """The policy's candidates, batch by batch, cut at all positions: once for all reward models that rate a set."""

    def __init__(self, run: Run) -> None:
        self.run, self.tokenizer = run, load_tokenizer(run.policy_path())
        self.name, self.cut = "", []
        profile, method = run.profile, Method.parse(run.method)
        tau = tau_of(run.read_json(f"threshold/{run.policy}"), method.share)
        options = {"tau": tau, "length": profile.split.length, "count": profile.split.count}
        self.own = method.kind
        kinds = {model.rates.kind for model in profile.reward_models.values()} - {"adaptive"}
        kinds |= {method.kind, "line"}
        self.cutters = {kind: cutter(kind, seed=run.seed, **options) for kind in sorted(kinds)}
        for k in range(profile.best_of_n.random):
            self.cutters[f"random{k}"] = cutter("random", seed=run.seed + k, **options)

    def of(self, name: str) -> Iterator[tuple[pa.Table, dict[str, pa.Table]]]:
        """Batches of the set `name`, each with its splits; the splits of the last set are kept."""
        batches = (
            pa.Table.from_batches([rows]) for rows in self.run.scan(f"sample/{self.run.policy}/{name}", rows=4096)
        )
        if self.name == name:
            yield from zip(batches, self.cut, strict=True)
            return
        cut = []
        for batch in batches:
            cut.append(split_tables(batch, self.cutters, self.tokenizer))
            yield batch, cut[-1]
        self.name, self.cut = name, cut


def _score_task(tasks: Sequence[tuple[str, str]], candidates: _Candidates, *, run: Run, models) -> pa.Table:
    """`SCHEMA` with the rating position in front: "" (its own kind of steps), "@confidence", "@line", "@random0", …"""
    [(name, one)] = tasks
    profile, tokenizer = run.profile, candidates.tokenizer
    prm = scorer_for(load_reward_model(*models[name]), tokenizer)
    problems = problem_set(profile, one, run.domain)
    texts = {problem.id: problem.prompt for problem in problems}
    asked = prompts_of(tokenizer, texts) if isinstance(prm, PRM) else texts
    model = profile.reward_models[name.partition("@")[0]]
    kind = model.rates.kind
    positions = {"": candidates.own if kind == "adaptive" else kind}
    if model.base == run.policy:
        positions |= {"@confidence": candidates.own, "@line": "line"}
        positions |= {f"@random{k}": f"random{k}" for k in range(profile.best_of_n.random)}
    parts: dict[str, list[pa.Table]] = {position: [] for position in positions}
    for batch, splits in candidates.of(one):
        wanted = {position: splits[kind] for position, kind in positions.items()}
        for position, table in rate_positions(prm, batch, wanted, asked).items():
            parts[position].append(table)
    whole = {position: pa.concat_tables(tables) for position, tables in parts.items()}
    return pa.concat_tables(t.add_column(0, "position", pa.array([p] * len(t))) for p, t in whole.items())
